/** Chooses the plots of a result and their contents: values, spreads, noise, texts. Pure. draw.ts draws them, plot-files.ts names the files. */
import { spreadOf, type Spread } from '../harness/statistics.js';
import { noiseFactor } from '../result/figures.js';
import { metrics, type BenchResult, type Figure, type Placement, type Workload } from '../result/result.js';
import type { Dot, Plot, Series } from './plot.js';
import {
  cpuPerGb,
  cpuPerRequest,
  finderOf,
  headlinePoints,
  isCost,
  latencies,
  placementsOf,
  placementTitles,
  pointsOf,
  pointTitle,
  shown,
  titleOf,
  type Cell,
  type Point,
} from './view.js';

const noiseBand = (none: number, noise: Spread): { from: number; to: number } => ({
  from: none / noiseFactor(noise),
  to: none * noiseFactor(noise),
});

/** If one of the two measurements was 0, there is no floor to draw. */
const isBounded = ({ from, to }: Plot['noise'][number]): boolean =>
  Number.isFinite(from) && Number.isFinite(to);

const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 40);

interface Column {
  readonly at: number;
  readonly cell: Omit<Cell, 'variant'>;
  /** Variants without a value there. */
  readonly short?: ReadonlySet<string>;
}

type Find = (cell: Cell) => Figure | undefined;

/** The figures of these columns by variant, and the noise. Variants without figures are left out. */
function seriesOf(
  result: BenchResult,
  find: Find,
  columns: readonly Column[],
): { readonly series: Series[]; readonly noise: Plot['noise'] } {
  const series = shown(result).flatMap(({ name, title }): Series[] => {
    const dots = columns.flatMap(({ at, cell, short }): Dot[] => {
      const found = short?.has(name) ? undefined : find({ ...cell, variant: name });
      if (!found) return [];
      const { values, ratio, rounds } = found;
      return [{ at, value: values, ...(ratio ? { ratio } : {}), rounds }];
    });
    const missed = columns.flatMap(({ at, short }) => (short?.has(name) ? [at] : []));
    return dots.length + missed.length === 0 ? [] : [{ variant: name, title, dots, short: missed }];
  });
  const none = result.variants.find(({ kind }) => kind === 'none')?.name ?? '';
  const noise = columns.flatMap(({ at, cell }) => {
    const found = find({ ...cell, variant: none });
    return found?.noise ? [{ at, ...noiseBand(found.values.median, found.noise) }] : [];
  });
  return { series, noise: noise.filter(isBounded) };
}

const hasDots = ({ series }: Plot): boolean => series.some(({ dots }) => dots.length > 0);

/** Texts that explain the crosses in these columns. */
function missedRateNotes(result: BenchResult, columns: readonly Column[]): string[] {
  const crossed = columns.filter(({ short }) => short && short.size > 0).map(({ cell }) => cell);
  const noted = result.workloads.flatMap((workload) =>
    placementsOf(result).flatMap((placement) =>
      pointsOf(result, placement, workload.name)
        .filter(({ point }) =>
          crossed.some(
            (one) => one.placement === placement && one.workload === workload.name && one.point === point,
          ),
        )
        .map((point) => ({ placement, workload, point })),
    ),
  );
  return noted.flatMap(({ placement, workload, point }) =>
    [...point.short].map((name) => {
      const of = result.samples.filter(
        (one) =>
          one.placement === placement &&
          one.workload === workload.name &&
          one.point === point.point &&
          one.variant === name,
      );
      const short = of.filter((one) => one.short !== undefined);
      const reached = spreadOf(short.flatMap(({ values }) => values['perSecond'] ?? []));
      return (
        `${titleOf(result.variants, name)} at ${pointTitle(point, workload) || 'this load'}: not reached in ` +
        `${short.length} of ${of.length} rounds${reached ? ` (${Math.round(reached.median)}/s came through)` : ''}, ` +
        `so there is no latency at that rate: ${short[0]?.short ?? ''}`
      );
    }),
  );
}

const columnsOver = (
  placement: Placement,
  workload: Workload,
  points: readonly Point[],
  metric: string,
  atOf: (point: Point, at: number) => number,
): Column[] =>
  points.map((point, at) => ({
    at: atOf(point, at),
    cell: { placement, workload: workload.name, point: point.point, metric },
    ...(latencies.includes(metric) ? { short: point.short } : {}),
  }));

const asPlaces = (_: unknown, at: number): number => at;
const numeric = (points: readonly Point[]): boolean =>
  points.length > 1 && points.every(({ point }) => /^\d+(\.\d+)?$/.test(point));

