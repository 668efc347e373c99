/** Policies for outlier detection and health checks, as the control plane sends them. */
import type { HealthCheck, OutlierDetection } from '../../src/discovery/gen/weft.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import { key } from './mesh.js';

/** The defaults of a TrafficPolicy, which are Envoy's. */
export const outlierDefaults: OutlierDetection = {
  consecutive5xx: 5,
  consecutiveGatewayErrors: 0,
  consecutiveLocalFailures: 5,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  ejectionMsMax: 300_000,
  ejectionJitterMs: 0,
  ejectedPercentMax: 10,
  alwaysEjectOne: true,
  successRateHostsMin: 0,
  successRateRequestsMin: 100,
  successRateStdevFactor: 1_900,
  failurePercent: 0,
  failurePercentHostsMin: 5,
  failurePercentRequestsMin: 50,
  dryRun: false,
};

/** Settings of port 80 of the Service `api`. */
export const outlierPolicy = (
  more: Partial<OutlierDetection> = {},
  settings: Partial<ServicePolicy> = {},
): ServicePolicy => ({
  service: key('api'),
  port: 80,
  origins: [{ setting: 'outlierDetection', object: 'TrafficPolicy shop/api' }],
  outlierDetection: { ...outlierDefaults, ...more },
  ...settings,
});

export const checkPolicy = (
  checks: readonly Partial<HealthCheck>[],
  settings: Partial<ServicePolicy> = {},
): ServicePolicy => ({
  service: key('api'),
  port: 80,
  origins: [{ setting: 'healthChecks', object: 'TrafficPolicy shop/api' }],
  healthChecks: checks.map((check) => ({
    kind: undefined,
    port: 0,
    intervalMs: 100,
    timeoutMs: 1_000,
    jitterPercent: 0,
    healthyThreshold: 2,
    unhealthyThreshold: 3,
    dryRun: false,
    ...check,
  })),
  ...settings,
});
