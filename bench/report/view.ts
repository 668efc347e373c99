/** Functions that all outputs use: the points of a result, the headline points of a workload, and formats of numbers. Pure. */
import { median } from '../harness/statistics.js';
import type { BenchResult, Figure, Placement, Variant, Workload } from '../result/result.js';

export const placementTitles: Readonly<Record<Placement, string>> = {
  'same-node': 'On one node',
  'cross-node': 'Across nodes',
  own: 'Your application',
};

export const latencies: readonly string[] = ['p50', 'p90', 'p99', 'p999'];
/** Parts of a sum, in the order in which plots stack them. */
export const cpuPerRequest: readonly string[] = ['proxyUs', 'applicationUs', 'kernelUs'];
export const cpuPerGb: readonly string[] = [
  'proxySecondsPerGb',
  'applicationSecondsPerGb',
  'kernelSecondsPerGb',
];
const costs = new Set([...cpuPerRequest, ...cpuPerGb, 'proxyMegabytes']);

/** CPU and memory, which a workload has besides its main metrics. */
export const isCost = (metric: string): boolean => costs.has(metric);

export const placementsOf = ({ samples }: Pick<BenchResult, 'samples'>): Placement[] => [
  ...new Set(samples.map(({ placement }) => placement)),
];

export interface Point {
  readonly point: string;
  /** Requested requests per second; the median if rounds differ. */
  readonly perSecond?: number;
  /** Variants that did not reach the rate in some round. */
  readonly short: ReadonlySet<string>;
}

/** Points in the order of the samples. */
export function pointsOf(result: BenchResult, placement: Placement, workload: string): Point[] {
  const all = result.samples.filter((one) => one.placement === placement && one.workload === workload);
  return [...new Set(all.map(({ point }) => point))].map((point) => {
    const here = all.filter((one) => one.point === point);
    const wanted = here.flatMap(({ perSecondWanted }) => perSecondWanted ?? []);
    return {
      point,
      ...(wanted.length > 0 ? { perSecond: median(wanted) } : {}),
      short: new Set(here.flatMap(({ short, variant }) => (short === undefined ? [] : [variant]))),
    };
  });
}

/**
 * The points to show if there is no room for all. For a load: the middle one of those that every variant reached, or the lowest if
 * there is none. Otherwise up to three: the first, the middle, the last.
 */
export function headlinePoints(result: BenchResult, placement: Placement, workload: Workload): Point[] {
  const points = pointsOf(result, placement, workload.name);
  const middle = (of: readonly Point[]): Point[] =>
    of.slice((of.length - 1) >> 1, ((of.length - 1) >> 1) + 1);
  if (workload.kind === 'load') {
    const reached = points.filter(({ short }) => short.size === 0);
    return reached.length > 0 ? middle(reached) : points.slice(0, 1);
  }
  return points.length <= 3 ? points : [...points.slice(0, 1), ...middle(points), ...points.slice(-1)];
}

export interface Short {
  readonly placement: Placement;
  readonly workload: string;
  readonly point: string;
  readonly variant: string;
  readonly perSecondWanted?: number;
  /** Median of the rounds that did not reach the rate. */
  readonly perSecond?: number;
  readonly rounds: number;
  readonly roundsAll: number;
  readonly why: string;
}

/** Points at which the generator did not reach its rate, over all rounds. */
export function shortsOf({ samples }: Pick<BenchResult, 'samples'>): Short[] {
  const key = (one: BenchResult['samples'][number]): string =>
    [one.placement, one.workload, one.point, one.variant].join('\n');
  const short = new Map<string, BenchResult['samples'][number][]>();
  const all = new Map<string, number>();
  for (const sample of samples) {
    all.set(key(sample), (all.get(key(sample)) ?? 0) + 1);
    if (sample.short !== undefined) short.set(key(sample), [...(short.get(key(sample)) ?? []), sample]);
  }
  return [...short].flatMap(([at, rounds]): Short[] => {
    const [first] = rounds;
    if (!first) return [];
    const { placement, workload, point, variant, perSecondWanted, short: why = '' } = first;
    const reached = rounds.flatMap(({ values }) => values['perSecond'] ?? []);
    return [
      {
        placement,
        workload,
        point,
        variant,
        ...(perSecondWanted === undefined ? {} : { perSecondWanted }),
        ...(reached.length > 0 ? { perSecond: median(reached) } : {}),
        rounds: rounds.length,
        roundsAll: all.get(at) ?? rounds.length,
        why,
      },
    ];
  });
}

export type Cell = Pick<Figure, 'placement' | 'workload' | 'point' | 'metric' | 'variant'>;

const keyOf = ({ placement, workload, point, metric, variant }: Cell): string =>
  [placement, workload, point, metric, variant].join('\n');

/** Returns a function that finds figures. */
export function finderOf(figures: readonly Figure[]): (cell: Cell) => Figure | undefined {
  const byKey = new Map(figures.map((figure) => [keyOf(figure), figure]));
  return (cell) => byKey.get(keyOf(cell));
}

/** Variants with their own column. The second measurement of no mesh is shown as the noise. */
export const shown = ({ variants }: Pick<BenchResult, 'variants'>): Variant[] =>
  variants.filter(({ kind }) => kind !== 'noise');

export const titleOf = (
  of: readonly { readonly name: string; readonly title: string }[],
  name: string,
): string => of.find((one) => one.name === name)?.title ?? name;

/** `4 streams`, `50 %, 10000/s`. Empty if the workload has one point. */
export function pointTitle(
  { point, perSecond }: Pick<Point, 'point' | 'perSecond'>,
  workload: Workload,
): string {
  if (point === '') return '';
  const named =
    /^[\d .,]+$/.test(point) && workload.pointTitle !== '' ? `${point} ${workload.pointTitle}` : point;
  return perSecond === undefined ? named : `${named}, ${Math.round(perSecond)}/s`;
}

export interface Unit {
  readonly unit: string;
  readonly times: number;
}

/** A readable unit for values of this size. */
export function unitFor(unit: string, value: number): Unit {
  if (unit === 'us' && value >= 10_000) return { unit: 'ms', times: 1e-3 };
  if (unit === 'ms' && value >= 10_000) return { unit: 's', times: 1e-3 };
  return { unit, times: 1 };
}

/** `+3 %`, `-12 %`, from a ratio. */
export function percentOf(ratio: number): string {
  const percent = (ratio - 1) * 100;
  const digits = Math.abs(percent) < 10 ? 1 : 0;
  return `${percent >= 0 ? '+' : ''}${percent.toFixed(digits)} %`;
}

/** Text from a file as one line, without characters that move a terminal's cursor or hide text. */
export const plain = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+/g, ' ').trim();
