/** A worker's state: the mesh and the routes. One writer applies updates. Derived values are cached until the next update. */
import { claimRankOf, claimRanks, namespaceOfKey } from '../../model/ownership.js';
import type { EndpointTls } from '../../discovery/gen/weft.js';
import type { Route, RouteKey } from '../../model/route.js';
import { parseServicePolicyName, servicePolicyName, type ServicePolicy } from '../../model/service-policy.js';
import type { Service } from '../../model/service.js';
import type { AppProtocol, ServiceKey, WaypointRef, Workload } from '../../model/workload.js';
import { RegexTime } from '../../policy/regex.js';
import { waypointsOf } from '../../state/resolve.js';
import { ChangeTracker, type MeshChange } from '../../state/change.js';
import { MeshState, type MeshUpdate, type MeshView } from '../../state/store.js';
import type { EndpointPolicies } from '../authorization/endpoint-policies.js';
import type { ServicePort } from '../authorization/reachable.js';
import { assignmentOfService, type Assignment } from '../cluster/assignment.js';
import {
  ClientCertificate,
  notOwn,
  notRead,
  type ClientCertificateState,
} from '../cluster/client-certificate.js';
import { digestOf } from '../cluster/endpoint-tls.js';
import { PolicyGroups } from '../authorization/policy-groups.js';
import type { StagedFilter } from '../filters/filter.js';
import type { Client } from '../listener/client.js';
import { plainBackendsOf, withoutPlainBackends, type IsPlain } from '../routes/consumer-routes.js';
import { compileRoutes, refused, type Matcher } from '../routes/compile.js';
import { ChangeImpact } from './change-impact.js';
import { hasDemands, PortSettings, settingsWithout, type RequestSettings } from './request-settings.js';

export interface WaypointUpdate {
  readonly mesh?: MeshUpdate;
  readonly routes?: readonly Route[];
  readonly removedRoutes?: readonly string[];
  readonly servicePolicies?: readonly ServicePolicy[];
  /** Resource names. */
  readonly removedServicePolicies?: readonly string[];
}

/** What an update of the mesh affects. */
export interface AppliedChange {
  readonly impact: ChangeImpact;
  /** Affected policies of endpoints, each with the requests and connections that they allowed. */
  readonly inUse: readonly EndpointPolicies[];
}

type RouteKind = Route['kind'];
interface Routing {
  readonly kind: RouteKind;
  readonly match: Matcher;
  /** For connections that are not HTTP, beside routes for HTTP: the port's protocol is not declared, and both kinds have routes (SMI). */
  readonly connections?: Routing;
  /** Rules of TLS are for certain server names. */
  readonly readsServerName?: boolean;
}

const kinds: readonly RouteKind[] = ['grpc', 'http', 'tls', 'tcp'];

const notUnderstood = (reason: string): string => `the settings of the port are not understood: ${reason}`;

const namesServer = ({ rules }: Route): boolean =>
  rules.some(({ matches }) =>
    matches.some(({ headers }) => headers.some(({ name }) => name === ':authority')),
  );

const isForClientsOf = ({ clientNamespaces = [] }: Route, namespace: string | undefined): boolean =>
  clientNamespaces.length === 0 || (namespace !== undefined && clientNamespaces.includes(namespace));

const attachedAt = (service: ServiceKey, routeNamespace: string): string => `${service} ${routeNamespace}`;

