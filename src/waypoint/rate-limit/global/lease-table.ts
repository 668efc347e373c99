/**
 * All leases of a worker, in bounded number. At the limit a client that has more than its share loses its oldest lease; otherwise the client
 * that has most does. A lost lease costs the hits that it still had: the limit itself is with the service.
 */
import type { Lease } from './lease.js';

/** The map of one limit, from the key's text to its lease. */
type Leases = Map<string, Lease>;
interface Place {
  readonly leases: Leases;
  readonly key: string;
}

/** Leases that one sweep looks at. */
const sweepSteps = 4_096;

export class LeaseTable {
  /** By the client that made them; the oldest first. */
  readonly #owners = new Map<string, Map<Lease, Place>>();
  #size = 0;
  #cursor = this.#all();

  constructor(
    private readonly max: number,
    private readonly onFull: () => void,
  ) {}

  get size(): number {
    return this.#size;
  }

  add(leases: Leases, key: string, lease: Lease): void {
    if (this.#size >= this.max) {
      this.onFull();
      this.#makeRoom(lease.owner);
    }
    leases.set(key, lease);
    let own = this.#owners.get(lease.owner);
    if (!own) this.#owners.set(lease.owner, (own = new Map()));
    own.set(lease, { leases, key });
    this.#size++;
  }

  /** Removes leases that are no longer in use. One call looks at a bounded number of them, the next one goes on from there. */
  sweep(isUnused: (lease: Lease) => boolean): void {
    for (let step = 0; step < sweepSteps; step++) {
      const next = this.#cursor.next();
      if (next.done === true) {
        this.#cursor = this.#all();
        return;
      }
      const [lease, place] = next.value;
      if (isUnused(lease)) this.#remove(lease, place);
    }
  }

  removeAll(leases: Leases): void {
    for (const [key, lease] of leases) this.#remove(lease, { leases, key });
  }

  *#all(): Generator<readonly [Lease, Place], undefined> {
    for (const own of this.#owners.values()) yield* own;
  }

  #makeRoom(owner: string): void {
    let largest = this.#owners.get(owner);
    if ((largest?.size ?? 0) < this.max / (this.#owners.size + 1))
      for (const own of this.#owners.values()) if (own.size > (largest?.size ?? 0)) largest = own;
    for (const [lease, place] of largest ?? []) return this.#remove(lease, place);
  }

  #remove(lease: Lease, { leases, key }: Place): void {
    if (leases.get(key) === lease) leases.delete(key);
    const own = this.#owners.get(lease.owner);
    if (own?.delete(lease) !== true) return;
    this.#size--;
    if (own.size === 0) this.#owners.delete(lease.owner);
  }
}
