/**
 * The one harness: variants take turns round by round, so that the machine's drift meets all of them alike, and a figure is
 * the median of the rounds' own ratios. The baseline runs twice per round: what its two runs differ by is the noise floor.
 */
export type Figures = Readonly<Record<string, number>>;

export interface Variant {
  readonly name: string;
  readonly measure: () => Promise<Figures>;
}

/** Per round, per variant; the baseline's second run is `again`. */
export type Round = Readonly<Record<string, Figures>>;

export async function runRounds(
  baseline: Variant,
  variants: readonly Variant[],
  rounds: number,
  onStep: (text: string) => void,
): Promise<Round[]> {
  const all: Variant[] = [baseline, ...variants, { name: 'again', measure: baseline.measure }];
  const results: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    const figures: Record<string, Figures> = {};
    // Turned by one each round: no variant always runs after the same other.
    for (let i = 0; i < all.length; i++) {
      const variant = all[(i + round) % all.length];
      if (!variant) continue;
      onStep(`round ${round + 1}/${rounds}: ${variant.name}`);
      figures[variant.name] = await variant.measure();
    }
    results.push(figures);
  }
  return results;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1
    ? (sorted[Math.floor(middle)] ?? 0)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** The median of each round's own ratio of `variant` to `baseline`. */
export function ratio(rounds: readonly Round[], variant: string, baseline: string, metric: string): number {
  return median(
    rounds.flatMap((round) => {
      const [a, b] = [round[variant]?.[metric], round[baseline]?.[metric]];
      return a !== undefined && b !== undefined && b > 0 ? [a / b] : [];
    }),
  );
}