export class WaypointState {
  readonly #mesh = new MeshState();
  readonly #changes = new ChangeTracker(this.#mesh);
  readonly #routes = new Map<RouteKey, Route>();
  /** Keyed by Service and the route's namespace: a lookup never scans the routes of other namespaces. */
  readonly #attached = new Map<string, Map<RouteKey, Route>>();
  /** By Service and port: requests look them up, and must not put a name together. */
  readonly #servicePolicies = new Map<ServiceKey, Map<number, ServicePolicy>>();
  readonly #portSettings = new WeakMap<ServicePolicy, PortSettings>();
  readonly #withoutPolicy: RequestSettings;
  readonly #routings = new Map<string, Routing | undefined>();
  /** For routings made of consumer routes, by the key of `#routings`. `version`: the state's at the last comparison. */
  readonly #consumers = new Map<
    string,
    { readonly routes: readonly Route[]; readonly plain: string; version: number }
  >();
  /** By Service and port. */
  readonly #assignments = new Map<ServiceKey, Map<number, Assignment>>();
  /** Services of `#assignments` with an endpoint that is no pod: another workload may become the owner of its address at any update. */
  readonly #ownedElsewhere = new Set<ServiceKey>();
  /** By the name of the Secret. */
  #clientCertificates: ReadonlyMap<string, ClientCertificate> = new Map();
  /** The locality of the waypoint's node, by which endpoints are preferred. */
  #locality: string | undefined;
  #version = 0;
  /**
   * Regex time by the client's namespace: one namespace cannot use up the time of the others. Kept over updates, so that a changed route
   * does not reset it.
   */
  readonly #regexTimes = new Map<string, RegexTime>();
  /** Names of Service ports whose filters hold on every way to their endpoints, for some client or for all. */
  readonly #demands = new Set<string>();
  readonly policies: PolicyGroups;

