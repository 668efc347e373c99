/** A worker's state: the mesh and the routes. One writer applies updates. Derived values are cached until the next update. */
import type { SocketAddress } from '../../model/address.js';
import { formatSocketAddress } from '../../model/address.js';
import { claimRankOf, claimRanks, namespaceOfKey } from '../../model/ownership.js';
import type { Route, RouteKey } from '../../model/route.js';
import { servicePolicyName, type ServicePolicy } from '../../model/service-policy.js';
import type { Service } from '../../model/service.js';
import type {
  AppProtocol,
  PortMapping,
  ServiceKey,
  WaypointRef,
  Workload,
  WorkloadUid,
} from '../../model/workload.js';
import { RegexTime } from '../../policy/regex.js';
import { candidatesOf, waypointsOf } from '../../state/resolve.js';
import { ChangeTracker, type MeshChange } from '../../state/change.js';
import { MeshState, type MeshUpdate, type MeshView } from '../../state/store.js';
import type { EndpointPolicies } from '../authorization/endpoint-policies.js';
import { PolicyGroups } from '../authorization/policy-groups.js';
import { plainBackendsOf, withoutPlainBackends, type IsPlain } from '../routes/consumer-routes.js';
import { compileRoutes, refusing, type Matcher } from '../routes/compile.js';
import type { Endpoint } from '../upstream/endpoint.js';
import { newHealth } from '../upstream/endpoint-health.js';
import { ChangeImpact } from './change-impact.js';

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
}

const kinds: readonly RouteKind[] = ['grpc', 'http', 'tls', 'tcp'];

const sweepEndpointsMin = 16_384;

const notUnderstood = (reason: string): string =>
  `the settings of the port are of a newer version: not understood: ${reason}`;

const attachedAt = (service: ServiceKey, routeNamespace: string): string => `${service} ${routeNamespace}`;

export class WaypointState {
  readonly #mesh = new MeshState();
  readonly #changes = new ChangeTracker(this.#mesh);
  readonly #routes = new Map<RouteKey, Route>();
  readonly #known = new Map<string, Endpoint>();
  /** The same endpoints by workload. */
  readonly #ofWorkload = new Map<WorkloadUid, Set<Endpoint>>();
  /** Workloads that were changed or removed while one of their endpoints was in use. */
  readonly #removed = new Set<WorkloadUid>();
  #sweepAt = sweepEndpointsMin;
  /** Keyed by Service and the route's namespace: a lookup never scans the routes of other namespaces. */
  readonly #attached = new Map<string, Map<RouteKey, Route>>();
  /** By resource name. */
  readonly #servicePolicies = new Map<string, ServicePolicy>();
  readonly #routings = new Map<string, Routing | undefined>();
  /** For routings made of consumer routes, by the key of `#routings`. `meshVersion`: the state's at the last comparison. */
  readonly #consumers = new Map<
    string,
    { readonly routes: readonly Route[]; readonly plain: string; meshVersion: number }
  >();
  /** Endpoints by Service and port. */
  readonly #endpoints = new Map<ServiceKey, Map<number, readonly Endpoint[]>>();
  /** Services of `#endpoints` with an endpoint that is no pod: another workload may become the owner of its address at any update. */
  readonly #ownedElsewhere = new Set<ServiceKey>();
  /** The locality of the waypoint's node, by which endpoints are preferred. */
  #locality: string | undefined;
  #meshVersion = 0;
  /**
   * Regex time by the client's namespace: one namespace cannot use up the time of the others. Kept over updates, so that a changed route
   * does not reset it.
   */
  readonly #regexTimes = new Map<string, RegexTime>();
  readonly policies: PolicyGroups;

