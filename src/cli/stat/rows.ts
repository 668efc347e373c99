/** What `weft stat` shows. Pure. */
import { serviceInHost } from '../../model/service-host.js';
import { connectionRate, requestRate } from '../../telemetry/observed/rates.js';
import type { Statistic, Subject } from '../../telemetry/observed/statistics.js';
import { table } from '../cluster/table.js';
import { bytesText, countText, latencyText, rateText, shareText, unknown } from '../edges/cells.js';
import { serviceName } from '../edges/filter.js';

interface Column {
  readonly head: string;
  readonly cell: (one: Statistic) => string;
}

const named = (head: string, of: (one: Statistic) => string | undefined): Column => ({
  head,
  cell: (one) => of(one) ?? unknown,
});
const destination = named('DESTINATION', (one) => one.destination && serviceName(one.destination));

const names: Readonly<Record<Subject, readonly Column[]>> = {
  workloads: [named('WORKLOAD', (one) => one.workload), named('DIRECTION', (one) => one.direction)],
  services: [named('SERVICE', (one) => one.service && serviceName(one.service))],
  routes: [destination, named('METHOD', (one) => one.method), named('PATH', (one) => one.pathTemplate)],
  edges: [named('SOURCE', (one) => one.source), destination],
  policies: [named('POLICY', (one) => one.policy)],
};

export const requestsColumn: Column = {
  head: 'REQ/S',
  cell: (one) => rateText(requestRate(one)),
};
export const successColumn: Column = { head: 'SUCCESS', cell: ({ successShare }) => shareText(successShare) };
export const latencyColumns: readonly Column[] = (['p50', 'p95', 'p99'] as const).map((of) => ({
  head: of.toUpperCase(),
  cell: ({ latencyMs }) => latencyText(latencyMs, of),
}));
export const failedColumn: Column = { head: 'FAILED', cell: ({ failures }) => countText(failures) };
export const refusedColumn: Column = { head: 'REFUSED', cell: ({ refused }) => countText(refused) };
const connectionsColumn: Column = {
  head: 'CONN/S',
  cell: (one) => rateText(connectionRate(one)),
};
const auditedColumn: Column = { head: 'AUDITED', cell: ({ audited }) => countText(audited) };
const bytesColumns: readonly Column[] = [
  { head: 'SENT', cell: ({ bytesSent }) => bytesText(bytesSent) },
  { head: 'RECEIVED', cell: ({ bytesReceived }) => bytesText(bytesReceived) },
];
const mutualTlsColumn: Column = { head: 'MTLS', cell: ({ mutualTlsShare }) => shareText(mutualTlsShare) };

const ofRequests = [successColumn, requestsColumn, ...latencyColumns];
const ofTraffic = [
  ...ofRequests,
  connectionsColumn,
  refusedColumn,
  auditedColumn,
  failedColumn,
  ...bytesColumns,
  mutualTlsColumn,
];
const columns: Readonly<Record<Subject, readonly Column[]>> = {
  workloads: ofTraffic,
  services: ofTraffic,
  routes: [...ofRequests, refusedColumn, auditedColumn, failedColumn, ...bytesColumns],
  edges: ofTraffic,
  policies: [refusedColumn, auditedColumn],
};

/** Lines of a table: the names of the subject, and the columns. */
export const linesOf = (
  subject: Subject,
  statistics: readonly Statistic[],
  more: readonly Column[] = columns[subject],
): string[] => {
  const all = [...names[subject], ...more];
  return table([all.map(({ head }) => head), ...statistics.map((one) => all.map(({ cell }) => cell(one)))]);
};

/** Whether a statistic is of the namespace: an edge into a namespace is also one of a workload elsewhere. */
export function isOfNamespace({ workload, service }: Statistic, namespace: string | undefined): boolean {
  if (namespace === undefined) return true;
  if (workload !== undefined) return workload === namespace || workload.startsWith(`${namespace}/`);
  return service === undefined || serviceInHost(service)?.namespace === namespace;
}
