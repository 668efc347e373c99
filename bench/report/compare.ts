/** Two results side by side: what got slower, what got faster, and what cannot be told. Pure. */
import { table } from '../harness/report.js';
import { median } from '../harness/statistics.js';
import { noiseFactor } from '../result/figures.js';
import { metrics, type BenchResult, type Figure } from '../result/result.js';

export interface CompareOptions {
  /** A change of at least this share counts: 0.1 is 10 %. */
  readonly threshold: number;
}

export type Verdict = 'slower' | 'faster' | 'same' | 'too few rounds';

export interface Change {
  readonly placement: string;
  readonly workload: string;
  readonly point: string;
  readonly metric: string;
  readonly variant: string;
  /** What is compared: ratios to no mesh of the same round, or the values where no mesh has no such metric. */
  readonly of: 'ratio' | 'value';
  readonly before: number;
  readonly after: number;
  /** after / before, above 1 where it got worse, whichever way the metric goes. */
  readonly worse: number;
  /** Of the permutation test. */
  readonly p: number;
  readonly verdict: Verdict;
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** What is in one of them alone. */
  readonly alone: readonly string[];
  /** Of machine, settings and versions. */
  readonly differences: readonly string[];
  readonly slower: boolean;
}

/** What comes out by chance less often than this is no chance. */
const significance = 0.05;
const permutationsMax = 200_000;
/** Tails of tails and what applications spend are too noisy to be judged by, and are in the files for who wants them. */
const notJudged = new Set([
  'p90',
  'p999',
  'applicationUs',
  'kernelUs',
  'applicationSecondsPerGb',
  'kernelSecondsPerGb',
]);

const keyOf = ({ placement, workload, point, metric, variant }: Figure): string =>
  [placement, workload, point, metric, variant].join('\n');

/** Per round: the metric divided by no mesh's of the same round, or itself where no mesh has none. */
function seriesOf(result: BenchResult, figure: Figure, of: Change['of']): number[] {
  const none = result.variants.find(({ kind }) => kind === 'none')?.name;
  const values = (variant: string | undefined): Map<number, number> =>
    new Map(
      result.samples.flatMap((sample) => {
        const value = sample.values[figure.metric];
        return sample.variant === variant &&
          sample.placement === figure.placement &&
          sample.workload === figure.workload &&
          sample.point === figure.point &&
          value !== undefined &&
          value > 0
          ? [[sample.round, value] as const]
          : [];
      }),
    );
  const own = values(figure.variant);
  if (of === 'value') return [...own.values()];
  const base = values(none);
  return [...own].flatMap(([round, value]) => {
    const below = base.get(round);
    return below === undefined ? [] : [value / below];
  });
}

const choose = (n: number, k: number): number => {
  let all = 1;
  for (let i = 1; i <= k; i++) all = (all * (n - k + i)) / i;
  return Math.round(all);
};

/**
 * Two-sided permutation test of the difference of means: the share of all ways to deal the values out to two groups of
 * these sizes that lie at least as far apart. Exact up to 200 000 ways; beyond that as many of them, evenly spread.
 */
export function permutationP(a: readonly number[], b: readonly number[]): number {
  const all = [...a, ...b];
  const total = all.reduce((sum, value) => sum + value, 0);
  const apart = (sum: number): number => Math.abs(sum / a.length - (total - sum) / b.length);
  const seen = apart(a.reduce((sum, value) => sum + value, 0)) * (1 - 1e-9);
  let far = 0;
  let count = 0;
  if (choose(all.length, a.length) <= permutationsMax) {
    const deal = (from: number, left: number, sum: number): void => {
      if (left === 0) {
        count++;
        if (apart(sum) >= seen) far++;
        return;
      }
      for (let at = from; at <= all.length - left; at++) deal(at + 1, left - 1, sum + (all[at] as number));
    };
    deal(0, a.length, 0);
    return far / count;
  }
  // A fixed sequence: the same files give the same answer.
  let state = 1;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const pool = [...all];
  for (count = 0; count < permutationsMax / 10; count++) {
    let sum = 0;
    for (let at = 0; at < a.length; at++) {
      const other = at + below(pool.length - at);
      [pool[at], pool[other]] = [pool[other] as number, pool[at] as number];
      sum += pool[at] as number;
    }
    if (apart(sum) >= seen) far++;
  }
  return (far + 1) / (count + 1);
}

function verdictOf(
  worse: number,
  p: number,
  rounds: readonly [number, number],
  floor: number,
  { threshold }: CompareOptions,
): Verdict {
  const size = Math.max(worse, 1 / worse);
  if (size < 1 + threshold || size <= floor) return 'same';
  // Even groups that do not touch could be chance.
  if (2 / choose(rounds[0] + rounds[1], rounds[0]) > significance) return 'too few rounds';
  if (p > significance) return 'same';
  return worse > 1 ? 'slower' : 'faster';
}

