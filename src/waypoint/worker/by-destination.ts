/** Live connections or requests, indexed by the dialed Service or workload: a change of a Service visits only those of that Service. */
import type { ServiceKey, WorkloadUid } from '../../model/workload.js';
import { IntrusiveSet } from '../exchange/intrusive-set.js';
import type { Destination } from '../listener/destination.js';
import type { ChangeImpact } from '../state/change-impact.js';

interface Member {
  /** Its index in its set (IntrusiveSet). */
  slot: number;
  readonly destination: Destination;
}

export class ByDestination<T extends Member> {
  readonly #services = new Map<ServiceKey, IntrusiveSet<T>>();
  readonly #workloads = new Map<WorkloadUid, IntrusiveSet<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(one: T): void {
    const { destination } = one;
    this.#size++;
    if (destination.kind === 'service') addTo(this.#services, destination.service.key, one);
    else addTo(this.#workloads, destination.workload.uid, one);
  }

  /** Does nothing if the member is not in the set. */
  delete(one: T): void {
    if (one.slot < 0) return;
    const { destination } = one;
    this.#size--;
    if (destination.kind === 'service') deleteFrom(this.#services, destination.service.key, one);
    else deleteFrom(this.#workloads, destination.workload.uid, one);
  }

  /** The members whose destination a mesh update affects: a snapshot. */
  *affected(impact: ChangeImpact): Iterable<T> {
    for (const key of impact.services()) yield* this.#services.get(key) ?? [];
    for (const [uid, all] of this.#workloads) if (impact.workload(uid)) yield* all;
  }

  /** Iterates over a snapshot of the members. */
  [Symbol.iterator](): Iterator<T> {
    const all: T[] = [];
    for (const sets of [this.#services, this.#workloads]) for (const one of sets.values()) all.push(...one);
    return all[Symbol.iterator]();
  }
}

function addTo<K, T extends Member>(sets: Map<K, IntrusiveSet<T>>, key: K, one: T): void {
  let set = sets.get(key);
  if (!set) sets.set(key, (set = new IntrusiveSet()));
  set.add(one);
}

function deleteFrom<K, T extends Member>(sets: Map<K, IntrusiveSet<T>>, key: K, one: T): void {
  const set = sets.get(key);
  set?.delete(one);
  if (set?.size === 0) sets.delete(key);
}
