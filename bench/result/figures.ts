/** Computes figures from samples: medians over rounds, ratios to no mesh of the same round, and which ratios exceed the noise. Pure. */
import { spreadOf, type Spread } from '../harness/statistics.js';
import { metrics, type BenchResult, type Figure, type Sample } from './result.js';

type Given = Pick<BenchResult, 'variants' | 'samples'>;

const cellOf = ({ placement, workload, point }: Sample): string => `${placement}\n${workload}\n${point}`;

/** Values of a metric by round. */
function byRound(
  samples: readonly Sample[],
  variant: string | undefined,
  metric: string,
): Map<number, number> {
  return new Map(
    samples.flatMap((sample) => {
      const value = sample.values[metric];
      return sample.variant === variant && value !== undefined ? [[sample.round, value] as const] : [];
    }),
  );
}

function ratios(top: ReadonlyMap<number, number>, bottom: ReadonlyMap<number, number>): Spread | undefined {
  return spreadOf(
    [...top].flatMap(([round, value]) => {
      const base = bottom.get(round);
      return base === undefined || base === 0 ? [] : [value / base];
    }),
  );
}

/** Figures in the order of the samples. Unknown metrics, which a later version wrote, are left out. */
export function figuresOf({ variants, samples }: Given): Figure[] {
  const none = variants.find(({ kind }) => kind === 'none')?.name;
  const again = variants.find(({ kind }) => kind === 'noise')?.name;
  const cells = new Map<string, Sample[]>();
  for (const sample of samples) {
    const cell = cells.get(cellOf(sample));
    if (cell) cell.push(sample);
    else cells.set(cellOf(sample), [sample]);
  }
  return [...cells.values()].flatMap((cell) => {
    const [{ placement, workload, point } = cell[0] as Sample] = cell;
    const seen = new Set(cell.map(({ variant }) => variant));
    const known = Object.keys(metrics).filter((metric) => cell.some(({ values }) => metric in values));
    return known.flatMap((metric) => {
      const base = byRound(cell, none, metric);
      const noise = ratios(byRound(cell, again, metric), base);
      return variants.flatMap(({ name, kind }): Figure[] => {
        if (!seen.has(name)) return [];
        const values = byRound(cell, name, metric);
        const spread = spreadOf([...values.values()]);
        if (!spread) return [];
        const ratio = kind === 'none' ? undefined : ratios(values, base);
        return [
          {
            placement,
            workload,
            point,
            metric,
            variant: name,
            values: spread,
            rounds: values.size,
            ...(ratio ? { ratio } : {}),
            ...(noise ? { noise } : {}),
            difference: kind === 'noise' ? 'none' : differenceOf(metric, ratio, noise),
          },
        ];
      });
    });
  });
}

/**
 * The noise floor: a ratio between its inverse and it counts as noise. 1 if no noise was measured. The ratio of no mesh to itself is
 * as often above 1 as below, so the floor is equally wide on both sides.
 */
export const noiseFactor = (noise: Spread | undefined): number =>
  noise ? Math.max(noise.max, 1 / noise.min, 1) : 1;

function differenceOf(
  metric: string,
  ratio: Spread | undefined,
  noise: Spread | undefined,
): Figure['difference'] {
  if (!ratio) return 'none';
  const floor = noiseFactor(noise);
  if (ratio.median <= floor && ratio.median >= 1 / floor) return 'none';
  return ratio.median > 1 === (metrics[metric]?.better === 'higher') ? 'better' : 'worse';
}