const differing = (
  what: string,
  a: Readonly<Record<string, unknown>>,
  b: Readonly<Record<string, unknown>>,
): string[] =>
  [...new Set([...Object.keys(a), ...Object.keys(b)])]
    .filter((key) => a[key] !== b[key])
    .map((key) => `${what}: ${key} ${String(a[key] ?? 'none')}, then ${String(b[key] ?? 'none')}`);

/**
 * Each figure of a variant in both files is compared by its ratios to no mesh, paired within the rounds of its own file, so that a
 * machine that was slower as a whole changes nothing. A change counts where all of this holds: the medians are apart by
 * the threshold; by more than both files' own noise; and a permutation test of the logarithms says that chance does it
 * in less than 5 of 100 cases. Hundreds of figures are compared: the test alone would find some by chance, all three
 * together hardly do (compare.test.ts counts how often).
 */
export function compareResults(a: BenchResult, b: BenchResult, options: CompareOptions): Comparison {
  const baseline = new Set(
    [...a.variants, ...b.variants]
      .filter(({ kind }) => kind === 'none' || kind === 'noise')
      .map(({ name }) => name),
  );
  const judged = ({ figures }: BenchResult): Map<string, Figure> =>
    new Map(
      figures
        .filter(({ variant, metric }) => !baseline.has(variant) && !notJudged.has(metric) && metrics[metric])
        .map((figure) => [keyOf(figure), figure]),
    );
  const before = judged(a);
  const after = judged(b);
  const changes: Change[] = [];
  for (const [key, was] of before) {
    const is = after.get(key);
    if (!is) continue;
    const of = was.ratio && is.ratio ? 'ratio' : 'value';
    const [x, y] = [seriesOf(a, was, of), seriesOf(b, is, of)];
    if (x.length === 0 || y.length === 0) continue;
    const [from, to] = [median(x), median(y)];
    const worse = metrics[was.metric]?.better === 'higher' ? from / to : to / from;
    const p = permutationP(x.map(Math.log), y.map(Math.log));
    const floor = of === 'ratio' ? Math.max(noiseFactor(was.noise), noiseFactor(is.noise)) : 1;
    const { placement, workload, point, metric, variant } = was;
    changes.push({
      ...{ placement, workload, point, metric, variant, of, before: from, after: to, worse, p },
      verdict: verdictOf(worse, p, [x.length, y.length], floor, options),
    });
  }
  const name = (figure: Figure): string => keyOf(figure).split('\n').filter(Boolean).join(' ');
  return {
    changes,
    alone: [
      ...[...before].filter(([key]) => !after.has(key)).map(([, figure]) => `the first: ${name(figure)}`),
      ...[...after].filter(([key]) => !before.has(key)).map(([, figure]) => `the second: ${name(figure)}`),
    ],
    differences: [
      ...differing('machine', a.machine, b.machine),
      ...differing('settings', a.settings, b.settings),
      ...differing('versions', a.versions, b.versions),
    ],
    slower: changes.some(({ verdict }) => verdict === 'slower'),
  };
}

const three = (value: number): string => Number(value.toPrecision(3)).toString();
const aloneShown = 10;

export function printComparison(
  { changes, alone, differences }: Comparison,
  { threshold }: CompareOptions,
): string {
  const of = (verdict: Verdict): Change[] =>
    changes
      .filter((change) => change.verdict === verdict)
      .sort((x, y) => Math.abs(Math.log(y.worse)) - Math.abs(Math.log(x.worse)));
  const rows = (list: readonly Change[]): string =>
    table(
      ['', 'metric', 'before', 'after', 'change', 'p'],
      list.map((change) => {
        const unit = change.of === 'ratio' ? 'x' : (metrics[change.metric]?.unit ?? '');
        return [
          [change.placement, change.variant, change.workload, change.point].filter(Boolean).join(' '),
          metrics[change.metric]?.title ?? change.metric,
          `${three(change.before)} ${unit}`,
          `${three(change.after)} ${unit}`,
          `${change.after >= change.before ? '+' : ''}${((change.after / change.before - 1) * 100).toFixed(1)} %`,
          change.p.toFixed(3),
        ];
      }),
    );
  const part = (title: string, verdict: Verdict): string[] => {
    const list = of(verdict);
    return list.length === 0 ? [] : ['', `${title} (${list.length})`, rows(list)];
  };
  return [
    ...(differences.length > 0 ? ['Not the same in both:', ...differences.map((one) => `- ${one}`), ''] : []),
    `${changes.length} figures compared, by their ratios to no mesh where there are any; what changed by less than ${three(threshold * 100)} % or than the noise is the same.`,
    ...part('Got worse', 'slower'),
    ...part('Got better', 'faster'),
    ...part('Changed, but too few rounds to tell it from chance', 'too few rounds'),
    '',
    `The same: ${of('same').length}`,
    ...(alone.length > 0
      ? [
          `In one of them alone: ${alone.length}`,
          ...alone.slice(0, aloneShown).map((one) => `- ${one}`),
          ...(alone.length > aloneShown ? [`- and ${alone.length - aloneShown} more`] : []),
        ]
      : []),
  ].join('\n');
}
