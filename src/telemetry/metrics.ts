/**
 * Agent metrics: the Istio names that mesh dashboards expect, and Weft's own. Workers send events; only the main thread holds the
 * registry. The number of label sets is bounded, with a share for each pair of namespaces (series.ts).
 */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { Edge } from '../model/edge.js';
import type { Workload } from '../model/workload.js';
import { buckets, count, histogramValues, move, type Buckets } from './buckets.js';
import { countConnection, countTally } from './connection-edges.js';
import type { ConnectionRecord, Opening, Party, Path } from './connection-record.js';
import { ConnectionSeries, groupOf } from './connection-series.js';
import { EdgeTable } from './edge-table.js';
import { metricsText } from './exposition.js';
import type { HttpObservation } from './http-observation.js';
import { RequestCounts, type ObservedRequests } from './observed-requests.js';
import { sumOf } from './request-sums.js';
import { GoneWorkloads } from './gone-workloads.js';
import { clusterOf, serviceLabels } from './service-labels.js';
import { BoundedCounter, registerMetric, type Labels } from './series.js';
import { durationBoundsS, Tallies, type Tally } from './tallies.js';

/** Sent by a worker: a connection opened, or a connection closed (the record then has its bytes). */
export type MetricEvent =
  | { readonly kind: 'opened'; readonly record: ConnectionRecord }
  | { readonly kind: 'closed'; readonly record: ConnectionRecord };

const labelSetsMax = 2000;

function labelsOf(record: Opening): Labels {
  const side = (party: Party, name: 'source' | 'destination') => ({
    [`${name}_workload`]: party.workload,
    [`${name}_workload_namespace`]: party.namespace,
    [`${name}_principal`]: party.identity,
    [`${name}_canonical_service`]: party.canonicalName,
    [`${name}_canonical_revision`]: party.canonicalRevision,
    [`${name}_cluster`]: clusterOf(party.namespace),
  });
  const mutual = record.path === 'hbone' || record.path === 'inbound-hbone';
  return {
    reporter: record.direction === 'outbound' ? 'source' : 'destination',
    ...side(record.source, 'source'),
    ...side(record.destination, 'destination'),
    ...serviceLabels(record.service, record.destination.namespace),
    request_protocol: 'tcp',
    response_flags: record.path === 'refused' ? 'DENY' : '-',
    connection_security_policy: mutual
      ? 'mutual_tls'
      : record.path === 'local' || record.path === 'kernel'
        ? 'same_node'
        : 'unknown',
  };
}

