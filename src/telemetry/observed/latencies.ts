/** Percentiles of latencies that were counted by `latencyBoundsMs`. Pure. */
import { latencyBoundsMs, latencyMsMax } from '../../model/latency-bounds.js';
import type { Latencies } from '../../model/mesh-snapshot.js';

/** Assumes that latencies are spread evenly within a bucket, as Prometheus' histogram_quantile does. */
function quantile(counts: readonly number[], total: number, share: number): number {
  const rank = share * total;
  let below = 0;
  for (const [i, bound] of latencyBoundsMs.entries()) {
    const count = counts[i] ?? 0;
    const from = latencyBoundsMs[i - 1] ?? 0;
    if (count > 0 && below + count >= rank) return from + ((bound - from) * (rank - below)) / count;
    below += count;
  }
  return latencyMsMax;
}

/** Undefined: nothing was counted. A percentile above all bounds is `latencyMsMax`. */
export function latenciesOf(counts: readonly number[]): Latencies | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total <= 0) return undefined;
  const of = (share: number): number => quantile(counts, total, share);
  return { p50: of(0.5), p95: of(0.95), p99: of(0.99) };
}
