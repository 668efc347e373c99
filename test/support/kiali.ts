/**
 * What Kiali reads from Prometheus, by its source (github.com/kiali/kiali): graph/telemetry/istio/istio.go for the graph's queries and their
 * labels, graph/telemetry/istio/appender/response_time.go, security_policy.go and throughput.go for the edges, and
 * prometheus/metrics_definitions.go for the metrics pages.
 */

/** Labels by which the graph groups all metrics. Kiali skips a series that lacks one of them. */
const graphLabels = [
  'source_cluster',
  'source_workload_namespace',
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'destination_cluster',
  'destination_service_namespace',
  'destination_service',
  'destination_service_name',
  'destination_workload_namespace',
  'destination_workload',
  'destination_canonical_service',
  'destination_canonical_revision',
  'response_flags',
] as const;
/** Of edges: who is at their ends, and whether they are encrypted. */
const edgeLabels = [
  'reporter',
  'source_principal',
  'destination_principal',
  'request_protocol',
  'connection_security_policy',
] as const;
export const tcpLabels: readonly string[] = [...graphLabels, ...edgeLabels];
export const requestLabels: readonly string[] = [...tcpLabels, 'response_code', 'grpc_response_status'];

const requests = { reporter: 'waypoint', labels: requestLabels };
const connections = { reporter: 'source|destination', labels: tcpLabels };
export const metricsOfKiali: Readonly<
  Record<string, { readonly reporter: string; readonly labels: readonly string[] }>
> = {
  istio_requests_total: requests,
  istio_request_duration_milliseconds_bucket: requests,
  istio_request_duration_milliseconds_sum: requests,
  istio_request_duration_milliseconds_count: requests,
  istio_request_bytes_bucket: requests,
  istio_request_bytes_sum: requests,
  istio_response_bytes_bucket: requests,
  istio_response_bytes_sum: requests,
  istio_tcp_sent_bytes_total: connections,
  istio_tcp_received_bytes_total: connections,
  istio_tcp_connections_opened_total: connections,
  istio_tcp_connections_closed_total: connections,
};

/** The queries of a namespace's graph, of requests and of connections. */
export function graphQueries(namespace: string): string[] {
  const ofRequests = [...graphLabels, 'request_protocol', 'response_code', 'grpc_response_status'].join();
  const ofConnections = ['app', ...graphLabels].join();
  const query = (metric: string, reporter: string, side: string, by: string): string =>
    `sum(rate(${metric}{reporter=~"waypoint|${reporter}",${side}_workload_namespace="${namespace}"} [60s])) by (${by}) > 0`;
  return ['source', 'destination'].flatMap((side) => [
    query('istio_requests_total', side, side, ofRequests),
    query('istio_tcp_sent_bytes_total', side, side, ofConnections),
    query('istio_tcp_received_bytes_total', side, side, ofConnections),
  ]);
}
