/** Metrics of outlier detection and health checks, with Envoy's names. One instance per worker. */
import type { Registry } from 'prom-client';
import { BoundedCounter, registerMetric, type Value } from '../../telemetry/series.js';
import type { CheckResult } from '../cluster/health-check/check-state.js';
import type { EjectionResult, HealthSubject } from '../cluster/health-events.js';
import type { EjectionKind } from '../cluster/outlier/monitor.js';

/** Series of one metric, per worker. */
const seriesMax = 2000;
const labelNames = ['envoy_cluster_name'] as const;
type ByCluster = BoundedCounter<(typeof labelNames)[number]>;

/** What the gauges show of one cluster. */
export interface ClusterHealthFigures {
  readonly name: string;
  /** Ejections that this worker decided; undefined: the cluster has no outlier detection. */
  readonly ejected: number | undefined;
  /** Of the worker that makes the health checks: endpoints that pass them. */
  readonly passing: number | undefined;
}

const enforced: Readonly<Record<EjectionKind, string>> = {
  consecutive_5xx: 'envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx',
  consecutive_gateway_failure:
    'envoy_cluster_outlier_detection_ejections_enforced_consecutive_gateway_failure',
  consecutive_local_origin_failure:
    'envoy_cluster_outlier_detection_ejections_enforced_consecutive_local_origin_failure',
  success_rate: 'envoy_cluster_outlier_detection_ejections_enforced_success_rate',
  failure_percentage: 'envoy_cluster_outlier_detection_ejections_enforced_failure_percentage',
};
const detected: Readonly<Record<EjectionKind, string>> = {
  consecutive_5xx: 'envoy_cluster_outlier_detection_ejections_detected_consecutive_5xx',
  consecutive_gateway_failure:
    'envoy_cluster_outlier_detection_ejections_detected_consecutive_gateway_failure',
  consecutive_local_origin_failure:
    'envoy_cluster_outlier_detection_ejections_detected_consecutive_local_origin_failure',
  success_rate: 'envoy_cluster_outlier_detection_ejections_detected_success_rate',
  failure_percentage: 'envoy_cluster_outlier_detection_ejections_detected_failure_percentage',
};

export class HealthMetrics {
  readonly #total: ByCluster;
  readonly #overflow: ByCluster;
  readonly #enforced: Readonly<Record<EjectionKind, ByCluster>>;
  readonly #detected: Readonly<Record<EjectionKind, ByCluster>>;
  readonly #attempts: ByCluster;
  readonly #successes: ByCluster;
  readonly #failures: ByCluster;
  readonly #networkFailures: ByCluster;

  constructor(
    private readonly registry: Registry,
    onOverflow: () => void,
    /** The clusters that have outlier detection or health checks. */
    figures: () => Iterable<ClusterHealthFigures>,
  ) {
    const counter = (name: string, help: string): ByCluster =>
      new BoundedCounter(registry, { name, help, labelNames }, seriesMax, onOverflow);
    const byKind = (names: Readonly<Record<EjectionKind, string>>, help: string) =>
      Object.fromEntries(
        Object.entries(names).map(([kind, name]) => [kind, counter(name, help)]),
      ) as unknown as Record<EjectionKind, ByCluster>;
    this.#total = counter(
      'envoy_cluster_outlier_detection_ejections_enforced_total',
      'Endpoints ejected for their failures',
    );
    this.#overflow = counter(
      'envoy_cluster_outlier_detection_ejections_overflow',
      'Endpoints that were not ejected, because too many others are',
    );
    this.#enforced = byKind(enforced, 'Endpoints ejected for their failures, by the detector');
    this.#detected = byKind(detected, 'Endpoints found to be outliers, ejected or not, by the detector');
    this.#attempts = counter('envoy_cluster_health_check_attempt', 'Health checks');
    this.#successes = counter('envoy_cluster_health_check_success', 'Health checks that succeeded');
    this.#failures = counter('envoy_cluster_health_check_failure', 'Health checks that failed');
    this.#networkFailures = counter(
      'envoy_cluster_health_check_network_failure',
      'Health checks without a connection or a response in time',
    );
    this.#gauge(
      'envoy_cluster_outlier_detection_ejections_active',
      'Endpoints that are ejected for their failures',
      figures,
      ({ ejected }) => ejected,
    );
    this.#gauge(
      'envoy_cluster_health_check_healthy',
      'Endpoints that pass their health checks',
      figures,
      ({ passing }) => passing,
    );
  }

  onDetected({ cluster, namespace }: HealthSubject, kind: EjectionKind, result: EjectionResult): void {
    const labels = { envoy_cluster_name: cluster };
    this.#detected[kind].inc(namespace, labels);
    if (result === 'overflow') this.#overflow.inc(namespace, labels);
    if (result !== 'ejected') return;
    this.#enforced[kind].inc(namespace, labels);
    this.#total.inc(namespace, labels);
  }

  onChecked({ cluster, namespace }: HealthSubject, result: CheckResult['kind']): void {
    const labels = { envoy_cluster_name: cluster };
    this.#attempts.inc(namespace, labels);
    if (result === 'none') return;
    (result === 'ok' ? this.#successes : this.#failures).inc(namespace, labels);
    if (result === 'network') this.#networkFailures.inc(namespace, labels);
  }

  #gauge(
    name: string,
    help: string,
    figures: () => Iterable<ClusterHealthFigures>,
    valueOf: (cluster: ClusterHealthFigures) => number | undefined,
  ): void {
    registerMetric(this.registry, { name, help, type: 'gauge' }, () => {
      const values: Value[] = [];
      for (const cluster of figures()) {
        const value = valueOf(cluster);
        if (value !== undefined) values.push({ value, labels: { envoy_cluster_name: cluster.name } });
        if (values.length === seriesMax) break;
      }
      return values;
    });
  }
}
