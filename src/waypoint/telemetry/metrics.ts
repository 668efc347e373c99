/** Request metrics, with the names and labels that mesh dashboards use. One instance per worker. */
import { Counter, Registry } from 'prom-client';
import { latencyBoundsMs } from '../../model/edge.js';
import type { Client } from '../listener/client.js';
import type { Workload } from '../../model/workload.js';
import type { MeshView } from '../../state/store.js';
import { buckets, count, histogramValues, keepExemplar, type Buckets } from '../../telemetry/buckets.js';
import { metricsJson } from '../../telemetry/exposition.js';
import { GoneWorkloads } from '../../telemetry/gone-workloads.js';
import { clusterOf } from '../../telemetry/service-labels.js';
import {
  BoundedCounter,
  registerMetric,
  SeriesTable,
  type Labels,
  type Series,
  type Value,
} from '../../telemetry/series.js';
import { BreakerMetrics } from './breaker-metrics.js';
import type { RequestRecord, TrafficAction } from './request-record.js';

const sizeBounds = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
/** Series of one metric, per worker. */
const seriesMax = 2000;
/** Entries of the cache from client, endpoint and result to a series. A full cache is cleared. */
const shortcutsMax = 4 * seriesMax;

interface Requests {
  count: number;
  readonly durations: Buckets;
  readonly received: Buckets;
  readonly sent: Buckets;
}

interface WaitingCluster {
  readonly name: string;
  readonly waiting: number;
}

