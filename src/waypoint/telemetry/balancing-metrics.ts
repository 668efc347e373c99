/** Metrics of load balancing, by cluster, with Envoy's names. */
import type { Registry } from 'prom-client';
import { registerMetric, type Value } from '../../telemetry/series.js';
import type { Balancing } from '../cluster/cluster.js';

interface BalancingCluster {
  readonly name: string;
  readonly balancing: Balancing;
}

/** Clusters of one worker that are shown. */
const clustersMax = 2000;

/** @param clusters those of Service ports */
export function registerBalancingMetrics(
  registry: Registry,
  clusters: () => Iterable<BalancingCluster>,
): void {
  const valuesOf = (read: (balancing: Balancing) => number | undefined): Value[] => {
    const values: Value[] = [];
    for (const { name, balancing } of clusters()) {
      const value = read(balancing);
      if (value !== undefined) values.push({ value, labels: { envoy_cluster_name: name } });
      if (values.length === clustersMax) break;
    }
    return values;
  };
  // Each worker has its own view of the same endpoints: the worst one is shown.
  const gauge = (
    name: string,
    help: string,
    aggregator: 'max' | 'min',
    read: (balancing: Balancing) => number,
  ): void => registerMetric(registry, { name, help, type: 'gauge', aggregator }, () => valuesOf(read));
  const counter = (name: string, help: string, read: (balancing: Balancing) => number | undefined): void =>
    registerMetric(registry, { name, help, type: 'counter' }, () => valuesOf(read));

  gauge('envoy_cluster_membership_total', 'Endpoints of a cluster', 'max', ({ total }) => total);
  gauge(
    'envoy_cluster_membership_healthy',
    'Endpoints of a cluster that are not ejected and pass their health checks',
    'min',
    ({ healthy }) => healthy,
  );
  counter(
    'envoy_cluster_lb_healthy_panic',
    'Endpoints picked among all, because too few are healthy',
    ({ panic }) => panic,
  );
  counter(
    'envoy_cluster_lb_zone_routing_all_directly',
    'Endpoints picked in the nearest level, of clusters with a locality policy',
    ({ hasLocality, nearest }) => (hasLocality ? nearest : undefined),
  );
  counter(
    'envoy_cluster_lb_zone_routing_cross_zone',
    'Endpoints picked in other levels than the nearest, of clusters with a locality policy',
    ({ hasLocality, further }) => (hasLocality ? further : undefined),
  );
}
