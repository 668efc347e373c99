/**
 * What waypoints may report (control/edges/waypoint-reports.ts): the compiled resources that say which Services use a waypoint, where their
 * routes lead, and which workloads are there. What was so in the last 15 minutes counts: a report is about the time before it.
 */
import { FairLimit } from '../../src/base/fair-limit.js';
import { edgesKeptMs } from '../../src/model/edge.js';
import { claimRankOf, claimRanks } from '../../src/model/ownership.js';
import type { Route } from '../../src/model/route.js';
import type { Service } from '../../src/model/service.js';
import type { ServiceKey, Workload } from '../../src/model/workload.js';
import { resourceId, type CompiledResource } from './resource.js';

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

/** The Services to which a route leads. */
export const backendsOf = ({ rules }: Route): readonly ServiceKey[] =>
  rules.flatMap(({ backends }) =>
    backends.flatMap(({ target }) => (target.kind === 'service' ? [target.service] : [])),
  );

const nameOf = (namespace: string, name: string): string => `${namespace}/${name}`;
const isReference = ({ uid }: Workload): boolean => claimRankOf(uid) === claimRanks.reference;
const useOf = (waypoint: ServiceKey, namespace: string): string => `${waypoint} ${namespace}`;
/** The Service of the waypoint that a Service uses. */
export const waypointUsedBy = ({ waypoint }: Service): ServiceKey | undefined =>
  waypoint?.kind === 'hostname' ? waypoint.service : undefined;

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

export class Observable {
  /** Services with a waypoint, by host name. */
  readonly #services = new Sets<string, Service>();
  /** The same by waypoint and namespace. */
  readonly #uses = new Sets<string, Service>();
  /** By parent. */
  readonly #routes = new Sets<ServiceKey, Route>();
  /** Endpoints that are neither pods nor Workloads, by Service. */
  readonly #references = new Sets<ServiceKey, Workload>();
  /** Former pods and Workloads; the compiler finds those that are there. */
  readonly #formerOwners = new Sets<string, Workload>();
  readonly #identities = new Map<string, number>();
  /** How to forget former resources, the oldest first. */
  readonly #former = new Set<{ readonly untilMs: number; readonly forget: () => void }>();
  readonly #shares = new FairLimit(formerMax);

  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  /** Services with a waypoint that have this host name. Host names outside of the cluster may be of several namespaces. */
  servicesNamed(host: string): Iterable<Service> {
    this.#sweep();
    return this.#services.of(host);
  }
  /** Services of a namespace that use a waypoint. @param waypoint its Service */
  servicesThrough(waypoint: ServiceKey, namespace: string): Iterable<Service> {
    this.#sweep();
    return this.#uses.of(useOf(waypoint, namespace));
  }
  routesOf(parent: ServiceKey): Iterable<Route> {
    return this.#routes.of(parent);
  }
  referencesOf(service: ServiceKey): Iterable<Workload> {
    return this.#references.of(service);
  }
  formerOwners(namespace: string, name: string): Iterable<Workload> {
    this.#sweep();
    return this.#formerOwners.of(nameOf(namespace, name));
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
    if (one.kind === 'service') {
      const waypoint = waypointUsedBy(one.value);
      this.#services.add(one.value.hostname, one.value);
      if (waypoint) this.#uses.add(useOf(waypoint, one.value.namespace), one.value);
    } else if (one.kind === 'route')
      for (const { service } of one.value.parents) this.#routes.add(service, one.value);
    else {
      const { identity, services } = one.value;
      this.#identities.set(identity, (this.#identities.get(identity) ?? 0) + 1);
      if (isReference(one.value)) for (const key of services.keys()) this.#references.add(key, one.value);
    }
  }

  #delete(one: Observed): void {
    if (one.kind === 'service') {
      const waypoint = waypointUsedBy(one.value);
      this.#services.delete(one.value.hostname, one.value);
      if (waypoint) this.#uses.delete(useOf(waypoint, one.value.namespace), one.value);
    } else if (one.kind === 'route')
      for (const { service } of one.value.parents) this.#routes.delete(service, one.value);
    else {
      const { namespace, name, identity, services } = one.value;
      const left = (this.#identities.get(identity) ?? 0) - 1;
      if (left > 0) this.#identities.set(identity, left);
      else this.#identities.delete(identity);
      if (isReference(one.value)) for (const key of services.keys()) this.#references.delete(key, one.value);
      else this.#formerOwners.delete(nameOf(namespace, name), one.value);
    }
  }

  /** Beyond the share of its namespace it is forgotten at once: then a last report about it is not accepted. */
  #remember(one: Observed): void {
    this.#sweep();
    const { namespace, name } = one.value;
    if (this.#shares.take(namespace) !== undefined) return this.#delete(one);
    if (one.kind === 'workload' && !isReference(one.value))
      this.#formerOwners.add(nameOf(namespace, name), one.value);
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
