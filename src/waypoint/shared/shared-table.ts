/**
 * Rows of 32-bit words in memory that the processes of a waypoint share, found by name. The table is bounded. A process that uses a row holds
 * it: only a row that nobody holds is reclaimed, so whoever holds a row may read and change its words by Atomics without any lock.
 *
 * Names are hashed with a secret of the waypoint, because clients choose parts of them: nobody can find two names of one row, or many names of
 * one bucket. A slot of a bucket is taken under the bucket's lock, for well under a microsecond. The main process ends the lock of a worker
 * that died with it.
 */
import { hash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { monotonicMs } from './monotonic.js';

export interface TableLayout {
  /** Places for rows: a power of two, and at least 64. A bucket of 64 may be full when about half of all places are used. */
  readonly slots: number;
  readonly wordsPerRow: number;
  /** Processes that hold rows: their indexes are 0 to `workers` - 1. */
  readonly workers: number;
}

/** A row that this process holds. Its words are those from `at` on in `words`: change them by Atomics only. */
export interface SharedRow {
  readonly name: string;
  readonly words: Int32Array;
  readonly at: number;
}

interface Held extends SharedRow {
  readonly slot: number;
  uses: number;
}

/** The index that stands for the main process, which reclaims rows and holds none. */
export const mainProcess = -1;

/** Greater ones fill more evenly, and take longer to search. */
const slotsPerBucket = 64;
const lockWaitMsMax = 2;
/** Words of a slot before its holders: the hash, and the time in seconds until which the row is kept without holders. */
const hashLow = 0;
const hashHigh = 1;
const keepUntil = 2;
const holders = 3;

const slotWordsOf = (workers: number): number => holders + Math.ceil(workers / 32);
const bucketsOf = ({ slots }: TableLayout): number => slots / slotsPerBucket;

export class SharedTable {
  readonly #buckets: number;
  readonly #slotWords: number;
  readonly #locksAt = 0;
  /** Rows of each bucket. */
  readonly #countsAt: number;
  readonly #slotsAt: number;
  readonly #rowsAt: number;
  readonly #held = new Map<string, Held>();

  /** Bytes of a table. */
  static bytesOf(layout: TableLayout): number {
    const words = 2 * bucketsOf(layout) + layout.slots * (slotWordsOf(layout.workers) + layout.wordsPerRow);
    return 64 * Math.ceil((4 * words) / 64);
  }

  /** The same table in memory of this process alone: of one worker, for tests. */
  static inMemory(layout: Omit<TableLayout, 'workers'>, onRefused?: () => void): SharedTable {
    const whole = { ...layout, workers: 1 };
    const words = new Int32Array(SharedTable.bytesOf(whole) / 4);
    return new SharedTable(words, whole, 0, 'a secret', onRefused);
  }

  constructor(
    /** The table's memory, zeros at first. */
    private readonly words: Int32Array,
    readonly layout: TableLayout,
    /** The index of this process, or `mainProcess`. */
    private readonly worker: number,
    private readonly secret: string,
    /** A row was refused, because the table is full. */
    private readonly onRefused: () => void = () => undefined,
  ) {
    this.#buckets = bucketsOf(layout);
    this.#slotWords = slotWordsOf(layout.workers);
    this.#countsAt = this.#locksAt + this.#buckets;
    this.#slotsAt = this.#countsAt + this.#buckets;
    this.#rowsAt = this.#slotsAt + layout.slots * this.#slotWords;
  }

  /** Rows in use by any process, and those that are kept. */
  get size(): number {
    let size = 0;
    for (let bucket = 0; bucket < this.#buckets; bucket++)
      size += Atomics.load(this.words, this.#countsAt + bucket);
    return size;
  }

  /**
   * Holds the row of a name, until as many calls of `release`. A new row is all zeros. Undefined: the table is full. Callers keep the row: the
   * first call for a name hashes it and locks a bucket.
   * @param create false: undefined if no process has made the row
   */
  hold(name: string, create = true): SharedRow | undefined {
    const known = this.#held.get(name);
    if (known) {
      known.uses++;
      return known;
    }
    const slot = this.#takeSlot(name, create);
    if (slot === undefined) {
      if (create) this.onRefused();
      return undefined;
    }
    const at = this.#rowsAt + slot * this.layout.wordsPerRow;
    const row: Held = { name, words: this.words, at, slot, uses: 1 };
    this.#held.set(name, row);
    return row;
  }

  /** Ends a use of a row. @param keepMs how long the row is kept if no process holds it; then its words are lost */
  release(row: SharedRow, keepMs = 0): void {
    const held = this.#held.get(row.name);
    if (!held || held !== row) return;
    const slotAt = this.#slotAt(held.slot);
    if (keepMs > 0) raise(this.words, slotAt + keepUntil, Math.ceil((monotonicMs() + keepMs) / 1_000) | 0);
    if (--held.uses > 0) return;
    this.#held.delete(row.name);
    Atomics.and(this.words, slotAt + holders + (this.worker >> 5), ~(1 << (this.worker & 31)));
  }

  /** Main process: frees the rows that no process holds and whose time is up. Returns how many. */
  reclaim(): number {
    const nowS = Math.floor(monotonicMs() / 1_000);
    let freed = 0;
    for (let bucket = 0; bucket < this.#buckets; bucket++) {
      if (Atomics.load(this.words, this.#countsAt + bucket) === 0) continue;
      if (!this.#hasUnused(bucket, nowS) || !this.#lock(bucket)) continue;
      freed += this.#reclaimIn(bucket, nowS);
      this.#unlock(bucket);
    }
    return freed;
  }

  /** Main process: a worker has ended. Its locks end, and it no longer holds rows. `onRow`: called for each row that it held. */
  forgetWorker(worker: number, onRow: (words: Int32Array, at: number) => void): void {
    const { words } = this;
    const bit = 1 << (worker & 31);
    for (let bucket = 0; bucket < this.#buckets; bucket++) {
      // Under the lock of a dead worker the bucket's count may be outdated.
      if (Atomics.load(words, this.#locksAt + bucket) === worker + 2) {
        Atomics.store(words, this.#countsAt + bucket, this.#countIn(bucket));
        Atomics.store(words, this.#locksAt + bucket, 0);
      }
      if (Atomics.load(words, this.#countsAt + bucket) === 0) continue;
      for (let slot = bucket * slotsPerBucket; slot < (bucket + 1) * slotsPerBucket; slot++) {
        const at = this.#slotAt(slot) + holders + (worker >> 5);
        if ((Atomics.load(words, at) & bit) === 0) continue;
        onRow(words, this.#rowsAt + slot * this.layout.wordsPerRow);
        Atomics.and(words, at, ~bit);
      }
    }
  }

  #slotAt(slot: number): number {
    return this.#slotsAt + slot * this.#slotWords;
  }

  /** Finds or takes the slot of a name, and holds it. Undefined: there is none. */
  #takeSlot(name: string, create: boolean): number | undefined {
    const digest = hash('sha256', `${this.secret} ${name}`, 'buffer');
    // All zeros is a free slot.
    const low = digest.readInt32LE(0) || 1;
    const high = digest.readInt32LE(4);
    const bucket = digest.readUInt32LE(8) % this.#buckets;
    if (!this.#lock(bucket)) return undefined;
    const slot = this.#find(bucket, low, high) ?? (create ? this.#insert(bucket, low, high) : undefined);
    if (slot !== undefined)
      Atomics.or(this.words, this.#slotAt(slot) + holders + (this.worker >> 5), 1 << (this.worker & 31));
    this.#unlock(bucket);
    return slot;
  }

  #find(bucket: number, low: number, high: number): number | undefined {
    const { words } = this;
    if (Atomics.load(words, this.#countsAt + bucket) === 0) return undefined;
    for (let slot = bucket * slotsPerBucket; slot < (bucket + 1) * slotsPerBucket; slot++) {
      const at = this.#slotAt(slot);
      if (Atomics.load(words, at + hashLow) === low && Atomics.load(words, at + hashHigh) === high)
        return slot;
    }
    return undefined;
  }

  #insert(bucket: number, low: number, high: number): number | undefined {
    const { words } = this;
    for (let slot = bucket * slotsPerBucket; slot < (bucket + 1) * slotsPerBucket; slot++) {
      const at = this.#slotAt(slot);
      if (Atomics.load(words, at + hashLow) !== 0) continue;
      // Counted first: reclaim does not search a bucket of none.
      Atomics.add(words, this.#countsAt + bucket, 1);
      Atomics.store(words, at + hashHigh, high);
      Atomics.store(words, at + hashLow, low);
      return slot;
    }
    return undefined;
  }

  #countIn(bucket: number): number {
    let count = 0;
    for (let slot = bucket * slotsPerBucket; slot < (bucket + 1) * slotsPerBucket; slot++)
      if (Atomics.load(this.words, this.#slotAt(slot) + hashLow) !== 0) count++;
    return count;
  }

  #isUnused(slot: number, nowS: number): boolean {
    const at = this.#slotAt(slot);
    if (Atomics.load(this.words, at + hashLow) === 0) return false;
    for (let word = holders; word < this.#slotWords; word++)
      if (Atomics.load(this.words, at + word) !== 0) return false;
    return Atomics.load(this.words, at + keepUntil) <= nowS;
  }

  #hasUnused(bucket: number, nowS: number): boolean {
    for (let slot = bucket * slotsPerBucket; slot < (bucket + 1) * slotsPerBucket; slot++)
      if (this.#isUnused(slot, nowS)) return true;
    return false;
  }

  #reclaimIn(bucket: number, nowS: number): number {
    const { words } = this;
    const { wordsPerRow } = this.layout;
    let freed = 0;
    for (let slot = bucket * slotsPerBucket; slot < (bucket + 1) * slotsPerBucket; slot++) {
      if (!this.#isUnused(slot, nowS)) continue;
      const row = this.#rowsAt + slot * wordsPerRow;
      for (let word = 0; word < wordsPerRow; word++) Atomics.store(words, row + word, 0);
      const at = this.#slotAt(slot);
      for (let word = 0; word < this.#slotWords; word++) Atomics.store(words, at + word, 0);
      Atomics.sub(words, this.#countsAt + bucket, 1);
      freed++;
    }
    return freed;
  }

  /** False: another process has held the lock for too long, because it is paused or has just died. */
  #lock(bucket: number): boolean {
    const at = this.#locksAt + bucket;
    const own = this.worker + 2;
    if (Atomics.compareExchange(this.words, at, 0, own) === 0) return true;
    const endMs = performance.now() + lockWaitMsMax;
    while (performance.now() < endMs) if (Atomics.compareExchange(this.words, at, 0, own) === 0) return true;
    return false;
  }

  #unlock(bucket: number): void {
    Atomics.store(this.words, this.#locksAt + bucket, 0);
  }
}

function raise(words: Int32Array, at: number, value: number): void {
  let known = Atomics.load(words, at);
  while (known < value) {
    const found = Atomics.compareExchange(words, at, known, value);
    if (found === known) return;
    known = found;
  }
}
