/**
 * Counts that the workers of a waypoint share: how many of something are under way, in all workers together. Each worker counts in words of
 * its own, which the main process clears if the worker dies. The sum of all is compared with the limit.
 */
import { SharedTable, type SharedRow, type TableLayout } from './shared-table.js';

/** The counts of a row: words of each, one per worker. */
const countKinds = ['connections', 'pending', 'requests', 'retries', 'blocked'] as const;
/** The index of each count. */
export const connections = 0;
export const pending = 1;
export const requests = 2;
export const retries = 3;
/** Workers in which a request waits for a connection that the limit of connections does not allow. */
export const blocked = 4;

/** Places for names with counts, of which about half are filled before a name finds none. */
const slots = 131_072;
/** Names that a worker counts in shared memory. */
export const sharedNamesMax = slots / 2;

export const counterLayout = (workers: number): TableLayout => ({
  slots,
  wordsPerRow: countKinds.length * workers,
  workers,
});

/** A simultaneous count of another worker makes both find the limit exceeded, and both take theirs back: they look again. */
const triesMax = 3;

export class Counts {
  constructor(
    private readonly words: Int32Array,
    private readonly at: number,
    private readonly workers: number,
    private readonly worker: number,
    /** The row; undefined: only this worker counts here, because the table is full. */
    readonly row: SharedRow | undefined,
  ) {}

  /** Counts one more. False: there are `max` already, and nothing was counted. The caller releases it once. */
  take(kind: number, max: number): boolean {
    const first = this.at + kind * this.workers;
    for (let tries = 0; tries < triesMax; tries++) {
      if (this.total(kind) >= max) return false;
      Atomics.add(this.words, first + this.worker, 1);
      if (this.total(kind) <= max) return true;
      Atomics.sub(this.words, first + this.worker, 1);
    }
    return false;
  }

  /** Counts `by` more, whatever the limit. */
  add(kind: number, by = 1): void {
    Atomics.add(this.words, this.at + kind * this.workers + this.worker, by);
  }

  release(kind: number): void {
    this.add(kind, -1);
  }

  /** The sum of all workers. */
  total(kind: number): number {
    const first = this.at + kind * this.workers;
    let sum = 0;
    for (let worker = 0; worker < this.workers; worker++) sum += Atomics.load(this.words, first + worker);
    return sum;
  }

  /** What this worker has counted. */
  own(kind: number): number {
    return Atomics.load(this.words, this.at + kind * this.workers + this.worker);
  }
}

/** Counts of this worker alone. */
export const countsAlone = (): Counts => new Counts(new Int32Array(countKinds.length), 0, 1, 0, undefined);

export class SharedCounters {
  constructor(
    private readonly table: SharedTable,
    private readonly worker: number,
  ) {}

  /** Counts of this process alone: of one worker, for tests. */
  static inMemory(slots = 1_024): SharedCounters {
    return new SharedCounters(SharedTable.inMemory({ slots, wordsPerRow: countKinds.length }), 0);
  }

  /** Number of names with counts. */
  get size(): number {
    return this.table.size;
  }

  /** The counts of a name, until `close`. If the table is full, they are of this worker alone. */
  open(name: string): Counts {
    const row = this.table.hold(name);
    if (!row) return countsAlone();
    return new Counts(row.words, row.at, this.table.layout.workers, this.worker, row);
  }

  /** All that was counted has been released, and nothing more is counted. */
  close(counts: Counts): void {
    if (counts.row) this.table.release(counts.row);
  }

  /** Main process: a worker has ended, and with it all that it counted. */
  forgetWorker(worker: number): void {
    const { workers } = this.table.layout;
    this.table.forgetWorker(worker, (words, at) => {
      for (let kind = 0; kind < countKinds.length; kind++)
        Atomics.store(words, at + kind * workers + worker, 0);
    });
  }
}
