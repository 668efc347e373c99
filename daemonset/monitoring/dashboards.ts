/**
 * The dashboards of the chart: one for the mesh, one each for a workload, a Service and a waypoint, and one for the programs. Each metric in
 * them is in docs/metrics.md, and test/observe/prometheus.test.ts runs each query. daemonset/monitoring/write.ts writes the JSON.
 */
import type { Dashboard, Panel, Query } from './grafana.js';

const q = (expr: string, legend = ''): Query => ({ expr, legend });
type More = Partial<Panel>;
const graph = (title: string, unit: Panel['unit'], queries: Panel['queries'], more: More = {}): Panel => ({
  kind: 'graph',
  title,
  unit,
  queries,
  ...more,
});
const stat = (title: string, unit: Panel['unit'], expr: string, more: More = {}): Panel => ({
  kind: 'stat',
  title,
  unit,
  queries: [q(expr)],
  ...more,
});
const table = (title: string, unit: Panel['unit'], expr: string, more: More = {}): Panel => ({
  kind: 'table',
  title,
  unit,
  queries: [q(expr)],
  ...more,
});

const namespaces = {
  name: 'namespace',
  label: 'Namespace',
  query: 'label_values(istio_tcp_connections_opened_total, destination_workload_namespace)',
};
const rate = (metric: string, selector: string): string => `rate(${metric}{${selector}}[$__rate_interval])`;
const quantiles = (selector: string, by = ''): [Query, ...Query[]] => {
  const of = (share: string, name: string): Query =>
    q(
      `histogram_quantile(${share}, sum by (${by}le) (${rate('istio_request_duration_milliseconds_bucket', selector)}))`,
      name,
    );
  return [of('0.5', 'p50'), of('0.95', 'p95'), of('0.99', 'p99')];
};
/** What weft:service_errors counts (files/prometheus-rules.yaml): failed statuses, those of gRPC, and responses that are not complete. */
const failures = [
  'response_code=~"5..|0", response_flags!="DC"',
  'grpc_response_status=~"2|4|12|13|14|15"',
  'response_flags=~"UC|UT|UPE|DT"',
] as const;
/** Share of requests that did not fail. */
const success = (selector: string): string => {
  const failed = failures.map((one) => rate('istio_requests_total', `${selector}, ${one}`)).join(' or ');
  return `1 - (sum(${failed}) or vector(0)) / sum(${rate('istio_requests_total', selector)})`;
};
/** Opened connections per second. Selectors name one reporter, so that no connection is counted twice. */
const opened = (by: string, selector: string): string =>
  `sum by (${by}) (${rate('istio_tcp_connections_opened_total', selector)})`;

const mesh: Dashboard = {
  name: 'mesh',
  title: 'Mesh',
  variables: [namespaces],
  rows: [
    {
      title: 'Now',
      panels: [
        stat('Requests', 'reqps', 'sum(weft:service_requests:rate5m)'),
        stat(
          'Success',
          'percentunit',
          '1 - sum(weft:service_errors:rate5m) / sum(weft:service_requests:rate5m)',
        ),
        stat(
          'New connections',
          'short',
          `sum(${rate('istio_tcp_connections_opened_total', 'reporter="source"')})`,
        ),
        stat(
          'Under mutual TLS or on one node',
          'percentunit',
          'sum(rate(istio_tcp_connections_opened_total{reporter="source", connection_security_policy=~"mutual_tls|same_node"}[5m])) / sum(rate(istio_tcp_connections_opened_total{reporter="source"}[5m]))',
          {
            description: 'Connections on one node stay in its kernel, or are encrypted if sameNode says so.',
          },
        ),
        stat('Refused', 'short', 'sum(rate(weft_refused_total[5m])) or vector(0)'),
        stat('Enrolled pods', 'short', 'sum(weft_pods{state="held"})'),
      ],
    },
    {
      title: 'Services',
      panels: [
        table(
          'Requests per second',
          'reqps',
          'sort_desc(weft:service_requests:rate5m{destination_service_namespace=~"$namespace"})',
        ),
        table(
          'Share of failed requests',
          'percentunit',
          'sort_desc(weft:service_errors:ratio_5m{destination_service_namespace=~"$namespace"})',
        ),
        table(
          'Latency, p95',
          'ms',
          'sort_desc(weft:service_latency_milliseconds:p95{destination_service_namespace=~"$namespace"})',
        ),
      ],
    },
    {
      title: 'Connections',
      panels: [
        graph('New connections by namespace', 'short', [
          q(
            opened(
              'source_workload_namespace, destination_workload_namespace',
              'reporter="source", destination_workload_namespace=~"$namespace"',
            ),
            '{{source_workload_namespace}} → {{destination_workload_namespace}}',
          ),
        ]),
        graph('New connections by security', 'short', [
          q(opened('connection_security_policy', 'reporter="source"'), '{{connection_security_policy}}'),
        ]),
        graph('Refused, by code', 'short', [
          q('sum by (code) (rate(weft_refused_total[$__rate_interval]))', '{{code}}'),
        ]),
      ],
    },
    {
      title: 'Policies',
      panels: [
        table(
          'Refused in an hour, by policy and source',
          'short',
          'sort_desc(sum by (policy, code, source_principal) (increase(weft_refused_total[1h])))',
        ),
        table(
          'Policies in audit mode would have refused, in an hour',
          'short',
          'sort_desc(sum by (policy) (increase(weft_audited_total[1h])))',
        ),
      ],
    },
  ],
};

