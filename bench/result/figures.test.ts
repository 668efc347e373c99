import assert from 'node:assert/strict';
import { test } from 'node:test';
import { figuresOf } from './figures.js';
import type { Sample, Variant } from './result.js';

const variants: Variant[] = [
  { name: 'none', title: '', kind: 'none', about: '' },
  { name: 'again', title: '', kind: 'noise', about: '' },
  { name: 'weft', title: '', kind: 'weft', about: '' },
];
const sample = (round: number, variant: string, values: Record<string, number>): Sample => ({
  round,
  placement: 'same-node',
  variant,
  workload: 'ping-pong',
  point: '64 B',
  values,
});
const rounds = (metric: string, none: number[], again: number[], weft: number[]): Sample[] =>
  none.flatMap((value, round) => [
    sample(round, 'none', { [metric]: value }),
    sample(round, 'again', { [metric]: again[round] ?? 0 }),
    sample(round, 'weft', { [metric]: weft[round] ?? 0 }),
  ]);
const ofWeft = (samples: Sample[]): ReturnType<typeof figuresOf>[number] | undefined =>
  figuresOf({ variants, samples }).find(({ variant }) => variant === 'weft');

test('divides by no mesh of the same round, so that a machine that slows down changes no ratio', () => {
  const figure = ofWeft(rounds('p50', [100, 200, 400], [100, 200, 400], [80, 160, 320]));
  assert.deepEqual(figure?.ratio, { median: 0.8, min: 0.8, max: 0.8 });
  assert.deepEqual(figure?.values, { median: 160, min: 80, max: 320 });
  assert.equal(figure?.difference, 'better');
});

test('shows a difference within the noise as none, on either side', () => {
  const noisy = [110, 98, 101];
  assert.equal(ofWeft(rounds('p50', [100, 100, 100], noisy, [108, 108, 108]))?.difference, 'none');
  // Noise was seen above 1 only as far as 1.1: below 1 the floor is as wide.
  assert.equal(ofWeft(rounds('p50', [100, 100, 100], noisy, [92, 92, 92]))?.difference, 'none');
  assert.equal(ofWeft(rounds('p50', [100, 100, 100], noisy, [112, 112, 112]))?.difference, 'worse');
  assert.equal(ofWeft(rounds('p50', [100, 100, 100], noisy, [85, 85, 85]))?.difference, 'better');
});

test('knows of which metrics more is better', () => {
  const same = [100, 100, 100];
  assert.equal(ofWeft(rounds('gbit', same, same, [150, 150, 150]))?.difference, 'better');
  assert.equal(ofWeft(rounds('perSecond', same, same, [50, 50, 50]))?.difference, 'worse');
});

test('gives no ratio of what no mesh does not have', () => {
  const figure = ofWeft([sample(0, 'none', { p50: 1 }), sample(0, 'weft', { p50: 1, proxyUs: 5 })]);
  assert.ok(figure?.ratio);
  const proxies = figuresOf({
    variants,
    samples: [sample(0, 'none', { proxyUs: 0 }), sample(0, 'weft', { proxyUs: 5 })],
  }).find(({ variant }) => variant === 'weft');
  assert.equal(proxies?.ratio, undefined);
  assert.equal(proxies?.difference, 'none');
});

test('leaves a round out of which one side is missing', () => {
  const samples = rounds('p50', [100, 100], [100, 100], [50, 200]).filter(
    ({ round, variant }) => !(round === 1 && variant === 'none'),
  );
  const figure = ofWeft(samples);
  assert.deepEqual(figure?.ratio, { median: 0.5, min: 0.5, max: 0.5 });
  assert.equal(figure?.rounds, 2);
});
