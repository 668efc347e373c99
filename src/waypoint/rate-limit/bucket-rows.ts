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

/** A row of this process alone, for a bucket that finds no room in the shared memory. */
export const ownRow = (): BucketRow => ({ words: new Int32Array(2), at: 0 });
