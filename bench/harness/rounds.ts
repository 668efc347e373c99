/**
 * Rounds of a comparison. A round measures, for each workload and point, all variants one right after the other, in an order that
 * changes by round. A failed measurement loses one sample, not the run.
 */
import { errorText } from '../../src/base/errors.js';
import type { BenchResult, Placement, Sample, Workload } from '../result/result.js';
import { orderOf } from './statistics.js';

export interface Cell {
  readonly placement: Placement;
  readonly variant: string;
}

export type Measured = Pick<Sample, 'values' | 'short'>;

export interface Step<C extends Cell> {
  readonly workload: Workload;
  readonly point: string;
  readonly cells: readonly C[];
  /** Requested requests per second, if the workload has a rate. */
  readonly perSecond?: (cell: C) => number;
  measure(cell: C): Promise<Measured>;
}

export interface RoundsPlan<C extends Cell> {
  readonly rounds: number;
  readonly steps: readonly Step<C>[];
  readonly onStep: (text: string) => void;
  /** Called before and after each measurement. */
  readonly interrupted: () => boolean;
}

export type RoundsResult = Pick<BenchResult, 'samples' | 'failures' | 'interrupted'>;

export const measurementsOf = <C extends Cell>({ rounds, steps }: RoundsPlan<C>): number =>
  rounds * steps.reduce((sum, { cells }) => sum + cells.length, 0);

/** Does not throw for a failed measurement. Keeps the complete rounds of an interrupted run. */
export async function runRounds<C extends Cell>(plan: RoundsPlan<C>): Promise<RoundsResult> {
  const samples: Sample[] = [];
  const failures: BenchResult['failures'][number][] = [];
  for (let round = 0; round < plan.rounds; round++) {
    const before = { samples: samples.length, failures: failures.length };
    for (const { workload, point, cells, perSecond, measure } of plan.steps) {
      for (const placement of new Set(cells.map((cell) => cell.placement))) {
        const here = cells.filter((cell) => cell.placement === placement);
        for (const cell of orderOf(here, round)) {
          const at = { round, placement, variant: cell.variant, workload: workload.name, point };
          const wanted = perSecond?.(cell);
          if (!plan.interrupted())
            plan.onStep(
              `round ${round + 1} of ${plan.rounds}: ${workload.title}${point && `, ${point}`}, ${placement}, ${cell.variant}`,
            );
          try {
            if (!plan.interrupted())
              samples.push({
                ...at,
                ...(wanted === undefined ? {} : { perSecondWanted: wanted }),
                ...(await measure(cell)),
              });
          } catch (error) {
            failures.push({ ...at, why: errorText(error) });
          }
          // A measurement that a signal ended is not a failure of the variant, and a partial round is dropped.
          if (plan.interrupted()) {
            samples.length = before.samples;
            failures.length = before.failures;
            return { samples, failures, interrupted: true };
          }
        }
      }
    }
  }
  return { samples, failures, interrupted: false };
}
