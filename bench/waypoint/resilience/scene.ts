/** The features that both proxies have switched on in a measurement, so that neither's configuration can say something else. */

/**
 * `none`: no feature. `all`: least request, outlier detection, circuit breakers, retries with a budget, a local rate limit, none of which
 * ever acts. `keys`: a rate limit for each value of x-user. `ejection`: ejection after consecutive failures, for long. `share`: ejection by
 * the share of failures in an interval. `breaker`: few requests at the same time. `fair`: limits for each client.
 */
export type Features = 'none' | 'all' | 'keys' | 'ejection' | 'share' | 'breaker' | 'fair';

export interface ResilienceScene {
  /** Ports of 127.0.0.1: where the proxy listens, and the endpoints of the one Service. */
  readonly listen: number;
  readonly endpoints: readonly number[];
  readonly features: Features;
}

export const keyHeader = 'x-user';
export const keysMax = 10_000;
/** A limit that is never reached. */
export const open = { requests: 1_000_000, perMs: 1000 } as const;
/** Of each client in `fair`. */
export const clientLimit = { requests: 100, perMs: 1000, underWay: 10 } as const;
/** As Envoy's defaults. */
export const breakers = { connections: 1024, pending: 1024, requests: 1024 } as const;
/** Requests at the same time in `breaker`. */
export const few = 10;
export const budget = { percent: 20, min: 3 } as const;
export const retries = 2;

export interface Outliers {
  readonly consecutive5xx: number;
  readonly consecutiveGatewayErrors: number;
  readonly consecutiveLocalFailures: number;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly ejectedPercentMax: number;
  /** 0: off. The same for the next field. */
  readonly successRateHostsMin: number;
  readonly failurePercent: number;
  readonly failurePercentHostsMin: number;
  readonly failurePercentRequestsMin: number;
}

/** Envoy's default is 10 s. A second makes a run shorter. */
export const intervalMs = 1000;
const consecutive: Outliers = {
  consecutive5xx: 5,
  consecutiveGatewayErrors: 5,
  consecutiveLocalFailures: 5,
  intervalMs,
  // Longer than a run: an ejected endpoint stays ejected.
  baseEjectionMs: 300_000,
  ejectedPercentMax: 50,
  successRateHostsMin: 0,
  failurePercent: 0,
  failurePercentHostsMin: 3,
  failurePercentRequestsMin: 20,
};
export const outliersOf: Readonly<Partial<Record<Features, Outliers>>> = {
  ejection: consecutive,
  share: {
    ...consecutive,
    consecutive5xx: 0,
    consecutiveGatewayErrors: 0,
    consecutiveLocalFailures: 0,
    failurePercent: 50,
  },
  all: {
    ...consecutive,
    intervalMs: 10_000,
    baseEjectionMs: 30_000,
    ejectedPercentMax: 10,
    successRateHostsMin: 3,
    failurePercent: 85,
  },
};
