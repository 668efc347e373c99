/** Policies for outlier detection and health checks, as the control plane sends them, and what a waypoint did by them. */
import type { HealthCheck, OutlierDetection } from '../../src/discovery/gen/weft.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import { standaloneHealth, type HealthContext } from '../../src/waypoint/cluster/cluster-health.js';
import type { Dial } from '../../src/waypoint/cluster/connection-pool.js';
import { HealthChecker, type CheckEvents } from '../../src/waypoint/cluster/health-check/health-checker.js';
import type { WaypointLimit, WaypointLimits } from '../../src/waypoint/limits.js';
import { key } from './mesh.js';

/** The defaults of a TrafficPolicy, which are Envoy's. */
export const outlierDefaults: OutlierDetection = {
  consecutive5xx: 5,
  consecutiveGatewayErrors: 0,
  consecutiveLocalFailures: 5,
  splitsLocalErrors: false,
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

/** The health of a waypoint's clusters, with a record of its events. */
export function recordHealth(
  dial: Dial,
  limits: WaypointLimits,
  onAction: CheckEvents['onAction'],
  onLimitReached: (limit: WaypointLimit) => void,
) {
  const outliers: string[] = [];
  const checked: string[] = [];
  const checker = new HealthChecker({
    dial,
    limits,
    events: {
      onChecked: () => undefined,
      onHealthChanged: (_at, { target }, failure, dryRun) =>
        checked.push(`${target.port}${dryRun ? ' (dry run)' : ''} ${failure ?? 'healthy'}`),
      onImpossible: (_at, { target }, why) => checked.push(`${target.port} impossible ${why}`),
      onAction,
      onLimitReached,
    },
  });
  const health: HealthContext = {
    ...standaloneHealth({
      onDetected: (_at, { target }, kind, result) => outliers.push(`${target.port} ${result} ${kind}`),
      onReturned: (_at, { target }) => outliers.push(`${target.port} returned`),
      onAction,
    }),
    checker,
  };
  return { health, checker, outliers, checked };
}
