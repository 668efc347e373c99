/** Compares two results: what got slower, what got faster, and what cannot be decided. Pure. */
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
  /** Whether ratios to no mesh are compared, or values, because no mesh has no such metric. */
  readonly of: 'ratio' | 'value';
  readonly before: number;
  readonly after: number;
  /** after / before, or its inverse if higher is better: above 1 means worse. */
  readonly worse: number;
  /** Probability that chance alone makes any figure differ as much as this one. */
  readonly p: number;
  readonly verdict: Verdict;
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** Figures that only one of the results has. */
  readonly alone: readonly string[];
  /** Differences of machine, settings and versions. */
  readonly differences: readonly string[];
  readonly slower: boolean;
}

/** A change with a smaller `p` counts as more than chance. */
const significance = 0.05;
const dealsMax = 1_000;
/** These metrics are too noisy to compare. The files contain them. */
const notCompared = new Set([
  'p90',
  'p999',
  'applicationUs',
  'kernelUs',
  'applicationSecondsPerGb',
  'kernelSecondsPerGb',
]);

const keyOf = ({ placement, workload, point, metric, variant }: Figure): string =>
  [placement, workload, point, metric, variant].join('\n');

/** The metric of each round: its ratio to no mesh of the same round, or the value itself if no mesh has no such metric. */
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

/** Ways to choose `size` of `all` places: each way once, or `dealsMax` pseudorandom ones if there are more. */
function dealsOf(all: number, size: number): Uint8Array[] {
  const deals: Uint8Array[] = [];
  if (choose(all, size) <= dealsMax) {
    const deal = (from: number, left: number, taken: Uint8Array): void => {
      if (left === 0) deals.push(taken.slice());
      for (let at = from; left > 0 && at <= all - left; at++) {
        taken[at] = 1;
        deal(at + 1, left - 1, taken);
        taken[at] = 0;
      }
    };
    deal(0, size, new Uint8Array(all));
    return deals;
  }
  // A fixed seed: the same files give the same result. The high bits of this generator are the best ones.
  let state = 1;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const places = Array.from({ length: all }, (_, at) => at);
  // The measured assignment is one of them.
  deals.push(Uint8Array.from(places, (at) => (at < size ? 1 : 0)));
  while (deals.length < dealsMax) {
    const taken = new Uint8Array(all);
    for (let at = 0; at < size; at++) {
      const other = at + below(all - at);
      [places[at], places[other]] = [places[other] as number, places[at] as number];
      taken[places[at] as number] = 1;
    }
    deals.push(taken);
  }
  return deals;
}

interface Pair {
  readonly a: readonly number[];
  readonly b: readonly number[];
}

/** Difference of the means, and the standard error of that difference. */
function apart(values: readonly number[], taken: Uint8Array): readonly [number, number] {
  const sums = [0, 0];
  const squares = [0, 0];
  const counts = [0, 0];
  values.forEach((value, at) => {
    const group = taken[at] as 0 | 1;
    sums[group] = (sums[group] as number) + value;
    squares[group] = (squares[group] as number) + value * value;
    counts[group] = (counts[group] as number) + 1;
  });
  const [n = 1, m = 1] = counts;
  const [x = 0, y = 0] = sums;
  const within = (squares[0] as number) - (x * x) / n + (squares[1] as number) - (y * y) / m;
  const variance = Math.max(0, within) / Math.max(1, n + m - 2);
  return [Math.abs(x / n - y / m), Math.sqrt(variance * (1 / n + 1 / m))];
}

/**
 * For each pair of series, the probability that any pair would be as far apart if there were no difference at all: the
 * permutation test of the largest statistic (Westfall and Young 1993). It assigns rounds to the two files in all ways, in the same
 * way for all pairs. The statistic is t with the median standard error added to each error, so that a series that happens to vary
 * little does not decide. All `a` must have the same length, and so must all `b`.
 */
export function familyP(pairs: readonly Pair[]): number[] {
  const [first] = pairs;
  if (!first) return [];
  const deals = dealsOf(first.a.length + first.b.length, first.a.length);
  const values = pairs.map(({ a, b }) => [...a, ...b]);
  const seenDeal = Uint8Array.from(values[0] as number[], (_, at) => (at < first.a.length ? 1 : 0));
  const seen = values.map((series) => apart(series, seenDeal));
  const still = median(seen.map(([, error]) => error)) || Number.MIN_VALUE;
  const statistics = seen.map(([distance, error]) => distance / (error + still));
  const largest = deals.map((deal) =>
    values.reduce((most, series) => {
      const [distance, error] = apart(series, deal);
      return Math.max(most, distance / (error + still));
    }, 0),
  );
  return statistics.map(
    (statistic) => largest.filter((one) => one >= statistic * (1 - 1e-9)).length / largest.length,
  );
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
  // With so few rounds, even groups that do not overlap could be chance.
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
 * Compares each figure that both files have by its ratios to no mesh. The ratios are taken within the rounds of one file, so a
 * machine that is slower as a whole changes nothing. A change counts if all of this holds: the medians differ by the threshold; they
 * differ by more than the noise of both files; and in a permutation test of the logarithms over all figures at once (familyP),
 * chance makes any figure differ as much in less than 5 of 100 comparisons.
 */
export function compareResults(a: BenchResult, b: BenchResult, options: CompareOptions): Comparison {
  const baseline = new Set(
    [...a.variants, ...b.variants]
      .filter(({ kind }) => kind === 'none' || kind === 'noise')
      .map(({ name }) => name),
  );
  const comparedFigures = ({ figures }: BenchResult): Map<string, Figure> =>
    new Map(
      figures
        .filter(
          ({ variant, metric }) => !baseline.has(variant) && !notCompared.has(metric) && metrics[metric],
        )
        .map((figure) => [keyOf(figure), figure]),
    );
  const before = comparedFigures(a);
  const after = comparedFigures(b);
  const compared = [...before].flatMap(([key, was]) => {
    const is = after.get(key);
    if (!is) return [];
    const of: Change['of'] = was.ratio && is.ratio ? 'ratio' : 'value';
    const pair = { a: seriesOf(a, was, of), b: seriesOf(b, is, of) };
    return pair.a.length === 0 || pair.b.length === 0 ? [] : [{ was, is, of, pair }];
  });
  // The permutation test covers figures with the same numbers of rounds together.
  const groups = new Map<string, typeof compared>();
  for (const one of compared) {
    const key = `${one.pair.a.length} ${one.pair.b.length}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const chances = new Map<Figure, number>();
  for (const group of groups.values()) {
    const logs = group.map(({ pair }) => ({ a: pair.a.map(Math.log), b: pair.b.map(Math.log) }));
    familyP(logs).forEach((p, at) => chances.set((group[at] as (typeof group)[number]).was, p));
  }
  const changes = compared.map(({ was, is, of, pair }): Change => {
    const [from, to] = [median(pair.a), median(pair.b)];
    const worse = metrics[was.metric]?.better === 'higher' ? from / to : to / from;
    const p = chances.get(was) ?? 1;
    const floor = of === 'ratio' ? Math.max(noiseFactor(was.noise), noiseFactor(is.noise)) : 1;
    const { placement, workload, point, metric, variant } = was;
    return {
      ...{ placement, workload, point, metric, variant, of, before: from, after: to, worse, p },
      verdict: verdictOf(worse, p, [pair.a.length, pair.b.length], floor, options),
    };
  });
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
