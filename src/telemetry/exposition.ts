/** Exposition of metrics: all of them, or, for untrusted clients, those that name no pod, principal, policy or version. */
import type { Metric, Registry } from 'prom-client';

/** Labels whose values identify nobody. A label that is not listed here is treated as identifying. */
const openLabels: ReadonlySet<string> = new Set([
  'feature',
  'kind',
  'limit',
  'path',
  'reason',
  'result',
  'signal',
  'space',
  'state',
  'status',
  'type',
]);

/** Metrics that do not list their labels are treated as identifying. */
function namesNobody(metric: object): boolean {
  const labels = 'labelNames' in metric ? (metric.labelNames as readonly string[]) : undefined;
  return labels !== undefined && labels.every((label) => openLabels.has(label));
}

const openNames = (registry: Registry): string[] =>
  registry
    .getMetricsAsArray()
    .filter((metric) => namesNobody(metric))
    .map(({ name }) => name);

/** Metrics in Prometheus' text format. `names`: include metrics with identifying labels. */
export async function metricsText(registry: Registry, names: boolean): Promise<string> {
  if (names) return registry.metrics();
  const texts = await Promise.all(openNames(registry).map((name) => registry.getSingleMetricAsString(name)));
  return `${texts.join('\n\n')}\n`;
}

/** Metrics in prom-client's JSON form, for AggregatorRegistry. `names`: include metrics with identifying labels. */
export async function metricsJson(registry: Registry, names: boolean): Promise<object[]> {
  if (names) return registry.getMetricsAsJSON();
  return Promise.all(
    openNames(registry).map((name) => (registry.getSingleMetric(name) as Metric & Readable).get()),
  );
}
interface Readable {
  get(): Promise<object>;
}