const inbound = 'destination_workload_namespace=~"$namespace", destination_workload=~"$workload"';
const outbound = 'source_workload_namespace=~"$namespace", source_workload=~"$workload"';
const seen = 'reporter=~"waypoint|destination"';
const workload: Dashboard = {
  name: 'workload',
  title: 'Workload',
  variables: [
    namespaces,
    {
      name: 'workload',
      label: 'Workload',
      query:
        'label_values(istio_tcp_connections_opened_total{destination_workload_namespace=~"$namespace"}, destination_workload)',
    },
  ],
  rows: [
    {
      title: 'Requests to the workload',
      panels: [
        graph('Requests by source', 'reqps', [
          q(
            `sum by (source_workload_namespace, source_workload) (${rate('istio_requests_total', `${seen}, ${inbound}`)})`,
            '{{source_workload_namespace}}/{{source_workload}}',
          ),
        ]),
        graph('Requests by status', 'reqps', [
          q(
            `sum by (response_code) (${rate('istio_requests_total', `${seen}, ${inbound}`)})`,
            '{{response_code}}',
          ),
        ]),
        graph('Latency', 'ms', quantiles(`${seen}, ${inbound}`)),
      ],
    },
    {
      title: 'Requests of the workload',
      panels: [
        graph('Requests by Service', 'reqps', [
          q(
            `sum by (destination_service) (${rate('istio_requests_total', `reporter=~"waypoint|source", ${outbound}`)})`,
            '{{destination_service}}',
          ),
        ]),
        graph('Success', 'percentunit', [
          q(success(`reporter=~"waypoint|source", ${outbound}`), 'of all its requests'),
        ]),
      ],
    },
    {
      title: 'Connections',
      panels: [
        graph('To the workload, by source', 'short', [
          q(
            opened('source_workload_namespace, source_workload', `reporter="destination", ${inbound}`),
            '{{source_workload_namespace}}/{{source_workload}}',
          ),
        ]),
        graph('Of the workload, by destination', 'short', [
          q(
            opened('destination_workload_namespace, destination_workload', `reporter="source", ${outbound}`),
            '{{destination_workload_namespace}}/{{destination_workload}}',
          ),
        ]),
        graph('Bytes of its connections', 'Bps', [
          q(`sum(${rate('istio_tcp_sent_bytes_total', `reporter="source", ${outbound}`)})`, 'received'),
          q(`sum(${rate('istio_tcp_received_bytes_total', `reporter="source", ${outbound}`)})`, 'sent'),
        ]),
      ],
    },
  ],
};

