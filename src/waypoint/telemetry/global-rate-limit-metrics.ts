/** Metrics of global rate limits, with Envoy's names of its rate limit filter (stats of the cluster that requests go to). */
import type { Registry } from 'prom-client';
import { registerMetric, type Value } from '../../telemetry/series.js';
import type { GlobalCounts, GlobalLimits } from '../rate-limit/global/global-limits.js';

/** Limits whose counts are shown. */
const limitsMax = 2_000;

const metrics: readonly (readonly [name: string, help: string, count: keyof GlobalCounts])[] = [
  ['envoy_cluster_ratelimit_ok', 'Requests that a global rate limit admitted', 'ok'],
  ['envoy_cluster_ratelimit_over_limit', 'Requests beyond a global rate limit', 'overLimit'],
  [
    'envoy_cluster_ratelimit_error',
    'Requests with a global rate limit whose rate limit service did not respond in time',
    'error',
  ],
  [
    'envoy_cluster_ratelimit_failure_mode_allowed',
    'Requests that went on although the rate limit service did not respond, because the limit fails open',
    'failureModeAllowed',
  ],
];

/** Registers the counts of a worker's limits, by the cluster of the Service port. */
export function watchGlobalRateLimits(registry: Registry, limits: GlobalLimits): void {
  for (const [name, help, count] of metrics)
    registerMetric(registry, { name, help, type: 'counter' }, () => valuesOf(limits, count));
  registerMetric(
    registry,
    {
      name: 'weft_waypoint_rate_limit_leases',
      help: 'Keys of global rate limits for which a worker holds hits in advance, or knows that the limit is reached',
      type: 'gauge',
    },
    () => [{ labels: {}, value: limits.leases }],
  );
}

function valuesOf(limits: GlobalLimits, count: keyof GlobalCounts): Value[] {
  const sums = new Map<string, number>();
  for (const { servicePort, counts } of limits) {
    if (sums.size >= limitsMax) break;
    const { service, port } = servicePort;
    const cluster = `outbound|${port}||${service.slice(service.indexOf('/') + 1)}`;
    sums.set(cluster, (sums.get(cluster) ?? 0) + counts[count]);
  }
  return [...sums].map(([cluster, value]) => ({ labels: { envoy_cluster_name: cluster }, value }));
}
