/** Requests and connections per second. Pure. */

/** Programs report every 10 s: a shorter time says nothing about a rate. */
const rateMsMin = 10_000;

/** Absent: it is not known, because what was observed is of too short a time. */
export interface Rates {
  readonly requestsPerSecond?: number;
  readonly connectionsPerSecond?: number;
}

export interface ObservedTime {
  /** Since when everything that is counted was observed. */
  readonly fromMs: number;
  readonly nowMs: number;
}

/** Rates over the time that was observed. */
export function ratesOf(
  { requests, connections }: { readonly requests: number; readonly connections: number },
  { fromMs, nowMs }: ObservedTime,
): Rates {
  const ms = nowMs - fromMs;
  if (ms < rateMsMin) return {};
  return { requestsPerSecond: (requests * 1_000) / ms, connectionsPerSecond: (connections * 1_000) / ms };
}

interface Counted extends Rates {
  readonly requests: number;
  readonly connections: number;
}

/** Undefined: not known. That nobody has counted requests does not mean that there were none. */
export const requestRate = ({ requests, requestsPerSecond }: Counted): number | undefined =>
  requests === 0 ? undefined : requestsPerSecond;

/** Undefined: not known. Where a waypoint counts requests, nobody counts their connections. */
export const connectionRate = ({
  requests,
  connections,
  connectionsPerSecond,
}: Counted): number | undefined => (connections === 0 && requests > 0 ? undefined : connectionsPerSecond);
