/** Envoy's configuration for resilience/scene.ts. */
import { chain, cluster, endpoint, managerType, router, type } from '../envoy.js';
import {
  breakers,
  budget,
  clientLimit,
  few,
  keyHeader,
  keysMax,
  open,
  outliersOf,
  retries,
  type Features,
  type ResilienceScene,
} from './scene.js';

const bucket = ({ requests, perMs }: { readonly requests: number; readonly perMs: number }): object => ({
  max_tokens: requests,
  tokens_per_fill: requests,
  fill_interval: `${perMs / 1000}s`,
});
const always = (name: string): object => ({
  runtime_key: name,
  default_value: { numerator: 100, denominator: 'HUNDRED' },
});

/** A bucket for each value of a descriptor, made when the value is first seen. */
const localLimit = (
  action: object,
  key: string,
  limit: { readonly requests: number; readonly perMs: number },
): object => ({
  name: 'envoy.filters.http.local_ratelimit',
  typed_config: {
    ...type('envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit'),
    stat_prefix: 'local',
    token_bucket: bucket(open),
    filter_enabled: always('local_enabled'),
    filter_enforced: always('local_enforced'),
    descriptors: [{ entries: [{ key }], token_bucket: bucket(limit) }],
    max_dynamic_descriptors: 2 * keysMax,
    rate_limits: [{ actions: [action] }],
    always_consume_default_token_bucket: false,
  },
});
const byAddress = (limit: typeof open | typeof clientLimit): object =>
  localLimit({ remote_address: {} }, 'remote_address', limit);

const filtersOf: Readonly<Partial<Record<Features, readonly object[]>>> = {
  all: [byAddress(open)],
  keys: [
    localLimit({ request_headers: { header_name: keyHeader, descriptor_key: keyHeader } }, keyHeader, open),
  ],
  fair: [byAddress(clientLimit)],
};

const seconds = (ms: number): string => `${ms / 1000}s`;
/** Percentages at which a detector acts. */
const enforcing = (on: boolean): number => (on ? 100 : 0);
function outlierDetection(features: Features): object {
  const outliers = outliersOf[features];
  if (!outliers) return {};
  return {
    outlier_detection: {
      consecutive_5xx: outliers.consecutive5xx || 5,
      enforcing_consecutive_5xx: enforcing(outliers.consecutive5xx > 0),
      consecutive_gateway_failure: outliers.consecutiveGatewayErrors || 5,
      enforcing_consecutive_gateway_failure: enforcing(outliers.consecutiveGatewayErrors > 0),
      interval: seconds(outliers.intervalMs),
      base_ejection_time: seconds(outliers.baseEjectionMs),
      max_ejection_time: '300s',
      max_ejection_percent: outliers.ejectedPercentMax,
      enforcing_success_rate: enforcing(outliers.successRateHostsMin > 0),
      success_rate_minimum_hosts: outliers.successRateHostsMin || 5,
      failure_percentage_threshold: outliers.failurePercent || 85,
      enforcing_failure_percentage: enforcing(outliers.failurePercent > 0),
      failure_percentage_minimum_hosts: outliers.failurePercentHostsMin,
      failure_percentage_request_volume: outliers.failurePercentRequestsMin,
    },
  };
}

function circuitBreakers(features: Features): object {
  const thresholds = {
    max_connections: breakers.connections,
    max_pending_requests: breakers.pending,
    max_requests: breakers.requests,
    retry_budget: { budget_percent: { value: budget.percent }, min_retry_concurrency: budget.min },
  };
  if (features === 'all') return { circuit_breakers: { thresholds: [thresholds] } };
  if (features === 'breaker')
    return { circuit_breakers: { thresholds: [{ ...thresholds, max_requests: few }] } };
  return {};
}

/** JSON. The rest is as in envoyConfig (../envoy.ts). */
export function resilientEnvoy({ listen, endpoints, features }: ResilienceScene): string {
  const retry_policy = { retry_on: '5xx', num_retries: retries };
  const manager = {
    ...managerType,
    stat_prefix: 'main',
    codec_type: 'AUTO',
    normalize_path: true,
    merge_slashes: true,
    server_header_transformation: 'PASS_THROUGH',
    use_remote_address: true,
    http_filters: [...(filtersOf[features] ?? []), router],
    route_config: {
      name: 'main',
      virtual_hosts: [
        {
          name: 'main',
          domains: ['*'],
          routes: [
            {
              match: { prefix: '/' },
              route: { cluster: 'main', timeout: '0s', ...(features === 'all' ? { retry_policy } : {}) },
            },
          ],
        },
      ],
    },
  };
  const main = {
    ...cluster('main', {}),
    load_assignment: {
      cluster_name: 'main',
      endpoints: [{ lb_endpoints: endpoints.map((port) => ({ endpoint: endpoint(port) })) }],
    },
    // As Weft's default is, so that the difference is that of the features alone.
    lb_policy: 'LEAST_REQUEST',
    ...circuitBreakers(features),
    ...outlierDetection(features),
  };
  return JSON.stringify({
    static_resources: {
      listeners: [{ name: 'main', ...endpoint(listen), filter_chains: [chain(manager)] }],
      clusters: [main],
    },
  });
}
