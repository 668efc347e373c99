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
