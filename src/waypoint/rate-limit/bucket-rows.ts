/** Where buckets live: rows of words that the workers of a waypoint share, found by name. */

export interface BucketRow {
  readonly words: Int32Array;
  /** The index of the row's first word. The row has at least two words and is aligned to 8 bytes. */
  readonly at: number;
}

export interface BucketRows<Row extends BucketRow = BucketRow> {
  /**
   * Holds the row of a name until `release`. A new row is all zeros. Undefined: there is no room.
   * @param create false: undefined if no process has made the row
   */
  hold(name: string, create?: boolean): Row | undefined;
  release(row: Row, keepMs?: number): void;
}

/** Few, because a row keeps all rows of its memory. A memory of its own would cost a row more than these take. */
const rowsPerMemory = 32;
let words = new Int32Array(2 * rowsPerMemory);
let next = 0;

/** A row of this process alone, for a bucket that finds no room in the shared memory. Rows are not used again. */
export function ownRow(): BucketRow {
  if (next === rowsPerMemory) {
    words = new Int32Array(2 * rowsPerMemory);
    next = 0;
  }
  return { words, at: 2 * next++ };
}
