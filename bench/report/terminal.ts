/** A result as text for a terminal. */
import { figure as digits } from '../harness/report.js';
import type { Spread } from '../harness/statistics.js';
import { noiseFactor } from '../result/figures.js';
import { metrics, type BenchResult, type Figure, type Placement, type Workload } from '../result/result.js';
import {
  finderOf,
  headlinePoints,
  isCost,
  latencies,
  placementsOf,
  placementTitles,
  plain,
  pointsOf,
  pointTitle,
  shortsOf,
  shown,
  titleOf,
  unitFor,
  type Point,
  type Unit,
} from './view.js';

export interface PrintOptions {
  /** Show every point and metric, with spread, noise and rounds. */
  readonly all?: boolean;
  /** Width of the terminal. */
  readonly width?: number;
}

const narrowest = 60;
const widest = 400;
const headWidth = 12;

/** Breaks text into lines of at most `width`, indented from the second on. A longer word gets its own line. */
export function wrapped(text: string, width: number, indent = ''): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of plain(text).split(/ +/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = indent + word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return line === '' ? lines : [...lines, line];
}

/** Formats columns with minimum widths and wrapped heads. The first column is aligned left, the others right. */
export function columns(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const heads = head.map((title) => wrapped(title, headWidth));
  const height = Math.max(1, ...heads.map((lines) => lines.length));
  const above = Array.from({ length: height }, (_, at) =>
    heads.map((lines) => lines[at - (height - lines.length)] ?? ''),
  );
  const widths = head.map((_, at) =>
    Math.max(...[...above, ...rows.filter((row) => row.length > 1)].map((row) => row[at]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    // A row of one cell is a title and may be wider.
    row.length === 1
      ? (row[0] ?? '')
      : widths
          .map((width, at) => (at === 0 ? (row[at] ?? '').padEnd(width) : (row[at] ?? '').padStart(width)))
          .join('  ')
          .trimEnd();
  return [...above.map(line), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)];
}

/** As `columns`. If that is wider than the terminal: several tables that begin with the same `fixed` columns. */
function fitted(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  fixed: number,
  width: number,
): string[] {
  const pick = (count: number, from: number): string[] => {
    const of = (row: readonly string[]): readonly string[] =>
      row.length === 1 ? row : [...row.slice(0, fixed), ...row.slice(from, from + count)];
    return columns(of(head), rows.map(of));
  };
  const lines: string[] = [];
  // The last column (noise, rounds) does not get a table of its own.
  for (let from = fixed; from < head.length;) {
    let count = head.length - from;
    while (count > 1 && pick(count, from).some((line) => line.length > width)) count--;
    if (count > 1 && from + count === head.length - 1) count--;
    lines.push(...(lines.length > 0 ? [''] : []), ...pick(count, from));
    from += count;
  }
  return lines;
}

/** `+-3.1 %`: the noise floor. */
export const noiseText = (noise: Spread | undefined): string =>
  !noise
    ? ''
    : Number.isFinite(noiseFactor(noise))
      ? `+-${((noiseFactor(noise) - 1) * 100).toFixed(1)} %`
      : 'no bound';

const marks: Readonly<Record<Figure['difference'], string>> = { none: '=', better: '+', worse: '-' };

/** `198 3.07x -`. A difference within the noise is `=`. */
export function cellText(found: Figure | undefined, times: number): string {
  if (!found) return '';
  const value = digits(found.values.median * times);
  if (!found.ratio) return value;
  return found.difference === 'none'
    ? `${value} =`
    : `${value} ${digits(found.ratio.median)}x ${marks[found.difference]}`;
}

/** Short titles for rows. */
const rowTitles: Readonly<Record<string, readonly [title: string, unit: string]>> = {
  proxyUs: ['CPU, proxies', 'us/req'],
  applicationUs: ['CPU, applications', 'us/req'],
  kernelUs: ['CPU, kernel', 'us/req'],
  proxySecondsPerGb: ['CPU, proxies', 's/GB'],
  applicationSecondsPerGb: ['CPU, applications', 's/GB'],
  kernelSecondsPerGb: ['CPU, kernel', 's/GB'],
  megabytesPerPod: ['memory per pod', 'MB'],
  kilobytesPerConnection: ['memory per connection', 'KB'],
  startMs: ['until a pod serves', 'ms'],
  enrolMs: ['until all are in', 'ms'],
};
const shortTitle = (metric: string): string =>
  rowTitles[metric]?.[0] ?? (metrics[metric]?.title ?? metric).replace(/^latency /, '');
const unitOf = (metric: string, value: number): Unit =>
  rowTitles[metric] && metrics[metric]?.unit !== 'ms'
    ? { unit: rowTitles[metric][1], times: 1 }
    : unitFor(metrics[metric]?.unit ?? '', value);

const labelWidth = 44;
const cropped = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length - 2)}..` : text;

const rowTitle = (point: Pick<Point, 'point' | 'perSecond'>, workload: Workload, metric: string): string =>
  cropped(
    plain([pointTitle(point, workload), shortTitle(metric)].filter((one) => one !== '').join(' ')),
    labelWidth,
  );

interface Row {
  readonly workload: Workload;
  readonly point: Point;
  readonly metric: string;
}

/** Rows of a workload at its headline points: its main metrics, or its costs. */
function rowsOf(result: BenchResult, placement: Placement, ofCosts: boolean): Row[] {
  const has = new Set(
    result.figures
      .filter((one) => one.placement === placement)
      .map(({ workload, point, metric }) => [workload, point, metric].join('\n')),
  );
  return result.workloads.flatMap((workload) => {
    const points = headlinePoints(result, placement, workload);
    // For a scale, costs are shown only at its last point.
    return (ofCosts && workload.kind === 'scale' ? points.slice(-1) : points).flatMap((point) =>
      Object.keys(metrics)
        .filter((metric) => {
          if (!has.has([workload.name, point.point, metric].join('\n'))) return false;
          if ((workload.kind === 'cost' || isCost(metric)) !== ofCosts) return false;
          // With a requested rate, the reached rate says nothing.
          if (metric === 'perSecond' && point.perSecond !== undefined) return false;
          return metric !== 'p90' && metric !== 'p999';
        })
        .map((metric) => ({ workload, point, metric })),
    );
  });
}

function tableOf(result: BenchResult, placement: Placement, rows: readonly Row[], width: number): string[] {
  const find = finderOf(result.figures);
  const seen = new Set(
    result.samples.filter((one) => one.placement === placement).map(({ variant }) => variant),
  );
  const variants = shown(result).filter(({ name }) => seen.has(name));
  const lines = rows.flatMap(({ workload, point, metric }, at) => {
    const cell = { placement, workload: workload.name, point: point.point, metric };
    const found = variants.map(({ name }) => find({ ...cell, variant: name }));
    const largest = Math.max(...found.map((one) => one?.values.median ?? 0));
    const { unit, times } = unitOf(metric, largest);
    const title = rows[at - 1]?.workload === workload ? [] : [[cropped(plain(workload.title), width)]];
    return [
      ...title,
      [
        `  ${rowTitle(point, workload, metric)}`,
        unit,
        ...found.map((one, of) => {
          // Also if other rounds reached the rate: those alone would look too good.
          const short = point.short.has(variants[of]?.name ?? '');
          return short && (!one || latencies.includes(metric)) ? 'short' : cellText(one, times);
        }),
        noiseText(found.find((one) => one?.noise)?.noise),
      ],
    ];
  });
  const head = ['', 'unit', ...variants.map(({ title }) => title), 'noise'];
  return fitted(head, lines, 2, width);
}

const span = (of: Spread | undefined, times = 1): string =>
  of ? `${digits(of.min * times)}..${digits(of.max * times)}` : '';

function everything(result: BenchResult, placement: Placement, width: number): string[] {
  return result.workloads.flatMap((workload) => {
    const points = pointsOf(result, placement, workload.name);
    const rows = points.flatMap((point) => {
      const here = result.figures.filter(
        (one) =>
          one.placement === placement &&
          one.workload === workload.name &&
          one.point === point.point &&
          shown(result).some(({ name }) => name === one.variant),
      );
      const title = pointTitle(point, workload);
      return [
        ...(title === '' || here.length === 0 ? [] : [[title]]),
        ...here.map((one) => {
          const { unit, times } = unitOf(one.metric, one.values.median);
          return [
            `  ${cropped(shortTitle(one.metric), labelWidth)}`,
            cropped(plain(titleOf(result.variants, one.variant)), labelWidth / 2),
            unit,
            digits(one.values.median * times),
            span(one.values, times),
            one.ratio ? `${digits(one.ratio.median)}x ${marks[one.difference]}` : '',
            span(one.ratio),
            span(one.noise),
            String(one.rounds),
          ];
        }),
      ];
    });
    if (rows.length === 0) return [];
    const head = [
      '',
      'variant',
      'unit',
      'median',
      'over rounds',
      'to no mesh',
      'over rounds',
      'noise',
      'rounds',
    ];
    return [
      `${placementTitles[placement]}: ${plain(workload.title)}`,
      '',
      ...fitted(head, rows, 2, width),
      '',
    ];
  });
}

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : [title, ...lines, ''];

/** The result as text. Lines are at most as wide as the terminal, except for longer words. */
export function printResult(result: BenchResult, options: PrintOptions = {}): string {
  const width = Math.min(widest, Math.max(narrowest, options.width ?? 120));
  const item = (text: string): string[] => wrapped(`- ${text}`, width, '  ');
  const placements = placementsOf(result);
  const variant = (name: string): string => titleOf(result.variants, name);
  const workload = (name: string): string => titleOf(result.workloads, name);
  const rounds = new Set(result.samples.map(({ round }) => round)).size;
  const minutes = (Date.parse(result.endedAt) - Date.parse(result.startedAt)) / 60_000;
  return [
    ...wrapped(
      `${rounds} ${rounds === 1 ? 'round' : 'rounds'} in ${digits(minutes)} minutes from ${result.startedAt}${result.interrupted ? ', interrupted: what was measured until then' : ''}. Medians over rounds; ratios to no mesh are taken within a round.`,
      width,
    ),
    ...wrapped(
      '+ better and - worse than no mesh by more than the noise, = no difference beyond it; noise: no mesh to no mesh.',
      width,
    ),
    ...(rounds === 1
      ? wrapped('One round has no spread, and its noise is one ratio: a look, no result.', width)
      : []),
    '',
    ...placements.flatMap((placement) => {
      const compared = rowsOf(result, placement, false);
      const spent = rowsOf(result, placement, true);
      return [
        ...section(
          placementTitles[placement],
          compared.length > 0 ? tableOf(result, placement, compared, width) : [],
        ),
        ...section(
          `${placementTitles[placement]}: what it costs`,
          spent.length > 0 ? tableOf(result, placement, spent, width) : [],
        ),
      ];
    }),
    ...(placements.length === 0 ? ['Nothing was measured.', ''] : []),
    ...(options.all ? placements.flatMap((placement) => everything(result, placement, width)) : []),
    ...section(
      'Goals',
      result.goals.flatMap(({ what, wanted, found, state, unit, from }) =>
        item(
          `${state}: ${what}, wanted ${wanted}${found ? `, found ${digits(found.median)} ${unit} (${span(found)})` : ''} [${from}]`,
        ),
      ),
    ),
    ...section(
      'The rate was not reached (no latency is given for it)',
      shortsOf(result).flatMap((one) =>
        item(
          `${placementTitles[one.placement]}, ${workload(one.workload)} ${one.point}, ${variant(one.variant)}: ` +
            `${one.perSecond === undefined ? '?' : Math.round(one.perSecond)} of ${one.perSecondWanted === undefined ? '?' : Math.round(one.perSecondWanted)} a second in ${one.rounds} of ${one.roundsAll} rounds: ${one.why}`,
        ),
      ),
    ),
    ...section(
      'Failed',
      result.failures.flatMap((one) =>
        item(
          `round ${one.round + 1}, ${placementTitles[one.placement]}, ${workload(one.workload)} ${one.point}, ${variant(one.variant)}: ${one.why}`,
        ),
      ),
    ),
    ...section(
      'Not measured',
      result.missing.flatMap(({ what, why }) => item(`${what}: ${why}`)),
    ),
    ...section(
      'What the proxies counted',
      result.evidence.flatMap((one) => item(`${variant(one.variant)}: ${one.what} ${one.value}`)),
    ),
    ...section(
      'Load generators, with nothing between',
      result.generators.flatMap(({ name, version, baseline }) =>
        item(
          `${name} ${version}: ${Object.entries(baseline)
            .map(([metric, value]) => `${shortTitle(metric)} ${digits(value)} ${metrics[metric]?.unit ?? ''}`)
            .join(', ')}`,
        ),
      ),
    ),
  ]
    .join('\n')
    .trimEnd();
}
