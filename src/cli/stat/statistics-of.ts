/** The statistics of an observation. Pure. */
import {
  hasBeyondLimits,
  statistics,
  type Statistic,
  type Subject,
} from '../../telemetry/observed/statistics.js';
import { edgeFilter, type EdgeFilterFlags } from '../edges/filter.js';
import type { Observation } from '../edges/observation.js';
import { withRates } from '../edges/with-rates.js';
import { isOfNamespace } from './rows.js';

/** The statistics by a subject that the flags leave. */
export const statisticsOf = (found: Observation, by: Subject, flags: EdgeFilterFlags): Statistic[] => {
  const { nowMs } = found;
  const only = edgeFilter(flags);
  return withRates(found, (edges, fromMs) => statistics(edges, { by, fromMs, nowMs, only })).filter((one) =>
    isOfNamespace(one, flags.namespace),
  );
};

const beyondLimitsText =
  'programs observed more than they can name: some of it is counted under other/other, some only at its known end (docs/limits.md)';

/** What is missing in an observation: sentences. */
export const gapsOf = ({ gaps, edges }: Observation): readonly string[] =>
  hasBeyondLimits(edges) ? [...gaps, beyondLimitsText] : gaps;
