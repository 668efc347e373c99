/** Statistics of samples: pairs within a round, medians over rounds. Pure. */

/** One measurement. `values`: metric -> number, in the unit that the suite states for the metric. */
export interface Sample {
  readonly round: number;
  readonly path: string;
  readonly variant: string;
  readonly values: Readonly<Record<string, number>>;
}

/** Throws a RangeError for an empty list, which has no median. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('no median of no values');
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] as number) + upper) / 2;
}

/**
 * The order of the variants in a round. Each round starts with the next variant, and every second cycle is reversed, so that no
 * variant always follows the same other variant.
 */
export function orderOf<T>(variants: readonly T[], round: number): T[] {
  const start = round % variants.length;
  const turned = [...variants.slice(start), ...variants.slice(0, start)];
  return Math.floor(round / variants.length) % 2 === 0 ? turned : turned.reverse();
}

/** `variant` divided by `base` for each round that has both. */
export function ratiosByRound(
  samples: readonly Sample[],
  path: string,
  metric: string,
  variant: string,
  base: string,
): number[] {
  const valueOf = (round: number, name: string): number | undefined =>
    samples.find(
      (sample) =>
        sample.round === round && sample.path === path && sample.variant === name && metric in sample.values,
    )?.values[metric];
  const rounds = [...new Set(samples.map(({ round }) => round))].sort((a, b) => a - b);
  return rounds.flatMap((round) => {
    const top = valueOf(round, variant);
    const bottom = valueOf(round, base);
    return top === undefined || bottom === undefined || bottom === 0 ? [] : [top / bottom];
  });
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Undefined for an empty list. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** All values of a metric, in the order of the samples. */
export function valuesOf(
  samples: readonly Sample[],
  path: string,
  variant: string,
  metric: string,
): number[] {
  return samples.flatMap((sample) => {
    const value = sample.values[metric];
    return sample.path === path && sample.variant === variant && value !== undefined ? [value] : [];
  });
}

export interface Quartiles extends Spread {
  readonly lower: number;
  readonly upper: number;
}

/** Beside the spread, the values between which half of all are (nearest rank). Undefined for an empty list. */
export function quartilesOf(values: readonly number[]): Quartiles | undefined {
  const spread = spreadOf(values);
  if (!spread) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const rank = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number;
  return { ...spread, lower: rank(0.25), upper: rank(0.75) };
}