  constructor(
    /** The waypoint's node: endpoints near it are preferred where a Service asks for that. */
    readonly node: string,
    /** The waypoint's own Service, by which clients reach it. */
    readonly self: ServiceKey,
  ) {
    this.policies = new PolicyGroups(this.#mesh, node);
  }

  get view(): MeshView {
    return this.#mesh;
  }

  /** Returns what the update affects; undefined for an update of routes and Services' settings alone. */
  apply(update: WaypointUpdate): AppliedChange | undefined {
    const { mesh, routes = [], removedRoutes = [] } = update;
    for (const name of update.removedServicePolicies ?? []) this.#servicePolicies.delete(name);
    for (const policy of update.servicePolicies ?? [])
      this.#servicePolicies.set(servicePolicyName(policy), policy);
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
    this.#meshVersion++;
    this.#forgetLists(change);
    const impact = new ChangeImpact(this.#mesh, this.node, change);
    const inUse = this.policies.forget(impact);
    this.#forgetRemoved(change);
    return { impact, inUse };
  }

  /** Drops the endpoints of the Services whose endpoints may differ after a mesh update. */
  #forgetLists(change: MeshChange): void {
    const locality = JSON.stringify(this.#mesh.localityOf(this.node));
    if (locality !== this.#locality) {
      this.#locality = locality;
      this.#endpoints.clear();
      this.#ownedElsewhere.clear();
      return;
    }
    for (const keys of [change.services, change.endpointsOf, this.#ownedElsewhere])
      for (const key of keys) this.#endpoints.delete(key);
    this.#ownedElsewhere.clear();
  }

  /** The whole state as one update, for a worker that starts later. */
  full(): WaypointUpdate {
    return {
      mesh: this.#mesh.full(),
      routes: [...this.#routes.values()],
      servicePolicies: [...this.#servicePolicies.values()],
    };
  }

  dump(): object {
    return {
      ...this.#mesh.dump(),
      routes: [...this.#routes.values()],
      servicePolicies: [...this.#servicePolicies.values()],
    };
  }

  /** The settings of a Service's port; undefined: the waypoint's own apply. */
  policyOf(service: ServiceKey, port: number): ServicePolicy | undefined {
    return this.#servicePolicies.size === 0
      ? undefined
      : this.#servicePolicies.get(servicePolicyName({ service, port }));
  }

  /** The routes for a client's requests to a Service's port; undefined if no route applies. */
  routing(service: Service, port: number, clientNamespace: string | undefined): Routing | undefined {
    const routing = this.#routingOf(service, port, clientNamespace);
    const closed = this.policyOf(service.key, port)?.closed;
    if (!routing || closed === undefined) return routing;
    const match: Matcher = (head) => {
      const matched = routing.match(head);
      return matched && { ...matched, rule: refusing(matched.rule, notUnderstood(closed)) };
    };
    return { kind: routing.kind, match };
  }

  #routingOf(service: Service, port: number, clientNamespace: string | undefined): Routing | undefined {
    // Consumer routes are in the client's namespace and replace the Service's own routes (GEP-1294).
    const consumer = clientNamespace === service.namespace ? undefined : clientNamespace;
    const key = `${service.key} ${port} ${consumer ?? ''}`;
    if (this.#routings.has(key) && this.#isCurrent(key)) return this.#routings.get(key);
    const attached = (namespace: string): readonly Route[] =>
      [...(this.#attached.get(attachedAt(service.key, namespace))?.values() ?? [])].filter(({ parents }) =>
        parents.some((parent) => parent.service === service.key && (parent.port ?? port) === port),
      );
    const ofConsumer = consumer === undefined ? [] : attached(consumer);
    if (ofConsumer.length > 0) {
      const plain = plainBackendsOf(ofConsumer, this.#isPlain);
      this.#consumers.set(key, { routes: ofConsumer, plain, meshVersion: this.#meshVersion });
    } else this.#consumers.delete(key);
    const group =
      ofConsumer.length > 0
        ? ofConsumer.map((route) => withoutPlainBackends(route, this.#isPlain))
        : attached(service.namespace);
    const kind = kinds.find((one) => group.some((route) => route.kind === one));
    const match =
      kind &&
      compileRoutes(
        group.filter((route) => route.kind === kind),
        this.#regexTimeOf(consumer ?? service.namespace),
      );
    const routing = kind && match ? { kind, match } : undefined;
    this.#routings.set(key, routing);
    return routing;
  }

  #regexTimeOf(clientNamespace: string): RegexTime {
    let time = this.#regexTimes.get(clientNamespace);
    if (!time) this.#regexTimes.set(clientNamespace, (time = new RegexTime()));
    return time;
  }

  /** False: a mesh update changed which backends of the consumer routes are plain, so the routing has to be compiled again. */
  #isCurrent(key: string): boolean {
    const known = this.#consumers.get(key);
    if (!known || known.meshVersion === this.#meshVersion) return true;
    known.meshVersion = this.#meshVersion;
    return plainBackendsOf(known.routes, this.#isPlain) === known.plain;
  }

  readonly #isPlain: IsPlain = ({ service: key, port }) => {
    const waypoint = this.#mesh.service(key)?.waypoint;
    if (waypoint && this.isSelf(waypoint)) return false;
    return (
      this.endpoints(key, port)?.some(({ workload, via }) => !via && workload.tunnel === 'none') ?? false
    );
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

  /** Why `endpoints` of a Service's port are undefined. */
  noEndpointsBecause(service: ServiceKey, port: number): string {
    const closed = this.policyOf(service, port)?.closed;
    return closed === undefined
      ? `Service ${service} with port ${port} is unknown`
      : `Service ${service}: ${notUnderstood(closed)}`;
  }

  /** The endpoints of a Service's port; undefined if the Service is unknown, has no such port, or its settings are not understood. */
  endpoints(key: ServiceKey, port: number): readonly Endpoint[] | undefined {
    if (this.policyOf(key, port)?.closed !== undefined) return undefined;
    const service = this.#mesh.service(key);
    const mapping = service?.ports.find(({ servicePort }) => servicePort === port);
    if (!service || !mapping) return undefined;
    let lists = this.#endpoints.get(key);
    if (!lists) {
      this.#endpoints.set(key, (lists = new Map()));
      if (this.#mesh.endpointsOf(key).some(({ uid }) => claimRankOf(uid) !== claimRanks.pod))
        this.#ownedElsewhere.add(key);
    }
    let found = lists.get(port);
    if (!found) lists.set(port, (found = this.#endpointsOf(service, mapping)));
    return found;
  }

  #endpointsOf(service: Service, { servicePort: port, appProtocol }: PortMapping): readonly Endpoint[] {
    const { key, waypoint } = service;
    const like = service.addresses[0]?.ip ?? this.#mesh.endpointsOf(key)[0]?.addresses[0];
    if (!like) return [];
    const candidates = candidatesOf(this.#mesh, service, { ip: like, port }, this.node);
    const via = waypoint && !this.isSelf(waypoint) ? waypoint : undefined;
    if (!via)
      return candidates.map(({ workload, target }) => this.#endpointOf(workload, target, appProtocol));
    // The Service's own waypoint chooses the endpoint, so the policies of all candidates count (policy-groups.ts).
    const [first] = candidates;
    const vip = service.addresses[0]?.ip;
    if (!first || !vip) return [];
    return [this.#endpointOf(first.workload, { ip: vip, port }, appProtocol, via)];
  }

  isSelf(waypoint: WaypointRef): boolean {
    return waypoint.kind === 'hostname' && waypoint.service === this.self;
  }

  /** Whether this waypoint serves a port of a Service or a workload. Everything else is refused: the waypoint is no open proxy. */
  serves(service: Service | undefined, workload: Workload | undefined, port: number): boolean {
    if (service) return service.waypoint !== undefined && this.isSelf(service.waypoint);
    return workload !== undefined && waypointsOf(this.#mesh, workload, port).some((one) => this.isSelf(one));
  }

  /** The endpoint of a workload that the client dialed by the workload's own address. */
  endpointAt(workload: Workload, target: SocketAddress): Endpoint {
    const declared = new Set<AppProtocol>();
    for (const ports of workload.services.values()) {
      for (const port of ports) if (port.targetPort === target.port) declared.add(port.appProtocol);
    }
    // If the workload's Services declare different protocols, the protocol is unknown.
    const [protocol = 'unknown'] = declared;
    return this.#endpointOf(workload, target, declared.size === 1 ? protocol : 'unknown');
  }

  #endpointOf(workload: Workload, target: SocketAddress, protocol: AppProtocol, via?: WaypointRef): Endpoint {
    // Connections are pooled by the key: if the Service changes its waypoint, its requests take another connection.
    const key = `${workload.uid} ${formatSocketAddress(target)} ${protocol}${via ? ` via ${via.kind === 'hostname' ? via.service : via.ip} ${via.hbonePort}` : ''}`;
    let endpoint = this.#known.get(key);
    if (!endpoint) {
      if (this.#known.size >= this.#sweepAt) this.#forgetUnlisted();
      endpoint = { key, workload, target, protocol, via, active: 0, health: newHealth() };
      this.#known.set(key, endpoint);
      let others = this.#ofWorkload.get(workload.uid);
      if (!others) this.#ofWorkload.set(workload.uid, (others = new Set()));
      others.add(endpoint);
    }
    endpoint.workload = workload;
    return endpoint;
  }

  /**
   * Removes endpoints that are neither in use nor listed for a Service. Clients may dial a workload that names this waypoint at any port,
   * so clients choose how many endpoints there are.
   */
  #forgetUnlisted(): void {
    const listed = new Set<Endpoint>();
    for (const lists of this.#endpoints.values())
      for (const list of lists.values()) for (const endpoint of list) listed.add(endpoint);
    for (const endpoint of this.#known.values())
      if (endpoint.active === 0 && !listed.has(endpoint)) this.#forgetEndpoint(endpoint);
    this.#sweepAt = Math.max(sweepEndpointsMin, 2 * this.#known.size);
  }

  /** Number of endpoints in memory. */
  get endpointsKnown(): number {
    return this.#known.size;
  }

  /** Removes the endpoints of removed workloads; those in use at a later update, when they are not. */
  #forgetRemoved(change: MeshChange): void {
    for (const uid of change.workloads) if (this.#ofWorkload.has(uid)) this.#removed.add(uid);
    for (const uid of this.#removed) {
      if (!this.#mesh.workload(uid))
        for (const endpoint of this.#ofWorkload.get(uid) ?? [])
          if (endpoint.active === 0) this.#forgetEndpoint(endpoint);
      if (this.#mesh.workload(uid) || !this.#ofWorkload.has(uid)) this.#removed.delete(uid);
    }
  }

  #forgetEndpoint(endpoint: Endpoint): void {
    this.#known.delete(endpoint.key);
    this.policies.forgetEndpoint(endpoint);
    const { uid } = endpoint.workload;
    const others = this.#ofWorkload.get(uid);
    others?.delete(endpoint);
    if (others?.size === 0) this.#ofWorkload.delete(uid);
  }
}
