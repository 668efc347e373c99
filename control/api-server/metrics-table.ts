/** Lists of TrafficMetrics as tables, which `kubectl get` prints. Pure. */
import type { TrafficMetrics } from '../dialects/smi/traffic-metrics.js';
import { columnsOf, tableOf } from './table.js';

const columns = columnsOf([
  ['Name', 'string', 'The resource', 'name'],
  ['Peer', 'string', 'Of an edge: the other resource'],
  ['Success', 'string', 'Share of the requests that did not fail'],
  ['RPS', 'string', 'Requests per second'],
  ['P50', 'string', 'Median of the latencies'],
  ['P90', 'string', '90th percentile of the latencies'],
  ['P99', 'string', '99th percentile of the latencies'],
]);

/** A quantity of this API as a number. */
function numberOf(text: string): number {
  const [, digits = '0', suffix = ''] = /^(\d+)([mkMGTP]?)$/.exec(text) ?? [];
  const power = ['m', '', 'k', 'M', 'G', 'T', 'P'].indexOf(suffix) - 1;
  return Number(digits) * 1000 ** power;
}

function cells({ metadata, window, edge, backend, metrics }: TrafficMetrics): readonly string[] {
  const value = (name: string): number => numberOf(metrics.find((one) => one.name === name)?.value ?? '0');
  const [good, bad] = [value('success_count'), value('failure_count')];
  const all = good + bad;
  const { resource } = edge;
  const peer =
    Object.keys(resource).length === 0
      ? (backend?.name ?? '')
      : `${edge.direction} ${[resource.namespace, resource.name ?? 'others'].filter(Boolean).join('/')}`;
  const latency = (name: string): string =>
    all === 0 ? '-' : `${Math.round(value(`${name}_response_latency`))}ms`;
  return [
    metadata.name,
    peer,
    all === 0 ? '-' : `${((100 * good) / all).toFixed(2)}%`,
    `${(all / Math.max(1, parseInt(window, 10))).toFixed(1)}rps`,
    latency('p50'),
    latency('p90'),
    latency('p99'),
  ];
}

/** A list as a `Table`. @param metadata of the list, for further pages */
export const metricsTable = (items: readonly TrafficMetrics[], metadata: object): object =>
  tableOf(
    columns,
    items.map((item) => ({ cells: cells(item), metadata: item.metadata })),
    metadata,
  );
