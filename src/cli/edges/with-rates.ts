/** Counts are of all that was observed, rates of the time that all programs have observed. Pure. */
import type { Edge } from '../../model/edge.js';
import { ratesOf, type Rates } from '../../telemetry/observed/rates.js';
import type { Observation } from './observation.js';

/** Says why there are no rates. */
export const noRatesText = 'rates are not known yet: the control plane has just started';

interface Counted extends Rates {
  readonly id: string;
  readonly requests: number;
  readonly connections: number;
}

/**
 * Sums of an observation, without rates as long as not all programs have observed.
 * @param sums of edges, with their rates since `fromMs`
 */
export function withRates<T extends Counted>(
  { edges, rated, nowMs }: Observation,
  sums: (edges: readonly Edge[], fromMs: number) => readonly T[],
): readonly T[] {
  if (rated?.edges === edges) return sums(edges, rated.fromMs);
  const counted = sums(edges, nowMs);
  if (!rated) return counted;
  const { fromMs } = rated;
  const recent = new Map(sums(rated.edges, fromMs).map((one) => [one.id, one]));
  return counted.map((one) => ({
    ...one,
    ...ratesOf(recent.get(one.id) ?? { requests: 0, connections: 0 }, { fromMs, nowMs }),
  }));
}
