/** The table of the rate limits' buckets in the memory that the workers share. */
import type { TableLayout } from './shared-table.js';

/** Places for buckets of all rate limits of a waypoint, of which about half are filled before a bucket finds none. */
export const bucketSlots = 262_144;

export const bucketLayout = (workers: number): TableLayout => ({
  slots: bucketSlots,
  // One time of 64 bits (rate-limit/gcra.ts).
  wordsPerRow: 2,
  workers,
});