const ofService = 'destination_service=~"$service"';
const service: Dashboard = {
  name: 'service',
  title: 'Service',
  variables: [
    {
      name: 'service',
      label: 'Service',
      query: 'label_values(istio_requests_total, destination_service)',
    },
  ],
  rows: [
    {
      title: 'Objectives',
      panels: [
        stat('Requests', 'reqps', `sum(weft:service_requests:rate5m{${ofService}})`),
        stat(
          'Success',
          'percentunit',
          `1 - sum(weft:service_errors:rate5m{${ofService}}) / sum(weft:service_requests:rate5m{${ofService}})`,
        ),
        stat(
          'Within the latency objective',
          'percentunit',
          `1 - sum(weft:service_slow_requests:rate5m{${ofService}}) / sum(weft:service_requests:rate5m{${ofService}})`,
        ),
        stat(
          'Error budget used in 3 days',
          'percentunit',
          `max(weft:service_errors:ratio_3d{${ofService}}) / scalar(1 - weft:objective_availability:ratio)`,
          { description: '100 percent: errors at the rate that the objective allows.' },
        ),
      ],
    },
    {
      title: 'Requests',
      panels: [
        graph('Requests by status', 'reqps', [
          q(
            `sum by (response_code) (${rate('istio_requests_total', `reporter=~"waypoint|destination", ${ofService}`)})`,
            '{{response_code}}',
          ),
        ]),
        graph('Latency', 'ms', quantiles(`reporter=~"waypoint|destination", ${ofService}`), {
          description: 'Points are traces, if the data source has exemplars.',
        }),
        graph('Requests by source', 'reqps', [
          q(
            `sum by (source_workload_namespace, source_workload) (${rate('istio_requests_total', `reporter=~"waypoint|destination", ${ofService}`)})`,
            '{{source_workload_namespace}}/{{source_workload}}',
          ),
        ]),
      ],
    },
    {
      title: 'Error budget',
      panels: [
        graph('Share of failed requests, by window', 'percentunit', [
          q(`max(weft:service_errors:ratio_5m{${ofService}})`, '5 min'),
          q(`max(weft:service_errors:ratio_1h{${ofService}})`, '1 h'),
          q(`max(weft:service_errors:ratio_6h{${ofService}})`, '6 h'),
          q(`max(weft:service_errors:ratio_3d{${ofService}})`, '3 d'),
        ]),
        graph('Share of slow requests, by window', 'percentunit', [
          q(`max(weft:service_slow_requests:ratio_5m{${ofService}})`, '5 min'),
          q(`max(weft:service_slow_requests:ratio_1h{${ofService}})`, '1 h'),
          q(`max(weft:service_slow_requests:ratio_6h{${ofService}})`, '6 h'),
          q(`max(weft:service_slow_requests:ratio_3d{${ofService}})`, '3 d'),
        ]),
        graph('Why the waypoint responded itself', 'reqps', [
          q(
            `sum by (response_flags) (${rate('istio_requests_total', `reporter="waypoint", response_flags!="-", ${ofService}`)})`,
            '{{response_flags}}',
          ),
        ]),
      ],
    },
  ],
};

const at = 'instance=~"$waypoint"';
const waypoint: Dashboard = {
  name: 'waypoint',
  title: 'Waypoint',
  variables: [
    {
      name: 'waypoint',
      label: 'Waypoint',
      query: 'label_values(weft_build_info{job="weft-waypoint"}, instance)',
    },
  ],
  rows: [
    {
      title: 'Requests',
      panels: [
        graph('Requests by Service', 'reqps', [
          q(
            `sum by (destination_service) (${rate('istio_requests_total', `reporter="waypoint", ${at}`)})`,
            '{{destination_service}}',
          ),
        ]),
        graph('Latency', 'ms', quantiles(`reporter="waypoint", ${at}`)),
        graph('Requests by route and class of status', 'reqps', [
          q(
            `sum by (route, code_class) (rate(weft_waypoint_route_requests_total{${at}}[$__rate_interval]))`,
            '{{route}} {{code_class}}',
          ),
        ]),
      ],
    },
    {
      title: 'Endpoints and traffic policies',
      panels: [
        graph('Healthy endpoints', 'short', [
          q(
            `min by (envoy_cluster_name) (envoy_cluster_membership_healthy{${at}})`,
            '{{envoy_cluster_name}}',
          ),
        ]),
        graph('Retries and timeouts', 'short', [
          q(
            `sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_rq_retry{${at}}[$__rate_interval]))`,
            'retries {{envoy_cluster_name}}',
          ),
          q(
            `sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_rq_timeout{${at}}[$__rate_interval]))`,
            'timeouts {{envoy_cluster_name}}',
          ),
        ]),
        graph('What policies did, or would have done', 'short', [
          q(
            `sum by (policy, feature, mode) (rate(weft_waypoint_traffic_policy_actions_total{${at}}[$__rate_interval]))`,
            '{{feature}} {{mode}} {{policy}}',
          ),
        ]),
      ],
    },
    {
      title: 'The program',
      panels: [
        graph('Refused, by code', 'short', [
          q(
            `sum by (code) (rate(weft_refused_total{job="weft-waypoint", ${at}}[$__rate_interval]))`,
            '{{code}}',
          ),
        ]),
        graph('CPU', 'short', [
          q(
            `sum by (instance) (rate(weft_process_cpu_seconds_total{job="weft-waypoint", ${at}}[$__rate_interval]))`,
            '{{instance}}',
          ),
        ]),
        graph('Memory', 'bytes', [
          q(
            `sum by (instance) (weft_process_resident_memory_bytes{job="weft-waypoint", ${at}})`,
            '{{instance}}',
          ),
        ]),
        graph('Limits reached', 'short', [
          q(
            `sum by (limit) (rate(weft_limit_reached_total{job="weft-waypoint", ${at}}[$__rate_interval]))`,
            '{{limit}}',
          ),
        ]),
      ],
    },
  ],
};

