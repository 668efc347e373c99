/**
 * Metrics in OpenMetrics' text format, which has exemplars: the trace of one request of a bucket. Written here, because prom-client renames
 * counters in this format: queries would then depend on the format in which a Prometheus asks. Pure.
 */
import type { MetricJson } from './otlp/metric-data.js';

export const openMetricsType = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

export interface Exemplar {
  readonly labelSet: Readonly<Record<string, string>>;
  readonly value: number;
  /** Seconds since 1970. */
  readonly timestamp: number;
}
type Value = MetricJson['values'][number] & { readonly exemplar?: Exemplar };

export const acceptsOpenMetrics = (accept: string | undefined): boolean =>
  /(?:^|[\s,])application\/openmetrics-text(?:$|[\s,;])/i.test(accept ?? '');

const keyOf = (name: string, { metricName, labels }: Value): string =>
  `${metricName ?? name} ${JSON.stringify(labels)}`;

/** The exemplars of several processes' metrics, the latest of each series. prom-client does not keep them when it adds the metrics up. */
export function exemplarsOf(processes: readonly (readonly object[])[]): ReadonlyMap<string, Exemplar> {
  const found = new Map<string, Exemplar>();
  for (const { name, values } of processes.flat() as MetricJson[])
    for (const value of values as readonly Value[]) {
      if (!value.exemplar) continue;
      const key = keyOf(name, value);
      if ((found.get(key)?.timestamp ?? 0) < value.exemplar.timestamp) found.set(key, value.exemplar);
    }
  return found;
}

export function openMetricsText(
  metrics: readonly object[],
  exemplars: ReadonlyMap<string, Exemplar> = new Map(),
): string {
  const lines: string[] = [];
  for (const { name, help, type, values } of metrics as readonly MetricJson[]) {
    const isCounter = type === 'counter' && name.endsWith('_total');
    const family = isCounter ? name.slice(0, -'_total'.length) : name;
    // A counter whose name does not end with _total has no type in this format. Its name is what queries know.
    lines.push(`# TYPE ${family} ${type === 'counter' && !isCounter ? 'unknown' : type}`);
    lines.push(`# HELP ${family} ${escaped(help)}`);
    for (const value of values as readonly Value[]) {
      const exemplar = exemplars.get(keyOf(name, value)) ?? value.exemplar;
      lines.push(
        `${value.metricName ?? name}${labelsText(value.labels)} ${numberText(value.value)}${
          exemplar
            ? ` # ${labelsText(exemplar.labelSet) || '{}'} ${exemplar.value} ${exemplar.timestamp}`
            : ''
        }`,
      );
    }
  }
  return [...lines, '# EOF', ''].join('\n');
}

function labelsText(labels: Value['labels']): string {
  const texts = Object.entries(labels).flatMap(([name, value]) =>
    value === undefined ? [] : `${name}="${escaped(String(value))}"`,
  );
  return texts.length === 0 ? '' : `{${texts.join()}}`;
}

const escaped = (text: string): string =>
  text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');

const numberText = (value: number): string =>
  Number.isFinite(value) ? String(value) : Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
