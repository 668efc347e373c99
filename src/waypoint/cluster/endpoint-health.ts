/**
 * An endpoint's health: whether it is ejected, and for how long. Only its cluster writes it (cluster-health.ts). Without a policy for
 * outlier detection it is ejected by its connection attempts, by the rule below.
 */

export interface EndpointHealth {
  /** Observed failures since the last successful connection. */
  failures: number;
  /** Before this time the endpoint is chosen only if all others are ejected too. */
  ejectedUntilMs: number;
  /** Time of the last successful connection. */
  connectedMs: number;
  /** Outlier detection has ejected it. */
  isOutlier: boolean;
  /** The health check that it fails; undefined: none. */
  checkFailure: string | undefined;
}

const ejectionMsMin = 500;
const ejectionMsMax = 30_000;

export const newHealth = (): EndpointHealth => ({
  failures: 0,
  ejectedUntilMs: 0,
  connectedMs: -Infinity,
  isOutlier: false,
  checkFailure: undefined,
});

/**
 * Records the result of a connection attempt. A failed attempt that began during the ejection belongs to the outage that was already counted;
 * one that began before the last successful connection belongs to an outage that is over. Neither counts: any number of simultaneous failures
 * is one observation. Times are of one monotonic clock.
 */
export function observeConnect(
  health: EndpointHealth,
  connected: boolean,
  beganMs: number,
  nowMs: number,
): void {
  if (connected) {
    health.failures = 0;
    health.ejectedUntilMs = 0;
    health.connectedMs = nowMs;
    return;
  }
  if (beganMs < health.ejectedUntilMs || beganMs <= health.connectedMs) return;
  health.failures++;
  health.ejectedUntilMs = nowMs + Math.min(ejectionMsMax, ejectionMsMin * 2 ** (health.failures - 1));
}

/** The endpoint is not to get requests while others are healthy. */
export const isEjected = (health: EndpointHealth, nowMs: number): boolean =>
  health.isOutlier || health.checkFailure !== undefined || health.ejectedUntilMs > nowMs;