const programs: Dashboard = {
  name: 'programs',
  title: 'Agents and control plane',
  variables: [],
  rows: [
    {
      title: 'Now',
      panels: [
        stat('Agents up', 'short', 'sum(up{job="weft-agent"})'),
        stat('Replicas of the control plane up', 'short', 'sum(up{job="weft-control"})'),
        stat(
          'Programs without the control plane',
          'short',
          'count(weft_control_plane_connected == 0) or vector(0)',
        ),
        stat('Objects not in force', 'short', 'max(weft_control_objects_refused)'),
        stat('Policies in audit mode', 'short', 'max(weft_control_policies_audited)'),
        stat('First certificate expires in', 's', 'min(weft_certificate_expiry_seconds) - time()'),
        stat('CA expires in', 's', 'min(weft_control_authority_expiry_seconds) - time()'),
      ],
    },
    {
      title: 'Agents',
      panels: [
        graph('Pods by state', 'short', [q('sum by (state) (weft_pods)', '{{state}}')]),
        graph('Connections by lifetime, p95', 's', [
          q(
            'histogram_quantile(0.95, sum by (path, le) (rate(weft_connection_duration_seconds_bucket[$__rate_interval])))',
            '{{path}}',
          ),
        ]),
        graph('Decisions of the kernel', 'short', [
          q('sum by (reason) (rate(weft_kernel_events[$__rate_interval]))', '{{reason}}'),
        ]),
        table(
          'Features that kernels lack',
          'short',
          'sum by (instance, feature) (weft_kernel_feature_missing)',
        ),
      ],
    },
    {
      title: 'Control plane',
      panels: [
        graph('Nodes and objects', 'short', [
          q('max(weft_control_objects)', 'objects'),
          q('sum(weft_control_nodes)', 'nodes'),
        ]),
        graph('Resource updates sent', 'short', [
          q(
            'sum by (instance) (rate(weft_control_resources_changed_total[$__rate_interval]))',
            '{{instance}}',
          ),
        ]),
        graph('Certificates', 'short', [
          q('sum by (result) (rate(weft_control_certificates_total[$__rate_interval]))', '{{result}}'),
        ]),
        graph('Calls refused', 'short', [
          q('sum by (reason) (rate(weft_control_calls_refused_total[$__rate_interval]))', '{{reason}}'),
        ]),
      ],
    },
    {
      title: 'Programs',
      panels: [
        table('Versions', 'short', 'count by (job, version) (weft_build_info)'),
        graph('Memory', 'bytes', [
          q('max by (job) (weft_process_resident_memory_bytes or process_resident_memory_bytes)', '{{job}}'),
        ]),
        graph('CPU', 'short', [
          q(
            'max by (job) (rate(weft_process_cpu_seconds_total[$__rate_interval]) or rate(process_cpu_seconds_total[$__rate_interval]))',
            '{{job}}',
          ),
        ]),
        graph('Limits reached', 'short', [
          q('sum by (job, limit) (rate(weft_limit_reached_total[$__rate_interval]))', '{{job}} {{limit}}'),
        ]),
      ],
    },
  ],
};

/** All dashboards of the chart. */
export const dashboards: readonly Dashboard[] = [mesh, workload, service, waypoint, programs];
