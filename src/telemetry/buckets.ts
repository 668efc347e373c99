/** Counts of values by upper bounds, for histograms that count without prom-client's lookups by labels. */
import type { Exemplar } from './openmetrics.js';
import type { TraceIds } from './otlp/trace-ids.js';
import type { Labels, Value } from './series.js';

export interface Buckets {
  /** By bound; the last one is of the values above all bounds. */
  readonly counts: Float64Array;
  sum: number;
  /** By bound: the last request with a trace. Absent: none had one. */
  exemplars?: (Exemplar | undefined)[];
}

export const buckets = (bounds: readonly number[]): Buckets => ({
  counts: new Float64Array(bounds.length + 1),
  sum: 0,
});

export function count(into: Buckets, bounds: readonly number[], value: number): void {
  const at = bucketOf(bounds, value);
  into.counts[at] = (into.counts[at] ?? 0) + 1;
  into.sum += value;
}

/** Which bucket counts a value; the last one is that above all bounds. */
export function bucketOf(bounds: readonly number[], value: number): number {
  let at = 0;
  while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
  return at;
}

/** Keeps the trace of a request that was counted. */
export function keepExemplar(
  into: Buckets,
  bounds: readonly number[],
  value: number,
  { traceId, spanId }: TraceIds,
  nowMs: number,
): void {
  (into.exemplars ??= [])[bucketOf(bounds, value)] = {
    labelSet: { trace_id: traceId, span_id: spanId },
    value,
    timestamp: nowMs / 1000,
  };
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
  { counts, sum, exemplars }: Buckets,
): Value[] {
  let total = 0;
  const values: Value[] = bounds.map((le, i) => {
    total += counts[i] ?? 0;
    return {
      value: total,
      labels: { ...labels, le },
      metricName: `${name}_bucket`,
      exemplar: exemplars?.[i],
    };
  });
  total += counts[bounds.length] ?? 0;
  const last = { value: total, labels: { ...labels, le: '+Inf' }, metricName: `${name}_bucket` };
  values.push({ ...last, exemplar: exemplars?.[bounds.length] });
  values.push({ value: sum, labels, metricName: `${name}_sum` });
  values.push({ value: total, labels, metricName: `${name}_count` });
  return values;
}
