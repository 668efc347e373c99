import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sample, Workload } from '../result/result.js';
import { drawPlot } from './draw.js';
import type { Plot } from './plot.js';
import { plotFiles } from './plot-files.js';
import { plotsIn } from './plots.js';
import { inks, lookOf, variables } from './theme.js';
import { made, shortOfSidecars, variants, workloads } from './synthetic.js';

const result = made();
const draw = (plot: Plot, theme: 'light' | 'dark' = 'light'): string =>
  drawPlot(plot, { variants: result.variants, width: 620, theme });
const named = (plots: readonly Plot[], name: string): Plot => {
  const found = plots.find((plot) => plot.name === name);
  assert.ok(found, name);
  return found;
};
const colors = (svg: string): Set<string> => new Set(svg.match(/#[0-9a-f]{6}\b/g));
const [fewer] = workloads.filter(({ name }) => name === 'bulk');
const edited = (edit: (sample: Sample) => Sample): Plot[] =>
  plotsIn(made({ edit: (samples) => samples.map(edit) }));

test('a variant has the same color in every plot, and no other has it', () => {
  for (const theme of ['light', 'dark'] as const) {
    const own = new Map(variants.map(({ name }) => [name, lookOf(variants, name, theme).color]));
    own.delete('noise');
    assert.equal(new Set(own.values()).size, own.size);
    for (const plot of plotsIn(result)) {
      for (const series of plot.series) {
        const found = colors(draw({ ...plot, series: [series] }, theme));
        const others = [...own].filter(([name]) => name !== series.variant).map(([, color]) => color);
        assert.ok(found.has(own.get(series.variant) ?? ''), `${plot.name} ${series.variant}`);
        assert.ok(!others.some((color) => found.has(color)), `${plot.name} ${series.variant}`);
      }
    }
  }
});

test('light and dark have the same data', () => {
  const files = new Map(plotFiles(result).map(({ name, svg }) => [name, svg]));
  const without = (svg: string, theme: 'light' | 'dark'): string =>
    variables.reduce((text, one) => text.replaceAll(one[theme], `(${one.name})`), svg);
  for (const [name, svg] of files) {
    if (name.endsWith('-dark.svg')) continue;
    const dark = files.get(name.replace('.svg', '-dark.svg')) ?? '';
    assert.notEqual(dark, svg);
    assert.equal(without(dark, 'dark'), without(svg, 'light'), name);
    assert.equal(colors(without(svg, 'light')).size, 0, name);
  }
});

test('each color of a theme is there once, so that one can stand for the other', () => {
  for (const theme of ['light', 'dark'] as const)
    assert.equal(new Set(variables.map((one) => one[theme])).size, variables.length);
  assert.deepEqual(Object.keys(inks.light), Object.keys(inks.dark));
});

test('names of files are unique and safe, whatever workloads are called', () => {
  const odd = [
    '../../etc/x',
    'x',
    'X',
    'x 2',
    'ж',
    '',
    'a\u0000b',
    'y'.repeat(300),
    // Cut at 40 characters, these end as another's second file, and as another's dark one.
    'y'.repeat(33),
    `${'y'.repeat(33)}-gbit-2`,
    'z'.repeat(30),
    `${'z'.repeat(30)}-gbit-dark`,
  ];
  const all = [...odd, ...odd].map((name, at): Workload => {
    assert.ok(fewer);
    return { ...fewer, name: at < odd.length ? name : `${name}!` };
  });
  const samples: Sample[] = all.flatMap(({ name }) =>
    ['none', 'sidecars'].map((variant) => ({
      ...({ round: 0, placement: 'same-node', variant, workload: name, point: '' } as const),
      values: { gbit: 1, p50: 2 },
    })),
  );
  const names = plotFiles(made({ workloads: all, edit: () => samples })).map(({ name }) => name);
  assert.ok(names.length > 2 * all.length);
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[a-z0-9][a-z0-9-]{0,80}\.svg$/);
});

test('a rate that was not reached is no dot, and the plot says so', () => {
  const once = (samples: Sample[]): Sample[] =>
    shortOfSidecars(samples).map((sample, at) => (sample.round === 0 ? sample : (samples[at] ?? sample)));
  // Short in all rounds, and in one: what the other rounds measured is not that rate's latency either.
  for (const [edit, of] of [
    [shortOfSidecars, '5 of 5'],
    [once, '1 of 5'],
  ] as const) {
    const plot = named(plotsIn(made({ edit })), 'same-node-http1-p99-over-load');
    const sidecars = plot.series.find(({ variant }) => variant === 'sidecars');
    assert.deepEqual(sidecars?.short, [18_000]);
    assert.ok(!sidecars.dots.some(({ at }) => at === 18_000));
    assert.equal(sidecars.dots.length, 4);
    assert.equal(plot.notes.length, 1);
    assert.match(
      plot.notes[0] ?? '',
      new RegExp(`^Envoy sidecars at 90 %, 18000/s: not reached in ${of} rounds \\(14000/s came through\\)`),
    );
  }
});

test('where nobody reached any rate, every plot with a cross says what it is', () => {
  const plots = edited((sample) =>
    sample.perSecondWanted === undefined ? sample : { ...sample, values: { perSecond: 5 }, short: 'busy' },
  );
  assert.ok(!plots.some(({ topic }) => topic === 'load'));
  const some = edited((sample) =>
    sample.workload === 'http1' && sample.variant === 'sidecars'
      ? { ...sample, values: { perSecond: 5 }, short: 'busy' }
      : sample,
  );
  const crossed = some.filter(({ series }) => series.some(({ short }) => short.length > 0));
  assert.ok(crossed.some(({ topic }) => topic === 'latency'));
  for (const { name, notes } of crossed) assert.ok(notes.length > 0, name);
});

test('the noise stands around no mesh, as wide on either side', () => {
  const plot = named(plotsIn(result), 'same-node-http1-p50-over-load');
  const none = plot.series.find(({ variant }) => variant === 'none');
  for (const { at, from, to } of plot.noise) {
    const median = none?.dots.find((dot) => dot.at === at)?.value.median ?? NaN;
    assert.ok(Math.abs(median / from - to / median) < 1e-9);
    assert.ok(from < median && median < to);
  }
  assert.equal(plot.noise.length, 5);
  assert.ok(!plotsIn(result).some(({ series }) => series.some(({ variant }) => variant === 'noise')));
});

test('parts of a bar add up to no more than what they are parts of', () => {
  const plot = named(plotsIn(result), 'same-node-http1-cpu');
  plot.series.forEach(({ dots, variant }, at) => {
    const parts = (plot.parts ?? []).map(({ values }) => values[at]?.median ?? 0);
    const sum = parts.reduce((of, part) => of + part, 0);
    assert.ok(Math.abs(sum / (dots[0]?.value.median ?? NaN) - 1) < 0.1, variant);
  });
});

test('draws what no scale can hold as nothing, not as a wrong number', () => {
  const plots = [
    ...edited((sample) => ({
      ...sample,
      values: Object.fromEntries(
        Object.entries(sample.values).map(([metric, value]) => [
          metric,
          sample.variant === 'kernel' || sample.variant === 'noise' ? 0 : value,
        ]),
      ),
    })),
    ...edited((sample) => ({ ...sample, values: { p50: 0, gbit: 0 } })),
  ];
  for (const plot of plots) {
    const svg = draw(plot);
    assert.doesNotMatch(svg, /NaN|Infinity|undefined/, plot.name);
  }
});

test('text of a result is text in an SVG, and no character that XML forbids', () => {
  const title = '<script>alert(1)</script> "x" & \u0007\u202e]]> xmlns="y"';
  const odd = made({
    rounds: 2,
    placements: ['same-node'],
    variants: variants.map((one) => ({ ...one, title: `${one.name} ${title}` })),
    workloads: workloads.map((one) => ({ ...one, title, pointTitle: title })),
  });
  const files = plotFiles(odd);
  assert.ok(files.some(({ svg }) => svg.includes('&lt;script')));
  for (const { name, svg } of files) {
    assert.doesNotMatch(svg, /<script|<a\b|<image|<use|<foreignObject|href=|url\(|@import/i, name);
    assert.doesNotMatch(svg, /[\u0000-\u0008\u000b-\u001f\u202e]/, name);
    assert.doesNotMatch(svg, /<style/);
    // Not even for its namespace beside SVG's own and the one that drawers add.
    for (const [address] of svg.matchAll(/https?:[^"]*/g)) assert.match(address, /^http:\/\/www\.w3\.org\//);
  }
});

test('one round and one variant still give plots; no samples give none', () => {
  const [none] = variants;
  assert.ok(none);
  const one = made({ rounds: 1, variants: [none] });
  assert.ok(plotFiles(one).every(({ svg }) => svg.startsWith('<svg') && !svg.includes('NaN')));
  assert.ok(plotsIn(one).length > 0);
  assert.deepEqual(plotsIn(made({ rounds: 0 })), []);
});
