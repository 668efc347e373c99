/** A result as one HTML file that loads nothing else: text, tables and plots, in the light or dark theme of the reader. */
import { createHash } from 'node:crypto';
import { figure as digits } from '../harness/report.js';
import type { Spread } from '../harness/statistics.js';
import { noiseFactor } from '../result/figures.js';
import { metrics, type BenchResult, type Figure, type Placement } from '../result/result.js';
import { valueText } from './axis.js';
import { drawPlot } from './draw.js';
import type { Plot, Series } from './plot.js';
import { plotsIn } from './plots.js';
import { lookOf, variables } from './theme.js';
import { duration } from './progress.js';
import {
  finderOf,
  headlinePoints,
  latencies,
  placementsOf,
  placementTitles,
  pointTitle,
  shortsOf,
  shown,
  titleOf,
} from './view.js';

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
/** Escapes text, and values of attributes in quotes. */
export const escaped = (text: string): string =>
  text
    // The text can contain neither markup nor characters that change the direction of reading.
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, ' ')
    .replace(/[&<>"']/g, (one) => entities[one] ?? '');

const wideWidth = 620;
const narrowWidth = 380;

/** An SVG of the light theme, with the variables of the page as colors. XML namespaces are removed: HTML does not need them. */
export function inlineSvg(svg: string, title: string, about: string, id: string): string {
  let inside = svg.replace(/ xmlns(?::\w+)?="[^"]*"/g, '');
  for (const { name, light } of variables) inside = inside.replaceAll(`="${light}"`, `="var(--${name})"`);
  return inside.replace(
    /^<svg width="(\d+)" height="(\d+)"[^>]*>/,
    (_, width: string, height: string) =>
      `<svg viewBox="0 0 ${width} ${height}" style="max-width:${width}px" role="img" aria-labelledby="${id}-t ${id}-d"><title id="${id}-t">${escaped(title)}</title><desc id="${id}-d">${escaped(about)}</desc>`,
  );
}

const row = (cells: readonly string[]): string => `<tr>${cells.join('')}</tr>`;
const th = (text: string, scope = 'col'): string => `<th scope="${scope}">${escaped(text)}</th>`;
const td = (text: string, name = ''): string =>
  `<td${name === '' ? '' : ` class="${name}"`}>${escaped(text)}</td>`;
const tableHtml = (head: readonly string[], rows: readonly string[], caption: string): string =>
  `<div class="scroll"><table><caption class="hidden">${escaped(caption)}</caption><thead>${row(head.map((one) => th(one)))}</thead><tbody>${rows.join('')}</tbody></table></div>`;
const listHtml = (items: readonly string[]): string =>
  `<ul>${items.map((one) => `<li>${one}</li>`).join('')}</ul>`;
const withUnit = (value: number, unit: string): string => valueText(Number(value.toPrecision(3)), unit);
const rangeText = (of: Spread, unit: string): string =>
  `${withUnit(of.min, unit)} to ${withUnit(of.max, unit)}`;

const symbolPaths: Readonly<Record<string, string>> = {
  circle: '<circle cx="7" cy="7" r="5"/>',
  ring: '<circle cx="7" cy="7" r="4" fill="none" stroke-width="2.4"/>',
  rect: '<rect x="2.5" y="2.5" width="9" height="9"/>',
  triangle: '<path d="M7 1.5 12.5 11.5H1.5Z"/>',
  diamond: '<path d="M7 1 13 7 7 13 1 7Z"/>',
  down: '<path d="M7 12.5 12.5 2.5H1.5Z"/>',
  cross: '<path d="M2 5H5V2H9V5H12V9H9V12H5V9H2Z"/>',
};
function swatch(result: BenchResult, name: string): string {
  const { color, symbol } = lookOf(result.variants, name, 'light');
  const variable = variables.find(({ light }) => light === color)?.name ?? 'ink';
  return `<svg class="swatch" viewBox="0 0 14 14" aria-hidden="true" fill="var(--${variable})" stroke="var(--${variable})" stroke-width="0">${symbolPaths[symbol] ?? ''}</svg>`;
}

const legend = (result: BenchResult): string =>
  `<dl class="legend">${shown(result)
    .map(
      ({ name, title, about }) =>
        `<div><dt>${swatch(result, name)}${escaped(title)}</dt><dd>${escaped(about)}</dd></div>`,
    )
    .join(
      '',
    )}<div><dt><span class="swatch band"></span>noise</dt><dd>no mesh against no mesh: a difference within it is none</dd></div></dl>`;

/** Metrics that the table at the top leaves out. CPU and the other percentiles have plots of their own. */
const beside: ReadonlySet<string> = new Set([
  'p90',
  'p999',
  ...['proxy', 'application', 'kernel'].flatMap((part) => [`${part}Us`, `${part}SecondsPerGb`]),
]);

function noiseText(noise: Spread | undefined): string {
  if (!noise) return '';
  const factor = noiseFactor(noise);
  return Number.isFinite(factor) ? `±${((factor - 1) * 100).toFixed(1)} %` : 'no bound';
}

function headline(result: BenchResult, placement: Placement): string {
  const find = finderOf(result.figures);
  const seen = new Set(
    result.samples.filter((one) => one.placement === placement).map(({ variant }) => variant),
  );
  const variants = shown(result).filter(({ name }) => seen.has(name));
  const cell = (found: Figure | undefined, unit: string, short: boolean): string => {
    if (short) return td('rate not reached', 'weak');
    if (!found) return td('', 'weak');
    const value = withUnit(found.values.median, unit);
    const spread = ` title="${escaped(`${rangeText(found.values, unit)} over ${found.rounds} rounds${found.ratio ? `; ratio ${digits(found.ratio.min)} to ${digits(found.ratio.max)}` : ''}`)}"`;
    if (!found.ratio) return `<td${spread}>${escaped(value)}</td>`;
    const ratio =
      found.difference === 'none'
        ? '<span class="none">= no mesh</span>'
        : `<span class="${found.difference}">${found.difference === 'better' ? '▲' : '▼'} ${digits(found.ratio.median)}×</span>`;
    return `<td${spread}>${escaped(value)}<br>${ratio}</td>`;
  };
  // Costs other than traffic have plots of their own further down.
  const traffic = result.workloads.filter(({ kind }) => kind !== 'cost');
  const rows = traffic.flatMap((workload) => {
    const points = headlinePoints(result, placement, workload);
    return points.flatMap((point) =>
      Object.entries(metrics).flatMap(([metric, { title, unit }]) => {
        const of = { placement, workload: workload.name, point: point.point, metric };
        const found = variants.map(({ name }) => find({ ...of, variant: name }));
        const limited = metric === 'perSecond' && point.perSecond !== undefined;
        if (limited || beside.has(metric) || found.every((one) => !one)) return [];
        const noise = found.find((one) => one?.noise)?.noise;
        return [
          row([
            `<th scope="row">${escaped(workload.title)} <span class="weak">${escaped(pointTitle(point, workload))}</span></th>`,
            td(title, 'left'),
            ...found.map((one, at) =>
              cell(one, unit, latencies.includes(metric) && point.short.has(variants[at]?.name ?? '')),
            ),
            td(noiseText(noise), 'weak'),
          ]),
        ];
      }),
    );
  });
  const head = row([
    th('workload'),
    th('metric'),
    ...variants.map(({ name, title }) => `<th scope="col">${swatch(result, name)}${escaped(title)}</th>`),
    th('noise'),
  ]);
  return `<div class="scroll"><table class="head"><caption class="hidden">Medians over rounds, ratio to no mesh</caption><thead>${head}</thead><tbody>${rows.join('')}</tbody></table></div>
<p class="weak small">Medians over rounds and the ratio to no mesh of the same round; <span class="better">▲ better</span>, <span class="worse">▼ worse</span>, <span class="none">= no mesh</span> where the difference is within the noise. Point at a cell for its spread.</p>`;
}

/** Rows of one series, for the table under a plot. */
function seriesRows(plot: Plot, series: Series): string[] {
  const nameOf = (at: number): string =>
    plot.shape === 'rows' ? '' : (plot.x.names?.[at] ?? withUnit(at, '1/s'));
  return [
    ...series.dots.map(({ at, value, ratio, rounds }) =>
      row([
        th(series.title, 'row'),
        td(nameOf(at), 'left'),
        td(withUnit(value.median, plot.y.unit)),
        td(rangeText(value, plot.y.unit)),
        td(ratio ? `${digits(ratio.median)}×` : ''),
        td(ratio ? `${digits(ratio.min)} to ${digits(ratio.max)}` : ''),
        td(String(rounds)),
      ]),
    ),
    ...series.short.map((at) =>
      row([
        th(series.title, 'row'),
        td(nameOf(at), 'left'),
        td('rate not reached'),
        td(''),
        td(''),
        td(''),
        td(''),
      ]),
    ),
  ];
}

function dataTable(plot: Plot): string {
  const x = plot.x.title === '' ? 'where' : plot.x.title;
  const head = ['variant', x, 'median', 'over rounds', 'to no mesh', 'over rounds', 'rounds'];
  const parts = plot.parts
    ? tableHtml(
        ['variant', ...plot.parts.map(({ title }) => title)],
        plot.series.map(({ title }, at) =>
          row([
            th(title, 'row'),
            ...(plot.parts ?? []).map(({ values }) => {
              const value = values[at];
              return td(
                value ? `${withUnit(value.median, plot.y.unit)} (${rangeText(value, plot.y.unit)})` : '',
              );
            }),
          ]),
        ),
        `Parts of ${plot.title}`,
      )
    : '';
  const noise = plot.noise.map(({ at, from, to }) =>
    row([
      th('noise', 'row'),
      td(plot.x.names?.[at] ?? withUnit(at, '1/s'), 'left'),
      td(''),
      td(rangeText({ median: from, min: from, max: to }, plot.y.unit)),
      td(''),
      td(''),
      td(''),
    ]),
  );
  return `<details><summary>Data</summary>${tableHtml(head, [...plot.series.flatMap((one) => seriesRows(plot, one)), ...noise], plot.title)}${parts}</details>`;
}

function figureHtml(result: BenchResult, plot: Plot, id: string): string {
  const about = `${plot.subtitle}. ${plot.y.title}${plot.y.log ? ', logarithmic' : ''}; whiskers from the least to the greatest round; the data is in the table below.`;
  const full = plot.shape === 'ratios';
  const draw = (width: number, kind: string): string =>
    `<div class="${kind}">${inlineSvg(drawPlot(plot, { variants: result.variants, width, theme: 'light' }), plot.title, about, `${id}-${kind}`)}</div>`;
  return `<figure class="card${full ? ' full' : ''}" id="${id}"><figcaption><h4>${escaped(plot.title)}</h4><p class="weak">${escaped(plot.subtitle)}</p></figcaption>
${draw(full ? 1180 : wideWidth, 'wide')}${draw(narrowWidth, 'narrow')}
${plot.notes.length > 0 ? `<div class="notes small"><p>× rate not reached:</p>${listHtml(plot.notes.map(escaped))}</div>` : ''}${dataTable(plot)}</figure>`;
}

const topics: readonly (readonly [Plot['topic'], string, string])[] = [
  ['load', 'Latency over load', 'An open loop sends at a fixed rate, whether answers come or not.'],
  ['latency', 'Latency', 'Whiskers: from the least to the greatest round. Grey: the noise around no mesh.'],
  ['throughput', 'Throughput', 'As much as goes through.'],
  [
    'cpu',
    'CPU',
    'From the scheduler’s accounting, of all processes on the way and of the kernel beside them.',
  ],
  ['memory', 'Memory', 'Resident memory of all proxies together.'],
  ['cost', 'What it takes beside the traffic', ''],
];

function placementHtml(result: BenchResult, placement: Placement, plots: readonly Plot[]): string {
  const of = plots.filter((plot) => plot.placement === placement);
  const figures = (topic: Plot['topic']): string =>
    of
      .filter((plot) => plot.topic === topic)
      .map((plot) => figureHtml(result, plot, `p${plots.indexOf(plot)}`))
      .join('\n');
  return `<section id="${placement}"><h2>${placementTitles[placement]}</h2>
${legend(result)}
<div class="grid">${figures('overview')}</div>
${headline(result, placement)}
${topics
  .filter(([topic]) => of.some((plot) => plot.topic === topic))
  .map(
    ([topic, title, about]) =>
      `<h3>${title}</h3>${about === '' ? '' : `<p class="weak">${about}</p>`}<div class="grid">${figures(topic)}</div>`,
  )
  .join('\n')}</section>`;
}

const pairs = (of: Readonly<Record<string, unknown>>): string =>
  `<dl class="pairs">${Object.entries(of)
    .map(([name, value]) => `<div><dt>${escaped(name)}</dt><dd>${escaped(String(value))}</dd></div>`)
    .join('')}</dl>`;

const goalMarks: Readonly<Record<string, string>> = {
  reached: 'better',
  'by the median alone': 'none',
  'not reached': 'worse',
  'not measured': 'none',
};

function closing(result: BenchResult): string {
  const variant = (name: string): string => escaped(titleOf(result.variants, name));
  const workload = (name: string): string => escaped(titleOf(result.workloads, name));
  const goals = result.goals.map(({ what, wanted, found, state, unit, from }) =>
    row([
      th(what, 'row'),
      td(wanted, 'left'),
      td(found ? `${digits(found.median)} ${unit}` : ''),
      td(found ? `${digits(found.min)} to ${digits(found.max)}` : ''),
      `<td class="left"><span class="${goalMarks[state] ?? 'none'}">${escaped(state)}</span></td>`,
      td(from, 'left'),
    ]),
  );
  const shorts = shortsOf(result).map(
    (one) =>
      `${placementTitles[one.placement]}, ${workload(one.workload)} ${escaped(one.point)}, ${variant(one.variant)}: ` +
      `${one.perSecond === undefined ? 'less' : Math.round(one.perSecond)} of ${one.perSecondWanted === undefined ? 'what was asked for' : Math.round(one.perSecondWanted)} a second in ${one.rounds} of ${one.roundsAll} rounds. ${escaped(one.why)}`,
  );
  const failures = result.failures.map(
    (one) =>
      `Round ${one.round + 1}, ${placementTitles[one.placement]}, ${workload(one.workload)} ${escaped(one.point)}, ${variant(one.variant)}: ${escaped(one.why)}`,
  );
  const block = (id: string, title: string, inside: string): string =>
    inside === '' ? '' : `<section id="${id}"><h2>${title}</h2>${inside}</section>`;
  const list = (items: readonly string[]): string => (items.length === 0 ? '' : listHtml(items));
  return [
    block(
      'goals',
      'Goals',
      goals.length === 0
        ? ''
        : tableHtml(['what', 'wanted', 'found', 'over rounds', 'state', 'from'], goals, 'Goals'),
    ),
    block(
      'missing',
      'Not measured, and why',
      list(result.missing.map(({ what, why }) => `<b>${escaped(what)}</b>: ${escaped(why)}`)),
    ),
    block('short', 'Rates that were not reached', list(shorts)),
    block('failures', 'Measurements that failed', list(failures)),
    block(
      'evidence',
      'What the proxies counted',
      result.evidence.length === 0
        ? ''
        : tableHtml(
            ['variant', 'counter', 'value'],
            result.evidence.map((one) =>
              row([
                th(titleOf(result.variants, one.variant), 'row'),
                td(one.what, 'left'),
                td(String(one.value)),
              ]),
            ),
            'Counters',
          ),
    ),
    block(
      'workloads',
      'Workloads and load generators',
      list([
        ...result.workloads.map(({ title, about }) => `<b>${escaped(title)}</b>: ${escaped(about)}`),
        ...result.generators.map(
          ({ name, version, baseline }) =>
            `<b>${escaped(name)} ${escaped(version)}</b>, on an idle machine with nothing between: ${Object.entries(
              baseline,
            )
              .map(([metric, value]) =>
                escaped(
                  `${metrics[metric]?.title ?? metric} ${withUnit(value, metrics[metric]?.unit ?? '')}`,
                ),
              )
              .join(', ')}`,
        ),
      ]),
    ),
  ].join('\n');
}

const whereTexts: Readonly<Record<BenchResult['where'], string>> = {
  standalone: 'On one machine, with nodes and pods of network namespaces',
  cluster: 'On a Kubernetes cluster',
  own: 'Against an application of yours',
};

const method = [
  'All variants are measured in every round, one right after the other, in an order that changes from round to round.',
  'A ratio divides a variant by no mesh of the same round, so what slows the machine for a while slows both.',
  'No mesh is measured twice; the ratio of the two is the noise, and a difference within it is called none.',
  'Latency under load is of an open loop: a request whose connection still waited for the one before is timed from when it was due, all others from when they were sent; a rate that was not reached gives no latency.',
  'Figures are medians over rounds, whiskers go from the least to the greatest round, and CPU is from the scheduler’s accounting.',
];

function faceOf(result: BenchResult): string {
  const rounds = new Set(result.samples.map(({ round }) => round)).size;
  const tookMs = Date.parse(result.endedAt) - Date.parse(result.startedAt);
  const warnings = [
    ...(result.interrupted ? ['The run was interrupted: this is what was measured until then.'] : []),
    ...(rounds === 0 ? ['Nothing was measured.'] : []),
    ...(rounds === 1 ? ['One round has no spread, and its noise is one ratio: a look, no result.'] : []),
    ...(result.failures.length > 0
      ? [
          result.failures.length === 1
            ? '1 measurement failed; its figure has fewer rounds.'
            : `${result.failures.length} measurements failed; their figures have fewer rounds.`,
        ]
      : []),
  ];
  return `<header><p class="kicker">Weft bench</p><h1>What a mesh costs</h1>
<p class="lead">${whereTexts[result.where]}: ${shown(result)
    .map(({ title }) => escaped(title))
    .join(
      ', ',
    )}. ${rounds} ${rounds === 1 ? 'round' : 'rounds'} in ${escaped(duration(Number.isFinite(tookMs) ? tookMs : 0))}, from ${escaped(result.startedAt)}.</p>
${warnings.map((one) => `<p class="warning" role="note">${escaped(one)}</p>`).join('')}
<div class="facts"><section class="card"><h2>Machine</h2>${pairs(result.machine)}</section><section class="card"><h2>Versions</h2>${pairs(result.versions)}</section><section class="card"><h2>Settings</h2>${pairs(result.settings)}</section></div>
<section class="card method"><h2>Method</h2><p>${method.join(' ')}</p></section></header>`;
}

// The reader's choice of theme is not stored: a file opened from disk has no place for it.
const script = `document.getElementById('theme').addEventListener('click',function(){var r=document.documentElement,d=r.dataset.theme||(matchMedia('(prefers-color-scheme: dark)').matches?'dark':'light');r.dataset.theme=d==='dark'?'light':'dark'});`;

const themeCss = (theme: 'light' | 'dark'): string =>
  variables.map((one) => `--${one.name}:${one[theme]}`).join(';') +
  (theme === 'light'
    ? ';--ground:#f4f6f9;--good:#0b6b45;--bad:#a33a00;--warn:#fff3d6;--warnink:#5c4300;color-scheme:light'
    : ';--ground:#0e1116;--good:#4cd1a0;--bad:#ff9a5c;--warn:#3a2f14;--warnink:#ffdf9a;color-scheme:dark');

const css = `
:root{${themeCss('light')}}
@media (prefers-color-scheme: dark){:root:not([data-theme=light]){${themeCss('dark')}}}
:root[data-theme=dark]{${themeCss('dark')}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1280px;margin:0 auto;padding:28px 24px 64px}
h1{font-size:34px;line-height:1.15;margin:2px 0 10px;letter-spacing:-.02em}
h2{font-size:22px;letter-spacing:-.01em;margin:44px 0 12px}
h3{font-size:17px;margin:32px 0 4px}
h4{font-size:15px;margin:0}
p{margin:0 0 10px}
.kicker{color:var(--soft);font-weight:600;letter-spacing:.06em;text-transform:uppercase;font-size:12px;margin:0}
.lead{font-size:17px;max-width:76ch}
.weak{color:var(--soft);font-weight:400}
.small{font-size:13px}
.card{background:var(--paper);border:1px solid var(--grid);border-radius:12px;padding:16px 18px;margin:0;min-width:0}
.card h2{font-size:13px;margin:0 0 8px;color:var(--soft);letter-spacing:.04em;text-transform:uppercase}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(240px,1fr));gap:16px;margin:20px 0 16px}
.method p{margin:0;max-width:110ch}
.pairs{margin:0;font-size:14px}
.pairs div{display:flex;justify-content:space-between;gap:16px;padding:2px 0}
.pairs dt{color:var(--soft)}
.pairs dd{margin:0;text-align:right;overflow-wrap:anywhere}
.warning{background:var(--warn);color:var(--warnink);border-radius:8px;padding:8px 12px;font-weight:600}
nav{display:flex;flex-wrap:wrap;gap:6px 18px;margin:18px 0 0;font-size:14px}
a{color:inherit;text-underline-offset:3px}
.legend{display:flex;flex-wrap:wrap;gap:10px 26px;margin:0 0 16px}
.legend dt{font-weight:600;font-size:14px}
.legend dd{margin:0;color:var(--soft);font-size:13px;max-width:34ch}
.swatch{width:13px;height:13px;margin-right:7px;vertical-align:-1.5px;display:inline-block}
.band{background:var(--band);opacity:.4;border-radius:2px}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px;margin-top:12px}
.full{grid-column:1/-1}
figure svg{display:block;width:100%;height:auto;margin:8px auto 0}
figcaption p{margin:0;font-size:13px}
.narrow{display:none}
.notes{border-top:1px solid var(--grid);margin-top:8px;padding-top:8px;color:var(--soft)}
.notes p{margin:0}
.notes ul{margin:2px 0 0;padding-left:18px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13.5px;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;border-bottom:1px solid var(--grid);text-align:right;vertical-align:top}
td{white-space:nowrap}
td.left,th[scope=row],thead th:first-child{text-align:left}
th{font-weight:600}
thead th{color:var(--soft);font-size:12.5px;vertical-align:bottom;border-bottom-color:var(--line)}
table.head{background:var(--paper);border:1px solid var(--grid);border-radius:12px;border-spacing:0;border-collapse:separate}
table.head thead th{color:var(--ink)}
table.head th[scope=row]{min-width:150px}
table.head td,table.head th{padding:5px 8px}
table.head{margin-top:16px}
table.head thead th:nth-child(2){text-align:left}
table.head tbody tr:last-child>*{border-bottom:0}
td.left{white-space:normal}
.better{color:var(--good);font-weight:600}
.worse{color:var(--bad);font-weight:600}
.none{color:var(--soft)}
details{margin-top:10px;font-size:13px}
summary{cursor:pointer;color:var(--soft)}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
#theme{float:right;font:inherit;font-size:13px;color:var(--ink);background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:5px 11px;cursor:pointer}
:focus-visible{outline:2px solid var(--v1);outline-offset:2px}
section>ul{max-width:100ch;padding-left:20px}
@media (max-width:760px){main{padding:18px 14px 48px}h1{font-size:27px}h2{font-size:20px;margin-top:34px}.grid{grid-template-columns:minmax(0,1fr)}.card{padding:14px}.facts{gap:12px}}
@media (max-width:520px){.wide{display:none}.narrow{display:block}.legend{gap:8px 18px}.legend dd{max-width:none}}
@media print{:root,:root[data-theme=dark]{${themeCss('light')};--ground:#fff}#theme,nav,summary{display:none}body{font-size:11px}main{max-width:none;padding:0}.card{break-inside:avoid;border-radius:0}h2,h3{break-after:avoid}.scroll{overflow:visible}.legend{break-inside:avoid}td{white-space:normal}}
`;

const hashOf = (text: string): string => createHash('sha256').update(text).digest('base64');

/** The whole report. Contents of the result appear as text, never as markup. */
export function htmlReport(result: BenchResult): string {
  const plots = plotsIn(result);
  const placements = placementsOf(result);
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hashOf(script)}'; base-uri 'none'; form-action 'none'`;
  const end = closing(result);
  const links = [
    ...placements.map((placement) => [placement, placementTitles[placement]] as const),
    ...(
      [
        ['goals', 'Goals'],
        ['missing', 'Not measured'],
        ['short', 'Rates not reached'],
        ['failures', 'Failed'],
        ['evidence', 'Counters'],
        ['workloads', 'Workloads'],
      ] as const
    ).filter(([id]) => end.includes(`<section id="${id}">`)),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}"><meta name="viewport" content="width=device-width,initial-scale=1"><title>What a mesh costs, ${escaped(result.startedAt)}</title><style>${css}</style></head>
<body><main><button id="theme" type="button">Light / dark</button>${faceOf(result)}
<nav aria-label="Sections">${links.map(([id, title]) => `<a href="#${id}">${title}</a>`).join('')}</nav>
${placements.map((placement) => placementHtml(result, placement, plots)).join('\n')}
${end}</main><script>${script}</script></body></html>
`;
}
