/**
 * The part of a compiled mesh by which connections between two ends are decided: `weft explain` reads it in place of the whole mesh. Pure. It may
 * have more than what decides, and never less: the property test of `weft explain` compares both.
 */
import { isIp, parseIp, type IpAddress } from '../model/address.js';
import { claimRankOf, claimRanks, namespaceOfKey } from '../model/ownership.js';
import type { AuthorizationPolicy } from '../model/policy.js';
import type { Service } from '../model/service.js';
import { serviceInHost } from '../model/service-host.js';
import { templateName } from '../model/template-pod.js';
import type { ServiceKey, WaypointRef, Workload, WorkloadUid } from '../model/workload.js';
import type { MeshSnapshot } from './snapshot.js';

/** What `weft explain` is asked about. */
export interface Ends {
  /** `NAMESPACE/NAME`, or an address. */
  readonly source?: string | undefined;
  /** In place of the source. */
  readonly identity?: string | undefined;
  /** With an identity: as if none of its pods were known. */
  readonly areClientsUnknown?: boolean;
  /** `NAMESPACE/NAME`, a host name or an address, with or without a port. */
  readonly destination: string;
}

export interface MeshPart {
  readonly snapshot: MeshSnapshot;
  /** Namespaces of the clients. */
  readonly sources: readonly string[];
  /** Namespaces of what is dialed. */
  readonly destinations: readonly string[];
  /** False: one refers to another in a longer chain than is followed, so that something may be missing. */
  readonly isWhole: boolean;
}

/** A destination without its port. */
export const withoutPort = (text: string): string =>
  isIp(text) ? text : text.replace(/:\d{1,5}$/, '').replace(/^\[(.*)\]$/, '$1');

/** `NAMESPACE/NAME` in two parts. */
export function slashed(text: string): readonly [string, string] | undefined {
  const at = text.indexOf('/');
  return at > 0 && at < text.length - 1 && text.indexOf('/', at + 1) < 0
    ? [text.slice(0, at), text.slice(at + 1)]
    : undefined;
}

/** The namespace that an end states, by `NAMESPACE/NAME` or a host name. */
export function statedNamespace(end: string): string | undefined {
  const name = withoutPort(end);
  return slashed(name)?.[0] ?? (isIp(name) ? undefined : name.split('.')[1]);
}

/** Short names of the cluster's DNS: `api` in the client's namespace, `api.shop`, `api.shop.svc`. */
export function hostNamesOf(host: string, namespace: string): readonly string[] {
  const suffix = '.svc.cluster.local';
  return [host, `${host}.cluster.local`, `${host}${suffix}`, `${host}.${namespace}${suffix}`];
}

const isReference = ({ uid }: Workload): boolean => claimRankOf(uid) === claimRanks.reference;

/** Whether a workload has the name of a pod, a Deployment or an app. */
function isNamed(one: Workload, [namespace, name]: readonly [string, string]): boolean {
  return (
    one.namespace === namespace &&
    (one.name === name || one.workloadName === name || templateName(one.name) === name)
  );
}

export function partOf(whole: MeshSnapshot, ends: Ends): MeshPart {
  const part = new Part(whole);
  const sources = part.addSources(ends);
  const destinations = part.addDestination(ends.destination, sources);
  const isWhole = part.close(sources);
  return { snapshot: part.snapshot(sources), sources, destinations, isWhole };
}

/** Each turn looks at the whole mesh, so tenants must not choose how many there are. */
const turnsMax = 16;

class Part {
  readonly #services = new Map<ServiceKey, Service>();
  readonly #byKey: ReadonlyMap<ServiceKey, Service>;
  readonly #workloads = new Set<Workload>();
  /** Services whose endpoints belong to the part, too. */
  readonly #whole = new Set<ServiceKey>();
  readonly #addresses = new Set<IpAddress>();

  constructor(private readonly all: MeshSnapshot) {
    this.#byKey = new Map((all.mesh.services ?? []).map((one) => [one.key, one]));
  }

