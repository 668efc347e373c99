/** Counts of values by upper bounds, for histograms that count without prom-client's lookups by labels. */
import type { Labels, Value } from './series.js';

export interface Buckets {
  /** By bound; the last one is of the values above all bounds. */
  readonly counts: Float64Array;
  sum: number;
}

export const buckets = (bounds: readonly number[]): Buckets => ({
  counts: new Float64Array(bounds.length + 1),
  sum: 0,
});

export function count(into: Buckets, bounds: readonly number[], value: number): void {
  let at = 0;
  while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
  into.counts[at] = (into.counts[at] ?? 0) + 1;
  into.sum += value;
}

/** Adds `from` and resets it. */
export function move(into: Buckets, from: Buckets): void {
  for (const [at, value] of from.counts.entries()) into.counts[at] = (into.counts[at] ?? 0) + value;
  into.sum += from.sum;
  from.counts.fill(0);
  from.sum = 0;
}

/** The values of the histogram `name` for one set of labels. */
export function histogramValues(
  name: string,
  bounds: readonly number[],
  labels: Labels,
  { counts, sum }: Buckets,
): Value[] {
  let total = 0;
  const values: Value[] = bounds.map((le, i) => {
    total += counts[i] ?? 0;
    return { value: total, labels: { ...labels, le }, metricName: `${name}_bucket` };
  });
  total += counts[bounds.length] ?? 0;
  values.push({ value: total, labels: { ...labels, le: '+Inf' }, metricName: `${name}_bucket` });
  values.push({ value: sum, labels, metricName: `${name}_sum` });
  values.push({ value: total, labels, metricName: `${name}_count` });
  return values;
}