export class MeshMetrics {
  readonly registry = new Registry();
  readonly #series: ConnectionSeries<Connections>;
  readonly #refused = this.#counter('weft_refused_total', 'Connections refused, by code and policy', [
    'code',
    'policy',
    'rule',
    'source_principal',
    'destination_principal',
  ]);
  readonly #audited = this.#counter(
    'weft_audited_total',
    'Connections that a policy in audit mode would have refused',
    ['policy'],
  );
  readonly #durations = new Map<Path, Buckets>();
  readonly #overflow = new Counter({
    name: 'weft_metric_label_sets_overflow_total',
    help: 'Connections and requests counted under the label value "other" because the limit of label sets was reached',
    registers: [this.registry],
  });
  /** Pods of this node by enrollment state: enrolled, or waiting for enrollment. */
  readonly pods = new Gauge({
    name: 'weft_pods',
    help: 'Pods of this node that belong to the mesh, by state: enrolled or waiting',
    labelNames: ['state'] as const,
    registers: [this.registry],
  });
  readonly limitReached = new Counter({
    name: 'weft_limit_reached_total',
    help: 'Times that a limit of the agent was reached, by limit (docs/limits.md)',
    labelNames: ['limit'] as const,
    registers: [this.registry],
  });
  readonly preexisting = new Gauge({
    name: 'weft_preexisting_connections',
    help: 'Connections of enrolled pods that are older than the enrollment: they stay outside of the mesh',
    registers: [this.registry],
  });
  readonly linesDropped = new Counter({
    name: 'weft_connection_lines_dropped_total',
    help: 'Lines of the connection log that were dropped because the disk was too slow',
    registers: [this.registry],
  });
  readonly edgeReportsLost = new Counter({
    name: 'weft_edge_reports_lost_total',
    help: 'Reports of edges that the control plane will never have: it was away for too long, or refused them',
    registers: [this.registry],
  });
  readonly #lacking = new Gauge({
    name: 'weft_kernel_feature_missing',
    help: '1 for each feature that this kernel lacks; affected connections take a slower path',
    labelNames: ['feature'] as const,
    registers: [this.registry],
  });
  readonly #gone = new GoneWorkloads();
  /** The workloads of the mesh: series of others that were there are dropped. Absent: series are dropped when they are idle. */
  workloads: (() => Iterable<Workload>) | undefined;
  /** Called before metrics are read, to set gauges. `names` false: only those whose labels name nobody are read. */
  beforeRead: ((names: boolean) => void) | undefined;
  /** What the connections add up to between workloads, for reports to the control plane. */
  readonly edges = new EdgeTable(() => this.limitReached.inc({ limit: 'edges' }));
  readonly #requests = new RequestCounts({
    edges: this.edges,
    registry: this.registry,
    onTemplateLimit: () => this.limitReached.inc({ limit: 'path-templates' }),
    onOverflow: () => this.#overflow.inc(),
    now: () => this.now(),
  });
  /** Of kernel flows. */
  readonly kernelFlows = new Tallies((record, tally) => this.#add(record, tally));
  /** Of connections that a carrier relays. */
  readonly relayed = new Tallies((record, tally) => this.#add(record, tally));

  /** `missing`: features that this kernel lacks. */
  constructor(
    kernel?: () => Record<string, number>,
    missing: readonly string[] = [],
    private readonly now: () => number = Date.now,
  ) {
    this.#series = new ConnectionSeries(labelSetsMax, noConnections, () => this.#overflow.inc(), now);
    this.#register('istio_tcp_connections_opened_total', 'TCP connections opened', 'opened');
    this.#register('istio_tcp_connections_closed_total', 'TCP connections closed', 'closed');
    this.#register('istio_tcp_sent_bytes_total', 'Bytes sent to clients in responses', 'sent');
    this.#register('istio_tcp_received_bytes_total', 'Bytes received from clients', 'received');
    this.#registerDurations();
    this.lacks(missing);
    collectDefaultMetrics({ register: this.registry, prefix: 'weft_' });
    if (kernel) {
      const gauge = new Gauge({
        name: 'weft_kernel_events',
        help: 'Decisions of the eBPF programs since they were loaded, by reason',
        labelNames: ['reason'] as const,
        registers: [this.registry],
        collect: () => {
          for (const [reason, value] of Object.entries(kernel())) gauge.set({ reason }, value);
        },
      });
    }
  }

  #register(name: string, help: string, of: keyof Connections): void {
    registerMetric(this.registry, { name, help, type: 'counter' }, () =>
      [...this.#series].map(({ labels, value }) => ({ labels, value: value[of] })),
    );
  }

  #registerDurations(): void {
    const name = 'weft_connection_duration_seconds';
    const help = 'Lifetime of connections in seconds';
    registerMetric(this.registry, { name, help, type: 'histogram', labelNames: ['path'] }, () =>
      [...this.#durations].flatMap(([path, values]) =>
        histogramValues(name, durationBoundsS, { path }, values),
      ),
    );
  }

  #durationsOf(path: Path): Buckets {
    let durations = this.#durations.get(path);
    if (!durations) this.#durations.set(path, (durations = buckets(durationBoundsS)));
    return durations;
  }

  #counter<L extends string>(name: string, help: string, labelNames: readonly L[]): BoundedCounter<L> {
    const overflow = (): void => this.#overflow.inc();
    return new BoundedCounter(this.registry, { name, help, labelNames }, labelSetsMax, overflow, () =>
      this.now(),
    );
  }

  /** Sets the missing-feature gauge for features that turned out to be missing after construction. */
  lacks(features: Iterable<string>): void {
    for (const feature of features) this.#lacking.set({ feature }, 1);
  }

  #add(record: ConnectionRecord, tally: Tally): void {
    if (tally.opened + tally.closed + tally.refused === 0) return;
    countTally(this.edges, record, tally);
    const series = this.#seriesOf(record);
    series.opened += tally.opened;
    series.closed += tally.closed;
    addBytes(series, { ...record, ...tally });
    if (tally.refused > 0) {
      this.#refused.inc(
        groupOf(record),
        {
          code: record.code ?? 'WEFT_NOT_ACCEPTED',
          policy: '',
          rule: '',
          source_principal: record.source.identity,
          destination_principal: record.destination.identity,
        },
        tally.refused,
      );
    }
    if (tally.closed > 0) move(this.#durationsOf(record.path), tally.durations);
    Object.assign(tally, { opened: 0, closed: 0, refused: 0, bytesSent: 0, bytesReceived: 0 });
  }

  /**
   * Prometheus text for the metrics endpoint.
   * @param names false: only metrics whose labels name no pod, principal, policy or version
   */
  async text(names = true): Promise<string> {
    this.#prepare(names);
    return metricsText(this.registry, names);
  }

  /** All metrics as JSON of prom-client. */
  json(): Promise<object[]> {
    this.#prepare(true);
    return this.registry.getMetricsAsJSON();
  }

  #prepare(names: boolean): void {
    this.beforeRead?.(names);
    this.#settle();
    // What a client without the token reads costs no walk over the mesh's workloads.
    if (!names) return;
    const isGone = this.workloads && this.#gone.isGone(this.workloads());
    this.#series.sweep(isGone);
    this.#requests.sweep(isGone);
  }

  #settle(): void {
    this.kernelFlows.settle();
    this.relayed.settle();
  }

  /** The edges that were observed since the last call. */
  takeEdges(): Edge[] {
    this.#settle();
    this.#requests.taken();
    return this.edges.take(this.now());
  }

  /** A request and its response passed on this connection, which did not go to a waypoint. */
  observed(record: Opening, observation: HttpObservation): void {
    this.observedMany(record, sumOf(observation, [observation.durationMs]));
  }

  /** The same for the sum over several requests. */
  observedMany(record: Opening, requests: ObservedRequests): void {
    // The waypoint reports the requests that it serves.
    if (record.why === 'destination-has-waypoint') return;
    this.#requests.add(record, labelsOf(record), requests);
  }

  apply(event: MetricEvent): void {
    const { record } = event;
    countConnection(this.edges, event.kind, record);
    if (event.kind === 'opened') {
      this.#seriesOf(record).opened++;
      for (const policy of record.audited ?? [])
        this.#audited.inc(policy.slice(0, policy.indexOf('/')), { policy });
      return;
    }
    if (record.path === 'refused') {
      this.#refused.inc(groupOf(record), {
        code: record.code ?? 'unknown',
        policy: record.policy ?? '',
        rule: record.rule === undefined ? '' : String(record.rule),
        source_principal: record.source.identity,
        destination_principal: record.destination.identity,
      });
      return;
    }
    const series = this.#seriesOf(record);
    series.closed++;
    addBytes(series, record);
    count(this.#durationsOf(record.path), durationBoundsS, record.durationMs / 1000);
  }

  #seriesOf(record: ConnectionRecord): Connections {
    return this.#series.of(record, labelsOf(record));
  }
}

/** Counts of connections that share all labels. */
interface Connections {
  opened: number;
  closed: number;
  sent: number;
  received: number;
}
/** Directions are the server's, as dashboards expect: "received" is what the client sent. */
function addBytes(
  series: Connections,
  {
    direction,
    bytesSent,
    bytesReceived,
  }: Pick<ConnectionRecord, 'direction' | 'bytesSent' | 'bytesReceived'>,
): void {
  series.received += direction === 'outbound' ? bytesSent : bytesReceived;
  series.sent += direction === 'outbound' ? bytesReceived : bytesSent;
}
const noConnections = (): Connections => ({ opened: 0, closed: 0, sent: 0, received: 0 });