  get #allWorkloads(): readonly Workload[] {
    return this.all.mesh.workloads ?? [];
  }

  /** Returns the namespaces of the clients. */
  addSources({ source = '', identity, areClientsUnknown }: Ends): readonly string[] {
    const ip = identity === undefined && isIp(source) ? parseIp(source) : undefined;
    const name = identity === undefined && ip === undefined ? slashed(source) : undefined;
    const found = this.#allWorkloads.filter((one) =>
      identity !== undefined
        ? areClientsUnknown !== true && one.identity === identity
        : ip !== undefined
          ? !isReference(one) && one.addresses.includes(ip)
          : name !== undefined && isNamed(one, name),
    );
    for (const one of found) this.#addWorkload(one);
    const stated = identity === undefined ? name?.[0] : /\/ns\/([^/]+)\//.exec(identity)?.[1];
    return [
      ...new Set([...(stated === undefined ? [] : [stated]), ...found.map(({ namespace }) => namespace)]),
    ];
  }

  /** Returns the namespaces of what is dialed. */
  addDestination(text: string, clients: readonly string[]): readonly string[] {
    const name = withoutPort(text);
    const isFor = ({
      scope,
      namespace,
    }: {
      readonly scope?: 'namespace';
      readonly namespace: string;
    }): boolean => scope === undefined || clients.includes(namespace);
    const services: Service[] = [];
    const workloads: Workload[] = [];
    const stated: string[] = [];
    const parts = slashed(name);
    if (isIp(name)) {
      const ip = parseIp(name);
      this.#addresses.add(ip);
      for (const one of this.all.mesh.services ?? [])
        if (one.addresses.some((address) => address.ip === ip) && isFor(one)) services.push(one);
      for (const one of this.#allWorkloads)
        if (one.addresses.includes(ip) && (isReference(one) ? clients.includes(one.namespace) : isFor(one)))
          workloads.push(one);
    } else if (parts) {
      const [namespace, own] = parts;
      stated.push(namespace);
      for (const one of this.all.mesh.services ?? [])
        if (one.namespace === namespace && one.name === own) services.push(one);
      for (const one of this.#allWorkloads) if (isNamed(one, parts)) workloads.push(one);
    } else {
      stated.push(...this.#namespacesIn(name, clients));
      for (const client of clients.length > 0 ? clients : [''])
        for (const host of hostNamesOf(name, client)) {
          const having = (this.all.mesh.services ?? []).filter(({ hostname }) => hostname === host);
          const one = having.find(({ namespace }) => namespace === client) ?? having[0];
          if (!one) continue;
          services.push(one);
          break;
        }
    }
    for (const one of services) this.#addService(one.key, true);
    for (const one of workloads) this.#addWorkload(one);
    return [...new Set([...stated, ...[...services, ...workloads].map(({ namespace }) => namespace)])];
  }

  /** The namespaces that a host name states, whether or not it has such a Service. */
  #namespacesIn(host: string, clients: readonly string[]): readonly string[] {
    const own = serviceInHost(host)?.namespace;
    if (own !== undefined) return [own];
    const [, namespace, ...rest] = host.split('.');
    if (namespace === undefined) return clients;
    // `api.shop`, and not `example.com`.
    const { services = [] } = this.all.mesh;
    const isNamespace = [...services, ...this.#allWorkloads].some((one) => one.namespace === namespace);
    return rest.length === 0 && isNamespace ? [namespace] : [];
  }

  #addWorkload(one: Workload): void {
    if (this.#workloads.has(one)) return;
    this.#workloads.add(one);
    for (const ip of one.addresses) this.#addresses.add(ip);
    this.#addWaypoint(one.waypoint);
    // Services of other namespaces do not stand before it.
    for (const key of one.services.keys())
      if (namespaceOfKey(key) === one.namespace) this.#addService(key, false);
  }

  #addService(key: ServiceKey, isWhole: boolean): void {
    const one = this.#byKey.get(key);
    if (isWhole) this.#whole.add(key);
    if (!one || this.#services.has(key)) return;
    this.#services.set(key, one);
    for (const { ip } of one.addresses) this.#addresses.add(ip);
    this.#addWaypoint(one.waypoint);
  }

  #addWaypoint(reference: WaypointRef | undefined): void {
    if (reference?.kind === 'hostname') this.#addService(reference.service, true);
    if (reference?.kind !== 'address') return;
    this.#addresses.add(reference.ip);
    for (const one of this.all.mesh.services ?? [])
      if (one.addresses.some(({ ip }) => ip === reference.ip)) this.#addService(one.key, true);
  }

  /** Adds what is referred to, until nothing is new. False: that took more turns than there may be. */
  close(clients: readonly string[]): boolean {
    for (let turn = 0; turn < turnsMax; turn++) {
      const size = this.#size;
      const namespaces = new Set(clients);
      for (const { namespace } of this.#workloads) namespaces.add(namespace);
      for (const one of this.#allWorkloads)
        if (this.#hasEndpoint(one) || this.#hasAddress(one, namespaces)) this.#addWorkload(one);
      for (const one of this.#routes(clients)) this.#addNamed(one);
      for (const { policy } of this.#settings()) this.#addNamed(policy);
      if (size === this.#size) return true;
    }
    return false;
  }

  get #size(): number {
    return this.#workloads.size + this.#services.size + this.#whole.size + this.#addresses.size;
  }

  #hasEndpoint({ services }: Workload): boolean {
    for (const key of services.keys()) if (this.#whole.has(key)) return true;
    return false;
  }

  /**
   * Others with an address of the part may own it, or put a Service of their namespace before its owner. What counts in its own namespace alone
   * concerns only that one.
   */
  #hasAddress(one: Workload, namespaces: ReadonlySet<string>): boolean {
    if (!one.addresses.some((ip) => this.#addresses.has(ip))) return false;
    const isOfAll = !isReference(one) && one.scope === undefined;
    return isOfAll || namespaces.has(one.namespace);
  }

  /** Routes of the Services: those of their own namespaces, and of the namespaces of clients, of which waypoints are some. */
  #routes(clients: readonly string[]): MeshSnapshot['routes'] {
    const namespaces = new Set(clients);
    for (const { namespace, nativeTunnel } of this.#workloads)
      if (nativeTunnel === true) namespaces.add(namespace);
    return this.all.routes.filter(({ namespace, parents }) =>
      parents.some(
        ({ service }) =>
          this.#services.has(service) && (namespace === namespaceOfKey(service) || namespaces.has(namespace)),
      ),
    );
  }

  #settings(): MeshSnapshot['servicePolicies'] {
    return this.all.servicePolicies.filter(({ policy }) => this.#services.has(policy.service));
  }

  /** Adds the Services that a route or settings name, wherever: in backends, mirrors, decision services, shared rate limits. */
  #addNamed(value: unknown): void {
    if (typeof value === 'string') {
      if (value.includes('/') && this.#byKey.has(value as ServiceKey))
        this.#addService(value as ServiceKey, true);
    } else if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value))
      for (const one of Object.values(value)) this.#addNamed(one);
  }

  snapshot(clients: readonly string[]): MeshSnapshot {
    const { all } = this;
    const uids = new Set<WorkloadUid>();
    const namespaces = new Set<string>();
    for (const { uid, namespace } of this.#workloads) {
      uids.add(uid);
      namespaces.add(namespace);
    }
    const names = new Set<string>();
    for (const { waypoint } of [...this.#services.values(), ...this.#workloads])
      if (waypoint?.kind === 'hostname') names.add(waypointNameOf(waypoint.service));
    const isOf = ({ scope, namespace, services }: AuthorizationPolicy): boolean =>
      services.length > 0
        ? services.some((key) => this.#services.has(key as ServiceKey))
        : scope === 'global' || namespaces.has(namespace);
    // Filtered, so that the order stays: of equals the first counts.
    return {
      ...all,
      mesh: {
        workloads: this.#allWorkloads.filter((one) => this.#workloads.has(one)),
        services: (all.mesh.services ?? []).filter(({ key }) => this.#services.has(key)),
        policies: (all.mesh.policies ?? []).filter(isOf),
      },
      pods: all.pods.filter(({ uid }) => uids.has(uid)),
      nodePods: all.nodePods.filter(({ pod }) => uids.has(pod.uid)),
      routes: this.#routes(clients),
      servicePolicies: this.#settings(),
      withoutAddress: all.withoutAddress.filter((key) => this.#services.has(key)),
      waypoints: all.waypoints.filter((name) => names.has(name)),
    };
  }
}

/** `<namespace>/<name>` of the Gateway whose waypoint has this Service. */
export function waypointNameOf(key: ServiceKey): string {
  const [namespace = '', host = ''] = key.split('/');
  return `${namespace}/${host.slice(0, host.indexOf('.'))}`;
}

/** All namespaces whose resources a part has. Policies of the root namespace apply to all, and everybody may read them. */
export function namespacesOf({ mesh, routes }: MeshSnapshot, rootNamespace: string): readonly string[] {
  const { workloads = [], services = [], policies = [] } = mesh;
  const found = new Set([...workloads, ...services, ...routes].map(({ namespace }) => namespace));
  for (const { namespace, scope } of policies)
    if (!(scope === 'global' && namespace === rootNamespace)) found.add(namespace);
  return [...found].sort();
}
