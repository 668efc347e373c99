/** The buckets in which latencies are counted. */

/** Upper bounds, those of the waypoints' histogram of durations; the last count is of those above. */
export const latencyBoundsMs = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000,
] as const;

/** Latencies above it are not told apart: a percentile of this value is at least as long. */
export const latencyMsMax = 60_000;
