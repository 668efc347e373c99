/** Requests as metrics, by the names and labels that mesh dashboards know, and as lines of the access log. One per worker. */
import { pino } from 'pino';
import { Counter, Registry, type Metric } from 'prom-client';
import { formatSocketAddress } from '../model/address.js';
import type { MeshView } from '../state/store.js';
import type { RequestRecord } from './record.js';

const durationBoundsMs = [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000];
const sizeBounds = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
const seriesMax = 2000;

interface Buckets {
  readonly counts: Float64Array;
  sum: number;
}
interface Series {
  readonly labels: Readonly<Record<string, string | number>>;
  requests: number;
  readonly durations: Buckets;
  readonly received: Buckets;
  readonly sent: Buckets;
}

const buckets = (bounds: readonly number[]): Buckets => ({
  counts: new Float64Array(bounds.length + 1),
  sum: 0,
});
function count(into: Buckets, bounds: readonly number[], value: number): void {
  let at = 0;
  while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
  into.counts[at] = (into.counts[at] ?? 0) + 1;
  into.sum += value;
}

export class WaypointMetrics {
  readonly registry = new Registry();
  readonly #series = new Map<string, Series>();
  readonly limitReached = new Counter({
    name: 'weft_limit_reached_total',
    help: 'What a limit of the waypoint turned away, by limit (docs/limits.md)',
    labelNames: ['limit'] as const,
    registers: [this.registry],
  });
  readonly refusedHeads = new Counter({
    name: 'weft_waypoint_unreadable_requests_total',
    help: 'Requests that were answered before they could be read, by status',
    labelNames: ['status'] as const,
    registers: [this.registry],
  });
  readonly #routes = new Counter({
    name: 'weft_waypoint_route_requests_total',
    help: 'Requests by the rule that took them',
    labelNames: ['route', 'code_class'] as const,
    registers: [this.registry],
  });
  readonly #denied = new Counter({
    name: 'weft_refused_total',
    help: 'Requests refused, by code and policy',
    labelNames: ['code', 'policy', 'rule', 'source_principal'] as const,
    registers: [this.registry],
  });
  readonly #audited = new Counter({
    name: 'weft_audited_total',
    help: 'Requests that a policy in audit mode would have refused',
    labelNames: ['policy'] as const,
    registers: [this.registry],
  });
  /** Told in turns of a second: a counter's own book-keeping costs more than a request may. */
  #routeCounts = new Map<string, number>();

  constructor(private readonly view: () => MeshView) {
    this.#register('istio_requests_total', 'Requests', 'counter', (series) => [
      { value: series.requests, labels: series.labels },
    ]);
    this.#histogram(
      'istio_request_duration_milliseconds',
      'How long requests took',
      durationBoundsMs,
      (s) => s.durations,
    );
    this.#histogram('istio_request_bytes', 'Bytes of requests', sizeBounds, (s) => s.received);
    this.#histogram('istio_response_bytes', 'Bytes of answers', sizeBounds, (s) => s.sent);
  }

  record(record: RequestRecord): void {
    const { client, endpoint } = record;
    const key = `${client.key} ${endpoint?.key ?? ''} ${record.service} ${record.status} ${record.flag ?? ''} ${record.grpcStatus ?? ''} ${record.protocol}`;
    let series = this.#series.get(key);
    if (!series) {
      if (this.#series.size >= seriesMax) {
        this.limitReached.inc({ limit: 'metric-series' });
        series = this.#other;
      } else {
        series = newSeries(labelsOf(record, this.view()));
        this.#series.set(key, series);
      }
    }
    series.requests++;
    count(series.durations, durationBoundsMs, record.durationMs);
    count(series.received, sizeBounds, record.bytesReceived);
    count(series.sent, sizeBounds, record.bytesSent);
    if (record.route !== undefined) {
      const route = `${record.route} ${Math.floor(record.status / 100)}xx`;
      this.#routeCounts.set(route, (this.#routeCounts.get(route) ?? 0) + 1);
    }
    if (record.code !== undefined) {
      this.#denied.inc({
        code: record.code,
        policy: record.policy ?? '',
        rule: String(record.rule ?? ''),
        source_principal: client.identity ?? 'unknown',
      });
    }
    for (const policy of record.audited) this.#audited.inc({ policy });
  }

  readonly #other = ((): Series => {
    const series = newSeries({ reporter: 'waypoint', destination_service: 'other' });
    this.#series.set('', series);
    return series;
  })();

  async text(): Promise<object[]> {
    for (const [name, value] of this.#routeCounts) {
      const at = name.lastIndexOf(' ');
      this.#routes.inc({ route: name.slice(0, at), code_class: name.slice(at + 1) }, value);
    }
    this.#routeCounts = new Map();
    return this.registry.getMetricsAsJSON();
  }

  #histogram(name: string, help: string, bounds: readonly number[], of: (series: Series) => Buckets): void {
    this.#register(name, help, 'histogram', (series) => {
      const { counts, sum } = of(series);
      let total = 0;
      const values: Value[] = bounds.map((le, i) => {
        total += counts[i] ?? 0;
        return { value: total, labels: { ...series.labels, le }, metricName: `${name}_bucket` };
      });
      total += counts[bounds.length] ?? 0;
      values.push({ value: total, labels: { ...series.labels, le: '+Inf' }, metricName: `${name}_bucket` });
      values.push({ value: sum, labels: series.labels, metricName: `${name}_sum` });
      values.push({ value: total, labels: series.labels, metricName: `${name}_count` });
      return values;
    });
  }

  /** A metric of the library's kind whose values are kept here: counting by labels costs more than a request may. */
  #register(
    name: string,
    help: string,
    type: 'counter' | 'histogram',
    of: (series: Series) => Value[],
  ): void {
    const metric = {
      name,
      help,
      aggregator: 'sum',
      get: () =>
        Promise.resolve({
          name,
          help,
          type,
          aggregator: 'sum',
          values: [...this.#series.values()].flatMap((s) => (s.requests > 0 ? of(s) : [])),
        }),
      reset: () => undefined,
    };
    this.registry.registerMetric(metric as unknown as Metric);
  }
}

