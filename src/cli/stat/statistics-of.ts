/** The statistics of an observation. Pure. */
import {
  hasBeyondLimits,
  ratesOf,
  statistics,
  type Statistic,
  type Subject,
} from '../../telemetry/observed/statistics.js';
import { edgeFilter, type EdgeFilterFlags } from '../edges/filter.js';
import type { Observation } from '../edges/observation.js';
import { isOfNamespace } from './rows.js';

/** Counts are of all that was observed, rates of the time that all programs have observed. */
export function statisticsOf(
  { edges, rated, nowMs }: Observation,
  by: Subject,
  flags: EdgeFilterFlags,
): Statistic[] {
  const only = edgeFilter(flags);
  const own = (one: Statistic): boolean => isOfNamespace(one, flags.namespace);
  if (rated?.edges === edges) return statistics(edges, { by, fromMs: rated.fromMs, nowMs, only }).filter(own);
  const counted = statistics(edges, { by, fromMs: nowMs, nowMs, only }).filter(own);
  if (!rated) return counted;
  const times = { fromMs: rated.fromMs, nowMs };
  const recent = new Map(statistics(rated.edges, { by, ...times, only }).map((one) => [one.id, one]));
  return counted.map((one) => ({
    ...one,
    ...ratesOf(recent.get(one.id) ?? { requests: 0, connections: 0 }, times),
  }));
}

const beyondLimitsText =
  'programs observed more than they can name: some of it is counted under other/other, some only at its known end (docs/limits.md)';

/** What is missing in an observation: sentences. */
export const gapsOf = ({ gaps, edges }: Observation): readonly string[] =>
  hasBeyondLimits(edges) ? [...gaps, beyondLimitsText] : gaps;
