import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from './budget.js';

test('a burst, then one per interval; one name spends nothing of another', () => {
  let nowMs = 1_000;
  const budget = new Budget(2, 100, () => nowMs);
  assert.deepEqual([budget.take('a'), budget.take('a'), budget.take('a'), budget.take('b')], [0, 0, 100, 0]);
  nowMs += 60;
  assert.equal(budget.take('a'), 40);
  nowMs += 40;
  assert.deepEqual([budget.take('a'), budget.take('a')], [0, 100]);
  nowMs += 1_000_000;
  assert.deepEqual([budget.take('a'), budget.take('a'), budget.take('a')], [0, 0, 100]);
  budget.keepOnly(new Set(['b']));
  assert.equal(budget.take('a'), 0);
});
