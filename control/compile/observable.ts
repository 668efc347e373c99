/**
 * What waypoints may report (control/edges/waypoint-reports.ts): the compiled resources that say which Services use a waypoint, where their
 * routes lead, and which workloads are there. What was so in the last 15 minutes counts: a report is about the time before it.
 */
import { FairLimit } from '../../src/base/fair-limit.js';
import { edgesKeptMs } from '../../src/model/edge.js';
import type { IpAddress } from '../../src/model/address.js';
import { claimRankOf, claimRanks, namespaceOfKey } from '../../src/model/ownership.js';
import type { Route } from '../../src/model/route.js';
import type { Service } from '../../src/model/service.js';
import type { ServiceKey, Workload } from '../../src/model/workload.js';
import { resourceId, type CompiledResource } from './resource.js';

/** Endpoints that a lookup finds: a report must not cost more because a tenant has made many. */
export const foundMax = { byName: 256, byAddress: 64 } as const;
export function* first<T>(items: Iterable<T>, max: number): Generator<T> {
  let left = max;
  for (const item of items) {
    if (left-- <= 0) return;
    yield item;
  }
}

/** Former resources that are remembered, with a share for each namespace (docs/limits.md). */
export const formerMax = 4_096;

type Observed = Extract<CompiledResource, { kind: 'service' | 'route' | 'workload' }>;
const isObserved = (one: CompiledResource): one is Observed =>
  one.kind === 'workload' ||
  one.kind === 'route' ||
  (one.kind === 'service' && waypointUsedBy(one.value) !== undefined);

/** Sets of values by key. */
class Sets<K, V> {
  readonly #sets = new Map<K, Set<V>>();
  add(key: K, value: V): void {
    const set = this.#sets.get(key);
    if (set) set.add(value);
    else this.#sets.set(key, new Set([value]));
  }
  delete(key: K, value: V): void {
    const set = this.#sets.get(key);
    set?.delete(value);
    if (set?.size === 0) this.#sets.delete(key);
  }
  of(key: K): Iterable<V> {
    return this.#sets.get(key) ?? [];
  }
}

