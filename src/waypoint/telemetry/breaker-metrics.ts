/** Metrics of circuit breakers, by Envoy's names. Limits and counts are those of all workers, so each worker reports the same values. */
import type { Registry } from 'prom-client';
import { BoundedCounter, registerMetric, type Value } from '../../telemetry/series.js';
import type { PoolLimit } from '../cluster/client-pool.js';
import type { CircuitBreaker } from '../cluster/breaker/circuit-breaker.js';
import { connections, pending, requests } from '../shared/shared-counters.js';

/** Series of one metric, per worker. */
const seriesMax = 2_000;

interface LimitedCluster {
  readonly name: string;
  readonly breaker: CircuitBreaker;
}

/** Envoy's names of the limits. */
const gauges = [
  {
    kind: connections,
    open: 'envoy_cluster_circuit_breakers_default_cx_open',
    remaining: 'envoy_cluster_circuit_breakers_default_remaining_cx',
    what: 'connections',
  },
  {
    kind: pending,
    open: 'envoy_cluster_circuit_breakers_default_rq_pending_open',
    remaining: 'envoy_cluster_circuit_breakers_default_remaining_pending',
    what: 'requests that wait for a connection',
  },
  {
    kind: requests,
    open: 'envoy_cluster_circuit_breakers_default_rq_open',
    remaining: 'envoy_cluster_circuit_breakers_default_remaining_rq',
    what: 'requests under way',
  },
] as const;

export class BreakerMetrics {
  readonly #pendingOverflow: BoundedCounter<'envoy_cluster_name'>;
  readonly #connectionOverflow: BoundedCounter<'envoy_cluster_name'>;

  constructor(
    private readonly registry: Registry,
    onSeriesOverflow: () => void,
    now: () => number,
  ) {
    const counter = (name: string, help: string): BoundedCounter<'envoy_cluster_name'> =>
      new BoundedCounter(
        registry,
        { name, help, labelNames: ['envoy_cluster_name'] },
        seriesMax,
        onSeriesOverflow,
        now,
      );
    this.#pendingOverflow = counter(
      'envoy_cluster_upstream_rq_pending_overflow',
      'Requests refused because too many were under way or waited for a connection, or none became free in time',
    );
    this.#connectionOverflow = counter(
      'envoy_cluster_upstream_cx_overflow',
      'Times that a connection to an endpoint was needed and the limit of connections was reached',
    );
  }

  /** A limit was reached. `namespace`: of the endpoint. */
  overflow(limit: PoolLimit, cluster: string, namespace: string): void {
    const counter = limit === 'cluster-connections' ? this.#connectionOverflow : this.#pendingOverflow;
    counter.inc(namespace, { envoy_cluster_name: cluster });
  }

  /** Registers the gauges of limits. `limited`: the clusters with limits. */
  watch(limited: () => readonly LimitedCluster[]): void {
    for (const { kind, open, remaining, what } of gauges) {
      const values = (of: (max: number, total: number) => number) => (): Value[] =>
        limited()
          .filter(({ breaker }) => breaker.isLimited(kind))
          .slice(0, seriesMax)
          .map(({ name: cluster, breaker }) => ({
            labels: { envoy_cluster_name: cluster },
            value: of(breaker.limits.all[kind].max, breaker.all.total(kind)),
          }));
      registerMetric(
        this.registry,
        { name: open, help: `1: the limit of ${what} is reached`, type: 'gauge', aggregator: 'max' },
        values((max, total) => (total >= max ? 1 : 0)),
      );
      registerMetric(
        this.registry,
        { name: remaining, help: `How many more ${what} the limit allows`, type: 'gauge', aggregator: 'min' },
        values((max, total) => Math.max(0, max - total)),
      );
    }
  }
}