interface Value {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName?: string;
}

function newSeries(labels: Series['labels']): Series {
  return {
    labels,
    requests: 0,
    durations: buckets(durationBoundsMs),
    received: buckets(sizeBounds),
    sent: buckets(sizeBounds),
  };
}

function labelsOf(record: RequestRecord, view: MeshView): Series['labels'] {
  const { client, endpoint } = record;
  const known = view.workloadByAddress(client.address.ip, client.namespace);
  // An address is no proof: the workload is named where the certificate agrees.
  const source = known?.identity === client.identity ? known : undefined;
  const destination = endpoint?.workload;
  const canonical = (workload: typeof source): [string, string] => [
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
    destination_workload: destination?.workloadName ?? 'unknown',
    destination_workload_namespace: destination?.namespace ?? 'unknown',
    destination_principal: destination?.identity ?? 'unknown',
    destination_canonical_service: destinationName,
    destination_canonical_revision: destinationRevision,
    destination_service: record.service,
    destination_service_name: record.serviceName,
    destination_service_namespace: record.serviceNamespace,
    request_protocol: record.protocol,
    response_code: record.status,
    grpc_response_status: record.grpcStatus ?? '',
    response_flags: record.flag ?? '-',
    connection_security_policy: client.identity === undefined ? 'none' : 'mutual_tls',
  };
}

export type AccessLogMode = 'none' | 'errors' | 'all';

/** Made with `template`: a text in which %NAME% stands for a field of the line; JSON where absent. */
export class AccessLog {
  readonly #file: ReturnType<typeof pino.destination>;
  readonly #log: pino.Logger;

  constructor(
    path: string,
    private readonly mode: AccessLogMode,
    private readonly template: string | undefined,
    onDropped: () => void,
  ) {
    this.#file = pino.destination({ dest: path === '-' ? 1 : path, sync: false, maxLength: 8 << 20 });
    this.#file.on('drop', onDropped);
    this.#file.on('error', onDropped);
    this.#log = pino({ base: {}, timestamp: pino.stdTimeFunctions.isoTime }, this.#file);
  }

  write(record: RequestRecord): void {
    if (this.mode === 'none') return;
    const failed = record.flag !== undefined || record.status >= 500 || record.status === 0;
    if (this.mode === 'errors' && !failed) return;
    const line = lineOf(record);
    if (this.template === undefined) this.#log[failed ? 'warn' : 'info'](line);
    else this.#file.write(`${fill(this.template, line)}\n`);
  }

  close(): void {
    try {
      this.#file.flushSync();
    } catch {
      // Never opened, or the disk is full: there is nobody left to tell.
    }
  }
}

export function lineOf(record: RequestRecord): Readonly<Record<string, unknown>> {
  const { client, endpoint } = record;
  return {
    source: client.identity ?? 'unknown',
    sourceAddress: formatSocketAddress(client.address),
    service: record.service,
    method: record.method,
    authority: record.authority,
    path: record.path,
    protocol: record.version,
    status: record.status,
    ...(record.grpcStatus === undefined ? {} : { grpcStatus: record.grpcStatus }),
    flags: record.flag ?? '-',
    ...(record.code === undefined ? {} : { code: record.code }),
    ...(record.why === undefined ? {} : { why: record.why }),
    route: record.route ?? '-',
    endpoint: endpoint ? formatSocketAddress(endpoint.target) : '-',
    destination: endpoint?.workload.identity ?? 'unknown',
    pod: endpoint?.workload.name ?? '-',
    attempts: record.attempts,
    ...(record.policy === undefined ? {} : { policy: record.policy }),
    ...(record.rule === undefined ? {} : { rule: record.rule }),
    ...(record.audited.length > 0 ? { audited: record.audited } : {}),
    bytesReceived: record.bytesReceived,
    bytesSent: record.bytesSent,
    durationMs: Math.round(record.durationMs * 1000) / 1000,
  };
}

/** Values are made one line of printable text: what a client sends must not write lines of its own. */
export function fill(template: string, line: Readonly<Record<string, unknown>>): string {
  return template.replace(/%([a-zA-Z]+)%/g, (_all, name: string) =>
    String(line[name] ?? '-').replace(/[\x00-\x1f\x7f]/g, '?'),
  );
}
