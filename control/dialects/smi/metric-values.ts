/** Values of TrafficMetrics: percentiles of latencies, and quantities in the form of the Kubernetes API. Pure. */

/**
 * The latency below which a share of the requests took, by linear interpolation within the bucket that has it, as Prometheus computes it. 0
 * without requests. Latencies above the highest bound are reported as that bound.
 * @param counts of each bucket; the last bucket has no upper bound
 * @param bounds upper bounds of the others, ascending
 * @param share 0 to 1
 */
export function percentile(counts: readonly number[], bounds: readonly number[], share: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total <= 0) return 0;
  const rank = share * total;
  let below = 0;
  for (const [index, count] of counts.entries()) {
    if (count <= 0 || below + count < rank) {
      below += count;
      continue;
    }
    const upper = bounds[index];
    if (upper === undefined) break;
    const lower = index === 0 ? 0 : (bounds[index - 1] ?? 0);
    return lower + (upper - lower) * ((rank - below) / count);
  }
  return bounds.at(-1) ?? 0;
}

const suffixes = ['m', '', 'k', 'M', 'G', 'T', 'P'] as const;

/** A number as the API server writes a quantity: the largest suffix with which it is whole, in thousandths at the finest. */
export function quantity(value: number): string {
  let whole = Math.round(Math.max(0, value) * 1000);
  if (!Number.isSafeInteger(whole) || whole === 0) return whole === 0 ? '0' : String(Math.round(value));
  let suffix = 0;
  while (whole % 1000 === 0 && suffix < suffixes.length - 1) {
    whole /= 1000;
    suffix++;
  }
  return `${whole}${suffixes[suffix] ?? ''}`;
}