/** How many resources a key is of. */
class Counts {
  readonly #counts = new Map<string, number>();
  add(key: string, by: 1 | -1): void {
    const now = (this.#counts.get(key) ?? 0) + by;
    if (now > 0) this.#counts.set(key, now);
    else this.#counts.delete(key);
  }
  has(key: string): boolean {
    return this.#counts.has(key);
  }
}

/** The Services to which a route leads. */
const backendsOf = ({ rules }: Route): readonly ServiceKey[] =>
  rules.flatMap(({ backends }) =>
    backends.flatMap(({ target }) => (target.kind === 'service' ? [target.service] : [])),
  );

const nameOf = (namespace: string, name: string): string => `${namespace}/${name}`;
const isReference = ({ uid }: Workload): boolean => claimRankOf(uid) === claimRanks.reference;
const at = (namespace: string, ip: IpAddress): string => `${namespace} ${ip}`;
/** The Service of the waypoint that a Service uses. */
const waypointUsedBy = ({ waypoint }: Service): ServiceKey | undefined =>
  waypoint?.kind === 'hostname' ? waypoint.service : undefined;

const servedAs = (service: Service): string => `${waypointUsedBy(service)} ${service.hostname}`;

/** Whether whatever may be reported by `before` may be reported by `now`. */
function covers(now: CompiledResource | undefined, before: Observed): boolean {
  if (now?.kind === 'service' && before.kind === 'service')
    return waypointUsedBy(now.value) === waypointUsedBy(before.value);
  if (now?.kind === 'route' && before.kind === 'route') {
    const backends = new Set(backendsOf(now.value));
    const parents = new Set(now.value.parents.map(({ service }) => service));
    return (
      backendsOf(before.value).every((key) => backends.has(key)) &&
      before.value.parents.every(({ service }) => parents.has(service))
    );
  }
  if (now?.kind !== 'workload' || before.kind !== 'workload') return false;
  const [a, b] = [now.value, before.value];
  return (
    a.identity === b.identity &&
    a.workloadName === b.workloadName &&
    b.addresses.every((ip) => a.addresses.includes(ip)) &&
    [...b.services.keys()].every((key) => a.services.has(key))
  );
}

/**
 * None of the lookups costs more by what other namespaces have: programs ask for whatever they like. Only a host outside of the cluster may be
 * a Service of each namespace.
 */
export class Observable {
  /** By waypoint and host name. Host names outside of the cluster may be of several namespaces. */
  readonly #served = new Sets<string, Service>();
  /** A waypoint, and a Service or a namespace that uses it. */
  readonly #uses = new Counts();
  /** A Service, one to which its routes lead or the latter's namespace, and the routes' namespace. */
  readonly #leads = new Counts();
  /** Endpoints that are neither pods nor Workloads, and former pods and Workloads. The compiler finds those that are there. */
  readonly #named = new Sets<string, Workload>();
  /** Endpoints that are neither, by namespace and address. */
  readonly #written = new Sets<string, Workload>();
  readonly #identities = new Counts();
  /** How to forget former resources, the oldest first. */
  readonly #former = new Set<{ readonly untilMs: number; readonly forget: () => void }>();
  readonly #shares = new FairLimit(formerMax);

  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  /** The Services with this host name that use the waypoint. @param waypoint its Service */
  served(waypoint: ServiceKey, host: string): Iterable<Service> {
    this.#sweep();
    return this.#served.of(`${waypoint} ${host}`);
  }
  /** @param what a Service, or a namespace of which some Service does */
  uses(waypoint: ServiceKey, what: string): boolean {
    this.#sweep();
    return this.#uses.has(`${waypoint} ${what}`);
  }
  /** Whether routes of a namespace lead from one Service to another, or to some Service of a namespace. */
  leads(service: ServiceKey, to: string, routeNamespace: string): boolean {
    return this.#leads.has(`${service} ${to} ${routeNamespace}`);
  }
  /** Endpoints of this name that are written by hand, and former workloads. */
  workloadsNamed(namespace: string, name: string): Iterable<Workload> {
    this.#sweep();
    return first(this.#named.of(nameOf(namespace, name)), foundMax.byName);
  }
  /** Endpoints of a namespace that are written by hand, at an address. */
  writtenAt(namespace: string, ip: IpAddress): Iterable<Workload> {
    return first(this.#written.of(at(namespace, ip)), foundMax.byAddress);
  }
  /** Whether a workload has this identity. */
  hasIdentity(identity: string): boolean {
    this.#sweep();
    return this.#identities.has(identity);
  }

  /** An object's resources have changed. */
  replace(before: ReadonlySet<CompiledResource>, now: readonly CompiledResource[]): void {
    for (const one of now) if (isObserved(one) && !before.has(one)) this.#add(one);
    if (before.size === 0) return;
    const kept = new Set(now);
    const gone = [...before].filter((one) => !kept.has(one)).filter(isObserved);
    if (gone.length === 0) return;
    const successors = new Map(now.map((one) => [resourceId(one), one]));
    for (const one of gone) {
      if (covers(successors.get(resourceId(one)), one)) this.#delete(one);
      else this.#remember(one);
    }
  }

  #add(one: Observed): void {
    this.#count(one, 1);
    if (one.kind === 'service') this.#served.add(servedAs(one.value), one.value);
    else if (one.kind === 'workload' && isReference(one.value)) {
      this.#named.add(nameOf(one.value.namespace, one.value.name), one.value);
      for (const ip of one.value.addresses) this.#written.add(at(one.value.namespace, ip), one.value);
    }
  }

  #delete(one: Observed): void {
    this.#count(one, -1);
    if (one.kind === 'service') this.#served.delete(servedAs(one.value), one.value);
    else if (one.kind === 'workload') {
      this.#named.delete(nameOf(one.value.namespace, one.value.name), one.value);
      for (const ip of one.value.addresses) this.#written.delete(at(one.value.namespace, ip), one.value);
    }
  }

  #count(one: Observed, by: 1 | -1): void {
    if (one.kind === 'service') {
      const { key, namespace } = one.value;
      for (const what of [key, namespace]) this.#uses.add(`${waypointUsedBy(one.value)} ${what}`, by);
    } else if (one.kind === 'workload') this.#identities.add(one.value.identity, by);
    else
      for (const { service } of one.value.parents)
        for (const backend of backendsOf(one.value))
          for (const to of [backend, namespaceOfKey(backend)])
            this.#leads.add(`${service} ${to} ${one.value.namespace}`, by);
  }

  /** Beyond the share of its namespace it is forgotten at once: then a last report about it is not accepted. */
  #remember(one: Observed): void {
    this.#sweep();
    const { namespace, name } = one.value;
    if (this.#shares.take(namespace) !== undefined) return this.#delete(one);
    if (one.kind === 'workload' && !isReference(one.value))
      this.#named.add(nameOf(namespace, name), one.value);
    const forget = (): void => {
      this.#shares.release(namespace);
      this.#delete(one);
    };
    this.#former.add({ untilMs: this.nowMs() + edgesKeptMs, forget });
  }

  #sweep(): void {
    const nowMs = this.nowMs();
    for (const former of this.#former) {
      if (former.untilMs > nowMs) return;
      this.#former.delete(former);
      former.forget();
    }
  }
}
