/** Metrics as they are told: all of them, or to whoever is not trusted those that name no pod, principal, policy or version. */
import type { Metric, Registry } from 'prom-client';

/** Labels that name nobody. A label that is not listed here is taken for a name. */
const openLabels: ReadonlySet<string> = new Set([
  'feature',
  'kind',
  'limit',
  'path',
  'reason',
  'result',
  'space',
  'state',
  'status',
  'type',
]);

/** Metrics of this project's own kind (`registerMetric`) tell no labels, and are taken for ones with names. */
function namesNobody(metric: object): boolean {
  const labels = 'labelNames' in metric ? (metric.labelNames as readonly string[]) : undefined;
  return labels !== undefined && labels.every((label) => openLabels.has(label));
}

const openNames = (registry: Registry): string[] =>
  registry
    .getMetricsAsArray()
    .filter((metric) => namesNobody(metric))
    .map(({ name }) => name);

/** In Prometheus' text format. */
export async function metricsText(registry: Registry, names: boolean): Promise<string> {
  if (names) return registry.metrics();
  const texts = await Promise.all(openNames(registry).map((name) => registry.getSingleMetricAsString(name)));
  return `${texts.join('\n\n')}\n`;
}

/** In the library's form, for AggregatorRegistry. */
export async function metricsJson(registry: Registry, names: boolean): Promise<object[]> {
  if (names) return registry.getMetricsAsJSON();
  return Promise.all(
    openNames(registry).map((name) => (registry.getSingleMetric(name) as Metric & Readable).get()),
  );
}
interface Readable {
  get(): Promise<object>;
}
