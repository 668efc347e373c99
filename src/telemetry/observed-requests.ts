/**
 * Counts the requests that an agent saw pass (http-observation.ts), by the connection that carried them: as edges, and as metrics with the names
 * and labels of the requests of a waypoint.
 */
import type { Registry } from 'prom-client';
import { latencyBoundsMs, noCounts } from '../model/edge.js';
import { buckets, histogramValues, type Buckets } from './buckets.js';
import { edgeOfConnection } from './connection-edges.js';
import type { ConnectionRecord, Opening } from './connection-record.js';
import { ConnectionSeries } from './connection-series.js';
import type { EdgeTable } from './edge-table.js';
import { isFailedResponse } from './failed-response.js';
import type { GrpcOutcome, HttpObservation } from './http-observation.js';
import { methodName, PathTemplates } from './path-templates.js';
import { registerMetric, type Labels } from './series.js';

/** Several requests of one method, path template and status. */
export interface ObservedRequests extends Pick<
  HttpObservation,
  'method' | 'pathTemplate' | 'status' | 'grpc'
> {
  readonly count: number;
  /** By `latencyBoundsMs`; the last count is of those above. */
  readonly latencyCounts: readonly number[];
  readonly durationSumMs: number;
}

const statusMax = 599;
/** The flag of a response that is not complete, whoever ended it. */
const incomplete = 'DC';
/** Label sets of requests. */
const seriesMax = 2_000;

interface Requests {
  count: number;
  readonly durations: Buckets;
}
const none = (): Requests => ({ count: 0, durations: buckets(latencyBoundsMs) });

interface Options {
  readonly edges: EdgeTable;
  readonly registry: Registry;
  /** A request was counted under the path `other`. */
  readonly onTemplateLimit: () => void;
  /** A request was counted under the label values `other`. */
  readonly onOverflow: () => void;
  readonly now: () => number;
}

export class RequestCounts {
  readonly #options: Options;
  readonly #series: ConnectionSeries<Requests>;
  readonly #templates: PathTemplates;

  constructor(options: Options) {
    this.#options = options;
    this.#series = new ConnectionSeries(seriesMax, none, options.onOverflow, options.now);
    this.#templates = new PathTemplates(options.onTemplateLimit);
    registerMetric(
      options.registry,
      { name: 'istio_requests_total', help: 'HTTP requests that the agent observed', type: 'counter' },
      () => [...this.#series].map(({ labels, value }) => ({ labels, value: value.count })),
    );
    const name = 'istio_request_duration_milliseconds';
    const help = 'Time from the first byte of a request to the first byte of its response, in milliseconds';
    registerMetric(options.registry, { name, help, type: 'histogram' }, () =>
      [...this.#series].flatMap(({ labels, value }) =>
        histogramValues(name, latencyBoundsMs, labels, value.durations),
      ),
    );
  }

  /**
   * Counts requests of one connection.
   * @param labels of the connection's metrics, without those of a request
   */
  add(record: Opening | ConnectionRecord, labels: Labels, requests: ObservedRequests): void {
    const { count, latencyCounts, durationSumMs } = requests;
    // Whatever was observed is made bounded here, since it came from what pods sent.
    const status = requests.status >= 100 && requests.status <= statusMax ? requests.status : 0;
    const names = edgeOfConnection({ durationMs: 0, ended: '', ...record });
    const template = this.#templates.known(
      this.#bounded(requests.pathTemplate),
      `${names.service} ${names.destination.namespace}/${names.destination.workload}:${names.port}`,
      names.source.namespace,
    );
    const tally = this.#options.edges.of({
      ...names,
      method: methodName(requests.method),
      pathTemplate: template,
      policy: '',
    });
    const { grpc } = requests;
    const flag = grpc?.isCut === true ? incomplete : undefined;
    const failures = isFailedResponse({ status, grpcStatus: grpc?.status, flag }) ? count : 0;
    tally.add({ ...noCounts, requests: count, failures, latencyCounts });
    const series = this.#series.of(record, { ...labels, ...requestLabels(status, grpc) });
    series.count += count;
    for (const [at, value] of latencyCounts.entries())
      series.durations.counts[at] = (series.durations.counts[at] ?? 0) + value;
    series.durations.sum += durationSumMs;
  }

  /** A template as it is, whose end may be cut; of anything else its template. */
  #bounded(template: string): string {
    const cut = '/**';
    if (template === cut || !template.endsWith(cut)) return this.#templates.of(template);
    const made = this.#templates.of(template.slice(0, -cut.length));
    return made.endsWith('**') ? made : made + cut;
  }

  /** The edges were reported. */
  taken(): void {
    this.#templates.taken();
  }

  /** `isGone`: whether a series is about a workload that is gone. */
  sweep(isGone?: (labels: Labels) => boolean): void {
    this.#series.sweep(isGone);
  }
}

/** Istio's labels of a request beside those of its connection. `response_code` 0: the connection ended before the response. */
const requestLabels = (status: number, grpc: GrpcOutcome | undefined): Labels => ({
  request_protocol: grpc ? 'grpc' : 'http',
  response_code: status,
  grpc_response_status: grpc?.status ?? '',
  response_flags: status === 0 || grpc?.isCut === true ? incomplete : '-',
});