export class WaypointMetrics {
  readonly registry = new Registry();
  readonly limitReached = new Counter({
    name: 'weft_limit_reached_total',
    help: 'Number of times that a limit of the waypoint was reached, by limit (docs/limits.md)',
    labelNames: ['limit'] as const,
    registers: [this.registry],
  });
  readonly refusedHeads = new Counter({
    name: 'weft_waypoint_unreadable_requests_total',
    help: 'Malformed requests that were refused, by status of the response',
    labelNames: ['status'] as const,
    registers: [this.registry],
  });
  readonly detections = new Counter({
    name: 'weft_waypoint_protocol_detections_total',
    help: 'Connections whose protocol had to be detected, by result',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly mirrored = new Counter({
    name: 'weft_waypoint_mirrored_requests_total',
    help: 'Mirrored requests, by result (docs/traffic.md)',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly #overflow = (): void => this.limitReached.inc({ limit: 'metric-series' });
  readonly #routes = this.#counter(
    'weft_waypoint_route_requests_total',
    'Requests by the route rule that matched',
    ['route', 'code_class'],
  );
  readonly #denied = this.#counter(
    'weft_refused_total',
    'Requests and connections refused, by code and policy',
    ['code', 'policy', 'rule', 'source_principal'],
  );
  readonly #auditedTotal = this.#counter(
    'weft_audited_total',
    'Requests and connections that a policy in audit mode or dry run would have refused',
    ['policy'],
  );
  readonly breakers = new BreakerMetrics(this.registry, this.#overflow, () => this.now());
  readonly #actions = this.#counter(
    'weft_waypoint_traffic_policy_actions_total',
    'What parts of traffic policies did (mode did), or would have done without dry run (mode would)',
    ['feature', 'mode', 'policy'],
  );
  readonly #series: SeriesTable<Requests>;
  readonly #gone = new GoneWorkloads();
  readonly #other: Requests = requests();
  #shortcuts = new Map<string, Series<Requests>>();
  /** Requests by route since the last scrape. Incrementing the counter itself costs too much for each request. */
  #routeCounts = new Map<string, number>();

  constructor(
    private readonly view: () => MeshView,
    private readonly now: () => number = Date.now,
  ) {
    this.#series = new SeriesTable(seriesMax, requests, now);
    this.#register('istio_requests_total', 'Requests', 'counter', (labels, { count: value }) => [
      { value, labels },
    ]);
    this.#histogram(
      'istio_request_duration_milliseconds',
      'Duration of requests in milliseconds',
      latencyBoundsMs,
      (s) => s.durations,
    );
    this.#histogram('istio_request_bytes', 'Bytes received from the client', sizeBounds, (s) => s.received);
    this.#histogram('istio_response_bytes', 'Bytes sent to the client', sizeBounds, (s) => s.sent);
  }

  /** Registers the gauge of requests that wait for a connection. `waiting`: the clusters in which any does. */
  watchClusters(waiting: () => readonly WaitingCluster[]): void {
    const name = 'envoy_cluster_upstream_rq_pending_active';
    const help = 'Requests that wait for a connection';
    registerMetric(this.registry, { name, help, type: 'gauge' }, () =>
      waiting()
        .slice(0, seriesMax)
        .map((cluster) => ({ labels: { envoy_cluster_name: cluster.name }, value: cluster.waiting })),
    );
  }

  /** A traffic policy acted. `namespace`: of the Service. */
  acted({ feature, mode, policy }: TrafficAction, namespace: string): void {
    this.#actions.inc(namespace, { feature, mode, policy });
  }

  record(record: RequestRecord): void {
    const { client } = record;
    const series = this.#seriesOf(record);
    series.count++;
    count(series.durations, latencyBoundsMs, record.durationMs);
    if (record.trace)
      keepExemplar(series.durations, latencyBoundsMs, record.durationMs, record.trace, this.now());
    count(series.received, sizeBounds, record.bytesReceived);
    count(series.sent, sizeBounds, record.bytesSent);
    if (record.route !== undefined) {
      const route = `${record.route} ${Math.floor(record.status / 100)}xx`;
      this.#routeCounts.set(route, (this.#routeCounts.get(route) ?? 0) + 1);
      if (this.#routeCounts.size > shortcutsMax) this.#flushRoutes();
    }
    if (record.code !== undefined) this.refused(client, { ...record, code: record.code });
    this.audited(record.audited);
  }

  /** A request or a connection was refused. */
  refused(
    client: Client,
    {
      code,
      policy = '',
      rule,
    }: { readonly code: string; readonly policy?: string | undefined; readonly rule?: number | undefined },
  ): void {
    this.#denied.inc(client.group, {
      code,
      policy,
      rule: String(rule ?? ''),
      source_principal: client.identity ?? 'unknown',
    });
  }

  /** Policies in audit mode would have refused a request or a connection. */
  audited(policies: readonly string[]): void {
    for (const policy of policies) this.#auditedTotal.inc(namespaceOf(policy), { policy });
  }

  #seriesOf(record: RequestRecord): Requests {
    const { client, endpoint } = record;
    const grpc = grpcStatusOf(record);
    const key = `${client.key} ${endpoint?.key ?? ''} ${record.service} ${record.status} ${record.flag ?? ''} ${grpc} ${record.protocol}`;
    let series = this.#shortcuts.get(key);
    if (series && !series.isEvicted) {
      series.lastMs = this.now();
      return series.value;
    }
    // Grouped by client and destination namespace: neither takes series from other namespaces.
    const group = `${client.group} ${record.serviceNamespace}`;
    const labels = labelsOf(record, this.view(), grpc);
    const member = client.identity ?? String(labels['source_workload']);
    series = this.#series.of(group, labels, member);
    if (!series) {
      this.#overflow();
      return this.#other;
    }
    if (this.#shortcuts.size >= shortcutsMax) this.#shortcuts = new Map();
    this.#shortcuts.set(key, series);
    return series.value;
  }

  /** The metrics as JSON. `names` false: only metrics whose labels name no pod, principal, policy or route. */
  async read(names = true): Promise<object[]> {
    this.#flushRoutes();
    // What a client without the token reads costs no walk over the mesh's workloads.
    if (names) this.#series.sweep(this.#gone.isGone(this.view().workloads()));
    return metricsJson(this.registry, names);
  }

  #flushRoutes(): void {
    for (const [name, value] of this.#routeCounts) {
      const at = name.lastIndexOf(' ');
      const route = name.slice(0, at);
      this.#routes.inc(namespaceOf(route), { route, code_class: name.slice(at + 1) }, value);
    }
    this.#routeCounts = new Map();
  }

  #counter<L extends string>(name: string, help: string, labelNames: readonly L[]): BoundedCounter<L> {
    return new BoundedCounter(this.registry, { name, help, labelNames }, seriesMax, this.#overflow, () =>
      this.now(),
    );
  }

  #histogram(name: string, help: string, bounds: readonly number[], of: (series: Requests) => Buckets): void {
    this.#register(name, help, 'histogram', (labels, series) =>
      histogramValues(name, bounds, labels, of(series)),
    );
  }

  #register(
    name: string,
    help: string,
    type: 'counter' | 'histogram',
    of: (labels: Labels, series: Requests) => Value[],
  ): void {
    registerMetric(this.registry, { name, help, type }, () => [
      ...[...this.#series].flatMap(({ labels, value }) => of(labels, value)),
      ...(this.#other.count > 0 ? of(otherLabels, this.#other) : []),
    ]);
  }
}

const otherLabels: Labels = { reporter: 'waypoint', destination_service: 'other' };

/** The namespace of a policy or route name: `<namespace>/…`, or `<kind> <namespace>/…`. */
const namespaceOf = (name: string): string => /(?:^|\s)([^\s/]+)\//.exec(name)?.[1] ?? '';

function requests(): Requests {
  return {
    count: 0,
    durations: buckets(latencyBoundsMs),
    received: buckets(sizeBounds),
    sent: buckets(sizeBounds),
  };
}

/** Endpoints may send any text as gRPC status: all invalid ones become one label value. */
const grpcStatusOf = ({ grpcStatus }: RequestRecord): string =>
  grpcStatus === undefined ? '' : /^(?:\d|1[0-6])$/.test(grpcStatus) ? grpcStatus : 'invalid';

function labelsOf(record: RequestRecord, view: MeshView, grpcStatus: string): Labels {
  const { client, endpoint } = record;
  const known = view.workloadByAddress(client.address.ip, client.namespace);
  // An address proves nothing: the workload is named only if its identity is that of the certificate.
  const source = known?.identity === client.identity ? known : undefined;
  const destination = endpoint?.workload;
  const canonical = (workload: Workload | undefined): [string, string] => [
    workload?.canonicalName ?? 'unknown',
    workload?.canonicalRevision ?? 'latest',
  ];
  const [sourceName, sourceRevision] = canonical(source);
  const [destinationName, destinationRevision] = canonical(destination);
  return {
    reporter: 'waypoint',
    source_workload: source?.workloadName ?? 'unknown',
    source_workload_namespace: client.namespace ?? 'unknown',
    source_principal: client.identity ?? 'unknown',
    source_canonical_service: sourceName,
    source_canonical_revision: sourceRevision,
    source_cluster: clusterOf(client.namespace ?? 'unknown'),
    destination_workload: destination?.workloadName ?? 'unknown',
    destination_workload_namespace: destination?.namespace ?? 'unknown',
    destination_principal: destination?.identity ?? 'unknown',
    destination_canonical_service: destinationName,
    destination_canonical_revision: destinationRevision,
    // A request that reached no endpoint was for a Service of this cluster.
    destination_cluster: clusterOf(destination?.namespace ?? record.serviceNamespace),
    destination_service: record.service,
    destination_service_name: record.serviceName,
    destination_service_namespace: record.serviceNamespace,
    request_protocol: record.protocol,
    response_code: record.status,
    grpc_response_status: grpcStatus,
    response_flags: record.flag ?? '-',
    connection_security_policy: client.identity === undefined ? 'none' : 'mutual_tls',
  };
}
