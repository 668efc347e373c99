/** What happens to the attempts of requests, counted by cluster under the names that Envoy's dashboards know. */
import type { Registry } from 'prom-client';
import { BoundedCounter } from '../../telemetry/series.js';

const counters = {
  retry: ['envoy_cluster_upstream_rq_retry', 'Retries, hedged attempts included'],
  retrySuccess: [
    'envoy_cluster_upstream_rq_retry_success',
    'Requests whose response after a retry needed no further one',
  ],
  retryOverflow: [
    'envoy_cluster_upstream_rq_retry_overflow',
    'Requests that were not retried because the retry budget was used up',
  ],
  retryLimitExceeded: [
    'envoy_cluster_upstream_rq_retry_limit_exceeded',
    'Requests that were not retried because their number of attempts was reached',
  ],
  backoffExponential: [
    'envoy_cluster_upstream_rq_retry_backoff_exponential',
    'Retries that waited for the exponential backoff',
  ],
  backoffRatelimited: [
    'envoy_cluster_upstream_rq_retry_backoff_ratelimited',
    'Retries that waited as long as the response asked for',
  ],
  timeout: ['envoy_cluster_upstream_rq_timeout', 'Requests that reached their timeout'],
  perTryTimeout: [
    'envoy_cluster_upstream_rq_per_try_timeout',
    'Attempts that reached the timeout of a try, except those that are hedged',
  ],
  maxDurationReached: [
    'envoy_cluster_upstream_rq_max_duration_reached',
    'Requests that reached their greatest duration',
  ],
  stackedRetry: [
    'weft_waypoint_stacked_retries_total',
    'Requests to ports with retries that a proxy or client ahead of the waypoint had sent before',
  ],
} as const;

export type UpstreamEvent = keyof typeof counters;

/** Series of one metric, per worker. */
const seriesMax = 2000;

export class UpstreamEvents {
  readonly #counters = new Map<string, BoundedCounter<'envoy_cluster_name'>>();

  constructor(registry: Registry, onFull: () => void) {
    const labelNames = ['envoy_cluster_name'] as const;
    for (const [event, [name, help]] of Object.entries(counters))
      this.#counters.set(
        event,
        new BoundedCounter(registry, { name, help, labelNames }, seriesMax, onFull, Date.now),
      );
  }

  /** @param namespace of the endpoint's workload, whose share of the series it takes */
  count(event: UpstreamEvent, cluster: string, namespace: string): void {
    this.#counters.get(event)?.inc(namespace, { envoy_cluster_name: cluster });
  }
}
