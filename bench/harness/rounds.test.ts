import assert from 'node:assert/strict';
import { test } from 'node:test';
import { median, ratio, runRounds } from './rounds.js';

test('variants take turns, and each round has the baseline twice', async () => {
  const order: string[] = [];
  const variant = (name: string, value: number) => ({
    name,
    measure: async () => {
      order.push(name);
      return { x: value };
    },
  });
  const rounds = await runRounds(variant('direct', 2), [variant('mesh', 6)], 2, () => undefined);
  assert.deepEqual(order, ['direct', 'mesh', 'direct', 'mesh', 'direct', 'direct']);
  assert.equal(ratio(rounds, 'mesh', 'direct', 'x'), 3);
  assert.equal(ratio(rounds, 'again', 'direct', 'x'), 1);
});

test('a ratio is the median of the rounds, not the ratio of medians', () => {
  const rounds = [
    { a: { x: 10 }, b: { x: 1 } },
    { a: { x: 1 }, b: { x: 1 } },
    { a: { x: 4 }, b: { x: 2 } },
  ];
  assert.equal(ratio(rounds, 'a', 'b', 'x'), 2);
  assert.ok(Number.isNaN(ratio(rounds, 'a', 'b', 'missing')));
  assert.equal(median([1, 2, 3, 4]), 2.5);
});