  constructor(
    /** The waypoint's node: endpoints near it are preferred where a Service asks for that. */
    readonly node: string,
    /** The waypoint's own Service, by which clients reach it. */
    readonly self: ServiceKey,
    /** Filters of all Service ports, besides those of their settings. */
    private readonly filters: readonly StagedFilter[] = [],
  ) {
    this.#withoutPolicy = settingsWithout(filters);
    this.policies = new PolicyGroups(this.#mesh, node);
  }

  get view(): MeshView {
    return this.#mesh;
  }

  /** Incremented by each update of the mesh and of Services' settings. */
  get version(): number {
    return this.#version;
  }

  /** Returns what the update affects; undefined for an update of routes and Services' settings alone. */
  apply(update: WaypointUpdate): AppliedChange | undefined {
    const {
      mesh,
      routes = [],
      removedRoutes = [],
      servicePolicies = [],
      removedServicePolicies = [],
    } = update;
    for (const name of removedServicePolicies) this.#removePolicy(name);
    for (const policy of servicePolicies) this.#setPolicy(policy);
    // Clusters apply the settings as they apply a mesh update.
    if (servicePolicies.length > 0 || removedServicePolicies.length > 0) this.#version++;
    const change = mesh && this.#changes.of(mesh);
    if (mesh) this.#mesh.apply(mesh);
    /** Keys of `#attached` (Service and route namespace) whose routes changed. */
    const attached = new Set<string>();
    for (const key of removedRoutes) this.#detach(key as RouteKey, attached);
    for (const route of routes) {
      this.#detach(route.key, attached);
      this.#routes.set(route.key, route);
      for (const { service } of route.parents) {
        const at = attachedAt(service, route.namespace);
        attached.add(at);
        let there = this.#attached.get(at);
        if (!there) this.#attached.set(at, (there = new Map()));
        there.set(route.key, route);
      }
    }
    if (attached.size > 0) this.#forgetRoutings(attached);
    if (!change) return undefined;
    this.#version++;
    this.#forgetAssignments(change);
    const impact = new ChangeImpact(this.#mesh, this.node, change);
    return { impact, inUse: this.policies.forget(impact) };
  }

  /** Drops the assignments of the Services whose endpoints may differ after a mesh update. */
  #forgetAssignments(change: MeshChange): void {
    const locality = JSON.stringify(this.#mesh.localityOf(this.node));
    if (locality !== this.#locality) {
      this.#locality = locality;
      this.#assignments.clear();
      this.#ownedElsewhere.clear();
      return;
    }
    for (const keys of [change.services, change.endpointsOf, this.#ownedElsewhere])
      for (const key of keys) this.#assignments.delete(key);
    this.#ownedElsewhere.clear();
  }

  /** The whole state as one update, for a worker that starts later. */
  full(): WaypointUpdate {
    return {
      mesh: this.#mesh.full(),
      routes: [...this.#routes.values()],
      servicePolicies: this.allPolicies(),
    };
  }

  dump(): object {
    return {
      ...this.#mesh.dump(),
      routes: [...this.#routes.values()],
      servicePolicies: this.allPolicies(),
    };
  }

  /** The settings of a Service's port; undefined: the waypoint's own apply. */
  policyOf(service: ServiceKey, port: number): ServicePolicy | undefined {
    return this.#servicePolicies.get(service)?.get(port);
  }

  /** What the settings of a Service's port say about a client's requests. The same object until the settings change. */
  requestSettings(service: ServiceKey, port: number, client: Client): RequestSettings {
    const policy = this.policyOf(service, port);
    if (!policy) return this.#withoutPolicy;
    let settings = this.#portSettings.get(policy);
    if (!settings) this.#portSettings.set(policy, (settings = new PortSettings(policy, this.filters)));
    return settings.of(client);
  }

  /** Settings of requests to a workload's own address. */
  get settingsWithoutService(): RequestSettings {
    return this.#withoutPolicy;
  }

  #setPolicy(policy: ServicePolicy): void {
    this.#forgetAssignment(policy);
    this.#forgetRoutingsOf(policy.service, policy.port);
    const name = servicePolicyName(policy);
    if (hasDemands(policy)) this.#demands.add(name);
    else this.#demands.delete(name);
    let ports = this.#servicePolicies.get(policy.service);
    if (!ports) this.#servicePolicies.set(policy.service, (ports = new Map()));
    ports.set(policy.port, policy);
  }

  #removePolicy(name: string): void {
    const { service, port } = parseServicePolicyName(name);
    this.#demands.delete(name);
    this.#forgetAssignment({ service, port });
    this.#forgetRoutingsOf(service, port);
    const ports = this.#servicePolicies.get(service);
    ports?.delete(port);
    if (ports?.size === 0) this.#servicePolicies.delete(service);
  }

  /** The settings of a port may state which endpoints are near, and which protocol they speak. */
  #forgetAssignment(policy: Partial<ServicePolicy> & ServicePort): void {
    const { service, port, locality, endpointTls, upstreamProtocol } = policy;
    const before = this.policyOf(service, port);
    const isSame =
      before?.locality?.preference.join() === locality?.preference.join() &&
      before?.upstreamProtocol === upstreamProtocol &&
      (before?.endpointTls && digestOf(before.endpointTls)) === (endpointTls && digestOf(endpointTls));
    if (!isSame) this.#assignments.get(service)?.delete(port);
  }

  /** Whether some Service port has filters that hold on every way to its endpoints (authorization/demanded.ts). */
  get hasDemands(): boolean {
    return this.#demands.size > 0;
  }
  demands({ service, port }: ServicePort): boolean {
    return this.#demands.has(servicePolicyName({ service, port }));
  }

  /** The settings of all Services' ports. */
  allPolicies(): ServicePolicy[] {
    return [...this.#servicePolicies.values()].flatMap((ports) => [...ports.values()]);
  }

  /**
   * The routes for a client's requests to a Service's port; undefined if no route applies.
   * @param settings the settings whose filters the rules are composed with
   */
  routing(
    service: Service,
    port: number,
    clientNamespace: string | undefined,
    settings: RequestSettings = this.#withoutPolicy,
  ): Routing | undefined {
    const routing = this.#findRouting(service, port, clientNamespace, settings);
    const closed = this.policyOf(service.key, port)?.closed;
    if (!routing || closed === undefined) return routing;
    const match: Matcher = (head, client) => {
      const matched = routing.match(head, client);
      return matched && refused(matched, settings.chain, notUnderstood(closed));
    };
    return { ...routing, match };
  }

  /** The routes for a client's requests, composed with the filters that the port's settings have for the client now. */
  routingOf(service: Service, port: number, client: Client): Routing | undefined {
    const settings = this.requestSettings(service.key, port, client);
    return this.routing(service, port, client.namespace, settings);
  }

  #findRouting(
    service: Service,
    port: number,
    clientNamespace: string | undefined,
    settings: RequestSettings,
  ): Routing | undefined {
    // Consumer routes are in the client's namespace and replace the Service's own routes (GEP-1294).
    const consumer = clientNamespace === service.namespace ? undefined : clientNamespace;
    // A client without an identity is of no namespace; `-` is the name of none.
    const whose = consumer ?? (clientNamespace === undefined ? '-' : '');
    const key = `${service.key} ${port} ${whose} ${settings.serial}`;
    if (this.#routings.has(key) && this.#isCurrent(key)) return this.#routings.get(key);
    const attached = (namespace: string): readonly Route[] =>
      [...(this.#attached.get(attachedAt(service.key, namespace))?.values() ?? [])].filter(
        (route) =>
          isForClientsOf(route, clientNamespace) &&
          route.parents.some((parent) => parent.service === service.key && (parent.port ?? port) === port),
      );
    const ofConsumer = consumer === undefined ? [] : attached(consumer);
    if (ofConsumer.length > 0) {
      const plain = plainBackendsOf(ofConsumer, this.#isPlain);
      this.#consumers.set(key, { routes: ofConsumer, plain, version: this.#version });
    } else this.#consumers.delete(key);
    const group =
      ofConsumer.length > 0
        ? ofConsumer.map((route) => withoutPlainBackends(route, this.#isPlain))
        : attached(service.namespace);
    const kind = kinds.find((one) => group.some((route) => route.kind === one));
    const compiled = (of: RouteKind | undefined): Routing | undefined => {
      const match = compileRoutes(
        group.filter((route) => route.kind === of),
        this.regexTime(consumer ?? service.namespace),
        settings.chain,
      );
      const readsServerName = of === 'tls' && group.some(namesServer);
      return of && match ? { kind: of, match, readsServerName } : undefined;
    };
    const main = compiled(kind);
    const isHttp = kind === 'http' || kind === 'grpc';
    const connections = isHttp ? compiled('tcp') : undefined;
    const routing = main && connections ? { ...main, connections } : main;
    this.#routings.set(key, routing);
    return routing;
  }

  /** The time budget of regular expressions for a client's requests. */
  regexTime(clientNamespace: string): RegexTime {
    let time = this.#regexTimes.get(clientNamespace);
    if (!time) this.#regexTimes.set(clientNamespace, (time = new RegexTime()));
    return time;
  }

  /** False: a mesh update changed which backends of the consumer routes are plain, so the routing has to be compiled again. */
  #isCurrent(key: string): boolean {
    const known = this.#consumers.get(key);
    if (!known || known.version === this.#version) return true;
    known.version = this.#version;
    return plainBackendsOf(known.routes, this.#isPlain) === known.plain;
  }

  readonly #isPlain: IsPlain = ({ service: key, port }) => {
    const waypoint = this.#mesh.service(key)?.waypoint;
    if (waypoint && this.isSelf(waypoint)) return false;
    const levels = this.assignment(key, port) ?? [];
    // With a locality policy requests go on to all levels.
    const used = this.policyOf(key, port)?.locality ? levels : levels.slice(0, 1);
    return used.some((level) => level.some(({ workload, via }) => !via && workload.tunnel === 'none'));
  };

  #detach(key: RouteKey, attached: Set<string>): void {
    const old = this.#routes.get(key);
    if (!old) return;
    this.#routes.delete(key);
    for (const { service } of old.parents) {
      const at = attachedAt(service, old.namespace);
      attached.add(at);
      const there = this.#attached.get(at);
      there?.delete(key);
      if (there?.size === 0) this.#attached.delete(at);
    }
  }

  /** The filters of the port's settings are part of its compiled routes. */
  #forgetRoutingsOf(service: ServiceKey, port: number): void {
    for (const key of this.#routings.keys()) {
      if (!key.startsWith(`${service} ${port} `)) continue;
      this.#routings.delete(key);
      this.#consumers.delete(key);
    }
  }

  /** Consumer routes apply to clients of their namespace alone. The Service's own routes apply to every namespace without consumer routes. */
  #forgetRoutings(attached: ReadonlySet<string>): void {
    for (const key of this.#routings.keys()) {
      const [service, , consumer = ''] = key.split(' ') as [ServiceKey, string, string?];
      if (
        !attached.has(attachedAt(service, consumer)) &&
        !attached.has(attachedAt(service, namespaceOfKey(service)))
      )
        continue;
      this.#routings.delete(key);
      this.#consumers.delete(key);
    }
  }

  /** Why the `assignment` of a Service's port is undefined. */
  noEndpointsBecause(service: ServiceKey, port: number): string {
    const closed = this.policyOf(service, port)?.closed;
    return closed === undefined
      ? `Service ${service} with port ${port} is unknown`
      : `Service ${service}: ${notUnderstood(closed)}`;
  }

  /**
   * The endpoints of a Service's port; undefined if the Service is unknown, has no such port, or its settings are not understood. The same
   * object while nothing changed.
   */
  assignment(key: ServiceKey, port: number): Assignment | undefined {
    if (this.policyOf(key, port)?.closed !== undefined) return undefined;
    const service = this.#mesh.service(key);
    const mapping = service?.ports.find(({ servicePort }) => servicePort === port);
    if (!service || !mapping) return undefined;
    let ports = this.#assignments.get(key);
    if (!ports) {
      this.#assignments.set(key, (ports = new Map()));
      if (this.#mesh.endpointsOf(key).some(({ uid }) => claimRankOf(uid) !== claimRanks.pod))
        this.#ownedElsewhere.add(key);
    }
    let found = ports.get(port);
    if (!found) {
      const { locality, endpointTls: tls, upstreamProtocol } = this.policyOf(key, port) ?? {};
      const spoken = { ...mapping, appProtocol: protocolOf(upstreamProtocol) ?? mapping.appProtocol };
      const clientCertificate = this.#certificateOf(key, tls ?? {});
      ports.set(
        port,
        (found = assignmentOfService(this, service, spoken, { locality, tls, clientCertificate })),
      );
    }
    return found;
  }

  /** Replaces the client certificates. An equal pair stays the same object; endpoints of one that has changed are replaced, and drain. */
  setClientCertificates(states: readonly ClientCertificateState[]): void {
    const before = this.#clientCertificates;
    this.#clientCertificates = new Map(
      states.map((state) => {
        const [next, known] = [new ClientCertificate(state), before.get(state.name)];
        const isSame = known?.fingerprint === next.fingerprint && known.problem === next.problem;
        return [state.name, isSame ? known : next];
      }),
    );
    for (const { service, port, endpointTls } of this.allPolicies()) {
      const name = endpointTls?.clientCertificate;
      if (name === undefined || before.get(name) === this.#clientCertificates.get(name)) continue;
      this.#assignments.get(service)?.delete(port);
    }
    this.#version++;
  }

  /** The names of the client certificates that the settings of Services' ports have. They may be any text. */
  clientCertificateNames(): ReadonlySet<string> {
    return new Set(this.allPolicies().flatMap(({ endpointTls }) => endpointTls?.clientCertificate ?? []));
  }

  /** The certificate that the TLS of a Service's port names; undefined: it names none. */
  #certificateOf(service: ServiceKey, { clientCertificate: name }: Partial<EndpointTls>) {
    if (name === undefined) return undefined;
    // The control plane closes such a port. What a waypoint owns must not depend on that.
    if (namespaceOfKey(service) !== namespaceOfKey(this.self)) return notOwn;
    return this.#clientCertificates.get(name) ?? notRead;
  }

  isSelf(waypoint: WaypointRef): boolean {
    return waypoint.kind === 'hostname' && waypoint.service === this.self;
  }

  /** Whether this waypoint serves a port of a Service or a workload. Everything else is refused: the waypoint is no open proxy. */
  serves(service: Service | undefined, workload: Workload | undefined, port: number): boolean {
    if (service) return service.waypoint !== undefined && this.isSelf(service.waypoint);
    return workload !== undefined && waypointsOf(this.#mesh, workload, port).some((one) => this.isSelf(one));
  }
}

/** The protocol that the settings of a port state for its endpoints; undefined: the one that the port declares. */
const protocolOf = (stated: string | undefined): AppProtocol | undefined =>
  stated === 'http2' ? 'http2' : stated === 'client' ? 'unknown' : undefined;
