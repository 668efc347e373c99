import assert from 'node:assert/strict';
import { test } from 'node:test';
import { median, orderOf, ratiosByRound, spreadOf, valuesOf, type Sample } from './statistics.js';

test('median of odd, even and no values', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.throws(() => median([]), RangeError);
});

test('over twice as many rounds as variants each variant takes each place equally often', () => {
  const variants = ['a', 'b', 'c'];
  const places = new Map<string, number[]>();
  for (let round = 0; round < 6; round++) {
    orderOf(variants, round).forEach((name, at) => places.set(name, [...(places.get(name) ?? []), at]));
  }
  for (const name of variants) assert.deepEqual(places.get(name)?.sort(), [0, 0, 1, 1, 2, 2]);
  assert.notDeepEqual(orderOf(variants, 0), orderOf(variants, 3));
});

const sample = (round: number, variant: string, p50: number): Sample => ({
  round,
  path: 'same-node',
  variant,
  values: { p50 },
});

test('ratios are taken within a round: a machine that slows down from round to round does not show in them', () => {
  const samples = [1, 2, 10].flatMap((slow, round) => [
    sample(round, 'direct', 40 * slow),
    sample(round, 'mesh', 100 * slow),
  ]);
  assert.deepEqual(ratiosByRound(samples, 'same-node', 'p50', 'mesh', 'direct'), [2.5, 2.5, 2.5]);
  assert.deepEqual(valuesOf(samples, 'same-node', 'mesh', 'p50'), [100, 200, 1000]);
});

test('a round that lacks one of a pair gives no ratio', () => {
  const samples = [
    sample(0, 'direct', 1),
    sample(1, 'mesh', 2),
    sample(2, 'direct', 2),
    sample(2, 'mesh', 3),
  ];
  assert.deepEqual(ratiosByRound(samples, 'same-node', 'p50', 'mesh', 'direct'), [1.5]);
  assert.deepEqual(ratiosByRound(samples, 'cross-node', 'p50', 'mesh', 'direct'), []);
  assert.deepEqual(ratiosByRound(samples, 'same-node', 'p99', 'mesh', 'direct'), []);
});

test('spread of values', () => {
  assert.deepEqual(spreadOf([2, 1, 9]), { median: 2, min: 1, max: 9 });
  assert.equal(spreadOf([]), undefined);
});
