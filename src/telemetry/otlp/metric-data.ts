/** Metrics of the registry (prom-client's JSON) as OpenTelemetry's metric data. Names, labels and bounds stay as Prometheus has them. Pure. */
import { ValueType, type Attributes, type HrTime } from '@opentelemetry/api';
import {
  AggregationTemporality,
  DataPointType,
  type DataPoint,
  type Histogram,
  type MetricData,
} from '@opentelemetry/sdk-metrics';

/** One metric, as `Registry.getMetricsAsJSON` returns it. */
export interface MetricJson {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly values: readonly {
    readonly value: number;
    readonly labels: Readonly<Record<string, string | number | undefined>>;
    readonly metricName?: string;
  }[];
}

/** Since when a series counts, and its last count. A count that fell began again: its series was dropped and came back. */
export interface Start {
  readonly sinceMs: number;
  readonly count: number;
}

export interface Converted {
  readonly metrics: MetricData[];
  /** For the next conversion. */
  readonly starts: ReadonlyMap<string, Start>;
}

interface Times {
  readonly nowMs: number;
  /** When the former conversion was made, or the program began: since then a new series counts. */
  readonly formerMs: number;
}

const hrTime = (ms: number): HrTime => [Math.floor(ms / 1000), Math.round((ms % 1000) * 1e6)];

/** Cumulative data with the time since which each series counts. Metrics of other types than counter, gauge and histogram are left out. */
export function metricDataOf(
  metrics: readonly MetricJson[],
  former: ReadonlyMap<string, Start>,
  { nowMs, formerMs }: Times,
): Converted {
  const starts = new Map<string, Start>();
  const endTime = hrTime(nowMs);
  const startOf = (series: string, count: number): HrTime => {
    const known = former.get(series);
    const sinceMs = known && known.count <= count ? known.sinceMs : formerMs;
    starts.set(series, { sinceMs, count });
    return hrTime(sinceMs);
  };
  const data = metrics.flatMap((metric): MetricData[] => {
    const { name, help, type, values } = metric;
    const common = {
      descriptor: { name, description: help, unit: '', valueType: ValueType.DOUBLE },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
    };
    if (values.length === 0) return [];
    if (type === 'histogram')
      return [
        {
          ...common,
          dataPointType: DataPointType.HISTOGRAM,
          dataPoints: histogramsOf(metric).map(({ key, attributes, value }) => ({
            attributes,
            startTime: startOf(key, value.count),
            endTime,
            value,
          })),
        },
      ];
    const points = (start: (series: string, value: number) => HrTime): DataPoint<number>[] =>
      values.map(({ labels, value }) => {
        const attributes = attributesOf(labels);
        return { attributes, startTime: start(seriesKey(name, attributes), value), endTime, value };
      });
    if (type === 'counter')
      return [
        { ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints: points(startOf) },
      ];
    if (type === 'gauge')
      return [{ ...common, dataPointType: DataPointType.GAUGE, dataPoints: points(() => endTime) }];
    return [];
  });
  return { metrics: data, starts };
}

const seriesKey = (name: string, attributes: Attributes): string => `${name} ${JSON.stringify(attributes)}`;

function attributesOf(labels: MetricJson['values'][number]['labels']): Attributes {
  const attributes: Attributes = {};
  for (const [name, value] of Object.entries(labels))
    if (name !== 'le' && value !== undefined) attributes[name] = String(value);
  return attributes;
}

interface HistogramSeries {
  readonly key: string;
  readonly attributes: Attributes;
  readonly value: Histogram;
}

/** Prometheus' buckets are cumulative and are series of their own; here each bucket has its own count. */
function histogramsOf({ name, values }: MetricJson): HistogramSeries[] {
  const series = new Map<
    string,
    { attributes: Attributes; buckets: [number, number][]; sum: number; count: number }
  >();
  for (const { labels, value, metricName } of values) {
    const attributes = attributesOf(labels);
    const key = seriesKey(name, attributes);
    let one = series.get(key);
    if (!one) series.set(key, (one = { attributes, buckets: [], sum: 0, count: 0 }));
    if (metricName === `${name}_sum`) one.sum = value;
    else if (metricName === `${name}_count`) one.count = value;
    else if (labels['le'] !== undefined && labels['le'] !== '+Inf')
      one.buckets.push([Number(labels['le']), value]);
  }
  return [...series].map(([key, { attributes, buckets, sum, count }]) => {
    buckets.sort(([a], [b]) => a - b);
    const cumulative = [...buckets.map(([, value]) => value), count];
    return {
      key,
      attributes,
      value: {
        count,
        sum,
        buckets: {
          boundaries: buckets.map(([bound]) => bound),
          // Values of several workers are read one after the other, so that a sum may be behind its buckets.
          counts: cumulative.map((value, i) => Math.max(0, value - (cumulative[i - 1] ?? 0))),
        },
      },
    };
  });
}
