/** Rounds of a suite. A round measures, for each path and task, all variants one right after the other, in an order that changes by round. */
import { orderOf, type Sample } from './statistics.js';

/** One measurement. `values`: metric -> number. */
export interface Task<Path, Variant> {
  readonly name: string;
  measure(path: Path, variant: Variant): Promise<Readonly<Record<string, number>>>;
}

export interface Plan<Path extends { readonly name: string }, Variant extends { readonly name: string }> {
  readonly rounds: number;
  readonly paths: readonly Path[];
  readonly variants: readonly Variant[];
  /** Whether a variant is measured on a path. Default: each on each. */
  readonly isMeasured?: (path: Path, variant: Variant) => boolean;
  readonly tasks: readonly Task<Path, Variant>[];
  readonly onProgress: (text: string) => void;
}

/**
 * Measures the whole plan. One sample has the values of all tasks of a round, path and variant.
 * An error of a task ends the run, because a table with gaps would be misread as complete.
 */
export async function interleave<
  Path extends { readonly name: string },
  Variant extends { readonly name: string },
>(plan: Plan<Path, Variant>): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    for (const path of plan.paths) {
      const values = new Map<string, Record<string, number>>();
      const variants = plan.variants.filter((variant) => plan.isMeasured?.(path, variant) !== false);
      for (const task of plan.tasks) {
        plan.onProgress(`round ${round + 1} of ${plan.rounds}: ${path.name} ${task.name}`);
        for (const variant of orderOf(variants, round)) {
          const got = await task.measure(path, variant);
          values.set(variant.name, { ...values.get(variant.name), ...got });
        }
      }
      for (const variant of variants) {
        samples.push({
          round,
          path: path.name,
          variant: variant.name,
          values: values.get(variant.name) ?? {},
        });
      }
    }
  }
  return samples;
}