function plotsOf(result: BenchResult, placement: Placement, find: Find): Plot[] {
  const plots: Plot[] = [];
  const where = placementTitles[placement];
  const has = (workload: Workload, metric: string): boolean =>
    result.figures.some(
      (one) => one.placement === placement && one.workload === workload.name && one.metric === metric,
    );
  const add = (
    plot: Pick<Plot, 'topic' | 'title' | 'subtitle' | 'shape' | 'x' | 'y'> & Partial<Plot>,
    columns: readonly Column[],
    name: string,
  ): void => {
    plots.push({
      placement,
      name: `${placement}-${slug(name)}`,
      ...seriesOf(result, find, columns),
      notes: missedRateNotes(result, columns),
      ...plot,
    });
  };
  const loads = result.workloads.filter(({ kind }) => kind === 'load');
  const scales = result.workloads.filter(({ kind }) => kind === 'scale');

  plots.push(...overviewOf(result, placement, find));

  for (const workload of loads) {
    const points = pointsOf(result, placement, workload.name).filter(({ perSecond }) => perSecond);
    if (points.length < 2) continue;
    for (const metric of ['p50', 'p99'].filter((one) => has(workload, one))) {
      add(
        {
          topic: 'load',
          title: `${workload.title}: ${metric} over load`,
          subtitle: where,
          shape: 'line',
          x: { title: 'requests per second' },
          y: { title: metrics[metric]?.title ?? metric, unit: 'us', log: true },
        },
        columnsOver(placement, workload, points, metric, ({ perSecond }) => perSecond ?? 0),
        `${workload.name}-${metric}-over-load`,
      );
    }
  }

  for (const workload of loads) {
    const known = latencies.filter((one) => has(workload, one));
    for (const point of headlinePoints(result, placement, workload)) {
      if (known.length === 0) continue;
      add(
        {
          topic: 'latency',
          title: `${workload.title}: latency`,
          subtitle: [where, pointTitle(point, workload)].filter((one) => one !== '').join(', '),
          shape: 'dots',
          x: { title: 'percentile', names: known.map((one) => (one === 'p999' ? 'p99.9' : one)) },
          y: { title: 'latency', unit: 'us', log: true },
        },
        known.map((metric, at) => ({
          at,
          cell: { placement, workload: workload.name, point: point.point, metric },
          short: point.short,
        })),
        `${workload.name}-latency`,
      );
    }
  }
  for (const workload of scales) {
    const points = pointsOf(result, placement, workload.name);
    for (const metric of ['p50', 'p99'].filter((one) => has(workload, one))) {
      add(
        {
          topic: 'latency',
          title: `${workload.title}: ${metric}`,
          subtitle: where,
          shape: 'dots',
          x: { title: workload.pointTitle, names: points.map(({ point }) => point || metric) },
          y: { title: metrics[metric]?.title ?? metric, unit: 'us', log: true },
        },
        columnsOver(placement, workload, points, metric, asPlaces),
        `${workload.name}-${metric}`,
      );
    }
  }

  for (const workload of [...loads, ...scales]) {
    // A requested rate says nothing about the maximum.
    const points = pointsOf(result, placement, workload.name).filter(
      ({ perSecond }) => perSecond === undefined,
    );
    for (const metric of ['gbit', 'perSecond'].filter((one) => points.length > 0 && has(workload, one))) {
      add(
        {
          topic: 'throughput',
          title:
            metric === 'gbit' ? `${workload.title}: throughput` : `${workload.title}: how many per second`,
          subtitle: where,
          shape: 'bars',
          x: { title: workload.pointTitle, names: points.map(({ point }) => point) },
          y: { title: metrics[metric]?.title ?? metric, unit: metrics[metric]?.unit ?? '', log: false },
        },
        columnsOver(placement, workload, points, metric, asPlaces),
        `${workload.name}-${metric}`,
      );
    }
  }

  for (const workload of [...loads, ...scales]) {
    for (const [parts, of] of [
      [cpuPerRequest, 'request'],
      [cpuPerGb, 'GB'],
    ] as const) {
      const point = headlinePoints(result, placement, workload).at(-1);
      if (!point || !parts.some((metric) => has(workload, metric))) continue;
      const stack = stackOf(result, placement, workload, point, parts, find);
      plots.push({
        ...stack,
        placement,
        name: `${placement}-${slug(workload.name)}-cpu`,
        topic: 'cpu',
        title: `${workload.title}: CPU per ${of}`,
        subtitle: [where, pointTitle(point, workload)].filter((one) => one !== '').join(', '),
        shape: 'rows',
        x: { title: '' },
        y: { title: `CPU per ${of}`, unit: of === 'GB' ? 's' : 'us', log: false },
        noise: [],
        notes: [],
      });
    }
  }

  const remembered = [...loads, ...scales].flatMap((workload) => {
    const point = headlinePoints(result, placement, workload).at(-1);
    return point && has(workload, 'proxyMegabytes') ? [{ workload, point }] : [];
  });
  if (remembered.length > 0) {
    add(
      {
        topic: 'memory',
        title: 'Memory of proxies',
        subtitle: `${where}, under each load`,
        shape: 'bars',
        x: { title: '', names: remembered.map(({ workload }) => workload.title) },
        y: { title: 'resident memory', unit: 'MB', log: false },
      },
      remembered.map(({ workload, point }, at) => ({
        at,
        cell: { placement, workload: workload.name, point: point.point, metric: 'proxyMegabytes' },
      })),
      'memory',
    );
  }

  for (const workload of result.workloads.filter(({ kind }) => kind === 'cost')) {
    const points = pointsOf(result, placement, workload.name);
    for (const [metric, { title, unit }] of Object.entries(metrics)) {
      if (!has(workload, metric)) continue;
      const overNumbers = numeric(points);
      add(
        {
          topic: 'cost',
          title: workload.title,
          subtitle: `${where}, ${title}`,
          shape: overNumbers ? 'line' : points.length > 1 ? 'bars' : 'rows',
          x: {
            title: workload.pointTitle,
            ...(overNumbers ? {} : { names: points.map(({ point }) => point) }),
          },
          y: { title, unit, log: false },
        },
        columnsOver(placement, workload, points, metric, (one, at) => (overNumbers ? Number(one.point) : at)),
        `${workload.name}-${metric}`,
      );
    }
  }
  return plots.filter(hasDots);
}

