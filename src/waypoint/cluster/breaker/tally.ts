/**
 * How many connections and requests are under way in one worker, of a cluster or of one of its clients. What has a limit is counted in memory
 * that all workers share; what has none is not, because that costs more.
 */
import type { Counts } from '../../shared/shared-counters.js';

/** Opens and closes the shared counts of a tally. */
export interface SharedCountsOf {
  open(): Counts;
  close(counts: Counts): void;
}

const kinds = 5;

export class Tally {
  readonly #own = new Int32Array(kinds);
  #counts: Counts | undefined;
  /** Bits of the kinds that are counted for all workers. */
  #shared = 0;
  /** When the tally was last used, by the breaker's count of sweeps. */
  usedAt = 0;

  /** @param source undefined: no other worker counts the same */
  constructor(private readonly source?: SharedCountsOf) {}

  /** Counts one, if there are fewer than `max`. The caller releases it once. */
  take(kind: number, max: number): boolean {
    if (max === Infinity) return this.add(kind);
    this.share(kind);
    const own = this.#own[kind] ?? 0;
    if (this.#counts ? !this.#counts.take(kind, max) : own >= max) return false;
    this.#own[kind] = own + 1;
    return true;
  }

  /** Counts one, whatever the limit. The caller releases it once. */
  add(kind: number): true {
    this.#own[kind] = (this.#own[kind] ?? 0) + 1;
    if ((this.#shared & (1 << kind)) !== 0) this.#counts?.add(kind);
    return true;
  }

  release(kind: number): void {
    this.#own[kind] = (this.#own[kind] ?? 0) - 1;
    if ((this.#shared & (1 << kind)) !== 0) this.#counts?.release(kind);
  }

  /** What this worker has counted. */
  own(kind: number): number {
    return this.#own[kind] ?? 0;
  }

  /** What all workers have counted, if the kind is shared. */
  total(kind: number): number {
    return this.#counts && (this.#shared & (1 << kind)) !== 0 ? this.#counts.total(kind) : this.own(kind);
  }

  /** Nothing is counted. */
  get isEmpty(): boolean {
    return this.#own.every((count) => count === 0);
  }

  /** From here on all workers count this kind together, with what is under way. */
  share(kind: number): void {
    if ((this.#shared & (1 << kind)) !== 0 || !this.source) return;
    this.#counts ??= this.source.open();
    this.#counts.add(kind, this.own(kind));
    this.#shared |= 1 << kind;
  }

  /** From here on this worker counts this kind for itself. */
  unshare(kind: number): void {
    if ((this.#shared & (1 << kind)) === 0) return;
    this.#counts?.add(kind, -this.own(kind));
    this.#shared &= ~(1 << kind);
    if (this.#shared === 0) this.#close();
  }

  /** Ends the use of shared memory. */
  close(): void {
    for (let kind = 0; kind < kinds; kind++) this.unshare(kind);
  }

  #close(): void {
    if (this.#counts) this.source?.close(this.#counts);
    this.#counts = undefined;
  }
}
