/** What Prometheus is asked for, so that its answers add up to edges. Pure. */

/** Labels of both ends, by which edges are told apart. */
const endLabels = [
  'reporter',
  'source_workload',
  'source_workload_namespace',
  'source_principal',
  'destination_workload',
  'destination_workload_namespace',
  'destination_principal',
  'destination_service',
  'connection_security_policy',
  'response_flags',
] as const;
const requestLabels = [...endLabels, 'response_code', 'grpc_response_status'] as const;

/** A text in PromQL. */
export const quoted = (text: string): string =>
  `"${text.replace(/[\\"\n]/g, (one) => (one === '\n' ? '\\n' : `\\${one}`))}"`;

/** How much a counter grew in the range, of edges from or to the namespace. */
function grown(
  metric: string,
  labels: readonly string[],
  seconds: number,
  namespace: string | undefined,
): string {
  const ranges = (namespace === undefined ? [''] : ['source', 'destination']).map((side) =>
    side === '' ? metric : `${metric}{${side}_workload_namespace=${quoted(namespace ?? '')}}`,
  );
  const increases = ranges.map((one) => `increase(${one}[${seconds}s])`);
  return `sum by (${labels.join(', ')}) (${increases.join(' or ')})`;
}

export const countedMetrics = {
  requests: 'istio_requests_total',
  latencies: 'istio_request_duration_milliseconds_bucket',
  opened: 'istio_tcp_connections_opened_total',
  // Names are the server's: "received" is what the client sent.
  bytesSent: 'istio_tcp_received_bytes_total',
  bytesReceived: 'istio_tcp_sent_bytes_total',
} as const;
export type Counted = keyof typeof countedMetrics;
export const allCounted = Object.keys(countedMetrics) as Counted[];

/** The query for what is counted, of the last seconds. */
export function queryOf(counted: Counted, seconds: number, namespace: string | undefined): string {
  const labels =
    counted === 'requests' ? requestLabels : counted === 'latencies' ? [...endLabels, 'le'] : endLabels;
  return grown(countedMetrics[counted], labels, seconds, namespace);
}

/** Since when Prometheus has metrics of the mesh is the first sample of this. */
export const sinceQuery = `count({__name__=~"${countedMetrics.requests}|${countedMetrics.opened}"})`;
