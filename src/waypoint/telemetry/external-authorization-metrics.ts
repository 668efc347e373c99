/** Metrics of external authorization, with Envoy's names of its filter (stats of the cluster that requests go to). */
import type { Registry } from 'prom-client';
import { registerMetric, type Value } from '../../telemetry/series.js';
import type {
  DecisionCounts,
  ExternalAuthorization,
} from '../external-authorization/external-authorization.js';

/** Service ports whose counts are shown. */
const portsMax = 2_000;

const metrics: readonly (readonly [name: string, help: string, count: keyof DecisionCounts])[] = [
  ['envoy_cluster_ext_authz_ok', 'Requests that a decision service allowed', 'ok'],
  ['envoy_cluster_ext_authz_denied', 'Requests that a decision service denied', 'denied'],
  ['envoy_cluster_ext_authz_error', 'Requests for which there was no decision', 'error'],
  [
    'envoy_cluster_ext_authz_failure_mode_allowed',
    'Requests that went on without a decision, because the policy fails open',
    'failureModeAllowed',
  ],
  [
    'weft_waypoint_external_authorization_cached',
    'Requests for which a decision was known from an earlier request',
    'cached',
  ],
];

/** Registers the counts of a worker's requests, by the cluster of the Service port. */
export function watchExternalAuthorization(registry: Registry, of: ExternalAuthorization): void {
  for (const [name, help, count] of metrics)
    registerMetric(registry, { name, help, type: 'counter' }, () => valuesOf(of, count));
  registerMetric(
    registry,
    {
      name: 'weft_waypoint_external_authorization_waiting',
      help: 'Requests that wait for a decision service',
      type: 'gauge',
    },
    () => [{ labels: {}, value: of.waiting }],
  );
  registerMetric(
    registry,
    {
      name: 'weft_waypoint_external_authorization_cache_entries',
      help: 'Decisions that a worker keeps',
      type: 'gauge',
    },
    () => [{ labels: {}, value: of.cache.size }],
  );
}

function valuesOf(of: ExternalAuthorization, count: keyof DecisionCounts): Value[] {
  const values: Value[] = [];
  for (const { at, counts } of of.counts()) {
    if (values.length >= portsMax) break;
    const { service, port } = at;
    const cluster = `outbound|${port}||${service.slice(service.indexOf('/') + 1)}`;
    values.push({ labels: { envoy_cluster_name: cluster }, value: counts[count] });
  }
  return values;
}