/** All ratios to no mesh, inverted where higher is better, so that more is worse. */
function overviewOf(result: BenchResult, placement: Placement, find: Find): Plot[] {
  const rows = result.workloads.flatMap((workload) =>
    headlinePoints(result, placement, workload)
      .slice(workload.kind === 'load' ? 0 : -1)
      .flatMap((point) =>
        Object.entries(metrics).flatMap(([metric, { title, better }]) => {
          const limited = metric === 'perSecond' && point.perSecond !== undefined;
          if (limited || isCost(metric) || metric === 'p90' || metric === 'p999') return [];
          const cell = { placement, workload: workload.name, point: point.point, metric };
          const found = shown(result).flatMap(({ name }) =>
            latencies.includes(metric) && point.short.has(name)
              ? []
              : (find({ ...cell, variant: name }) ?? []),
          );
          const short = title.replace(/^latency /, '');
          return found.some(({ ratio }) => ratio)
            ? [{ name: `${workload.title}, ${short}`, found, inverse: better === 'higher' }]
            : [];
        }),
      ),
  );
  const turned = (of: Spread, inverse: boolean): Spread =>
    inverse ? { median: 1 / of.median, min: 1 / of.max, max: 1 / of.min } : of;
  const series = shown(result)
    .filter(({ kind }) => kind !== 'none')
    .map(({ name, title }): Series => ({
      variant: name,
      title,
      dots: rows.flatMap(({ found, inverse }, at): Dot[] => {
        const one = found.find(({ variant }) => variant === name);
        return one?.ratio && one.ratio.min > 0
          ? [{ at, value: turned(one.ratio, inverse), rounds: one.rounds }]
          : [];
      }),
      short: [],
    }))
    .filter(({ dots }) => dots.length > 0);
  return [
    {
      placement,
      name: `${placement}-overview`,
      topic: 'overview',
      title: `${placementTitles[placement]}: times worse than no mesh`,
      subtitle: 'latency or time times that, rates divided by it; below 1 is better than no mesh',
      shape: 'ratios',
      x: { title: '', names: rows.map(({ name }) => name) },
      y: { title: 'times worse than no mesh', unit: 'x', log: true },
      series,
      noise: rows
        .flatMap(({ found }, at) => {
          const noise = found.find((one) => one.noise)?.noise;
          return noise ? [{ at, ...noiseBand(1, noise) }] : [];
        })
        .filter(isBounded),
      notes: [],
    },
  ];
}

function stackOf(
  result: BenchResult,
  placement: Placement,
  workload: Workload,
  point: Point,
  parts: readonly string[],
  find: Find,
): Pick<Plot, 'series' | 'parts'> {
  const cell = { placement, workload: workload.name, point: point.point };
  const known = shown(result).filter(({ name }) =>
    parts.some((metric) => find({ ...cell, metric, variant: name })),
  );
  const series = known.map(({ name, title }): Series => {
    // Summed within each round: a sum of medians is not the median of the sums.
    const sums = result.samples.flatMap((one) => {
      const at = one.placement === placement && one.workload === workload.name && one.point === point.point;
      const values = parts.flatMap((metric) => one.values[metric] ?? []);
      return at && one.variant === name && values.length > 0 ? [values.reduce((sum, of) => sum + of)] : [];
    });
    const value = spreadOf(sums);
    return { variant: name, title, dots: value ? [{ at: 0, value, rounds: sums.length }] : [], short: [] };
  });
  const titles = ['proxies', 'applications', 'kernel beside them'];
  return {
    series,
    parts: parts.map((metric, at) => ({
      title: titles[at] ?? metric,
      values: known.map(({ name }) => find({ ...cell, metric, variant: name })?.values),
    })),
  };
}

/** All plots that a result has data for. */
export function plotsIn(result: BenchResult): Plot[] {
  const find = finderOf(result.figures);
  return placementsOf(result).flatMap((placement) => plotsOf(result, placement, find));
}
