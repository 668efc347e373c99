/**
 * What attempts to connect say of an endpoint: whether it is ejected, and for how long. One owner writes it: the pool, which makes the
 * connections (connection-pool.ts).
 */

export interface EndpointHealth {
  /** Counted failures since the last connection. */
  failures: number;
  /** The endpoint is chosen before this time only where all others are ejected too. */
  ejectedUntilMs: number;
  /** When the last connection was made. */
  connectedMs: number;
}

const ejectionMsMin = 500;
const ejectionMsMax = 30_000;

export const newHealth = (): EndpointHealth => ({ failures: 0, ejectedUntilMs: 0, connectedMs: -Infinity });

/**
 * An attempt that began while the endpoint was ejected, or ahead of its last connection, tells of the same outage as the failure that was
 * counted, or of one that is over: any number of failures at once is one observation. Times are of one monotonic clock.
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

export const isEjected = (health: EndpointHealth, nowMs: number): boolean => health.ejectedUntilMs > nowMs;
