import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RetryBudget } from './retry-budget.js';

const config = { percent: 20, retriesMin: 3 };

test('retries under way are a share of the requests under way, with a minimum', () => {
  const budget = new RetryBudget(config, 0);
  budget.requests = 1_000;
  for (let i = 0; i < 3; i++) assert.ok(budget.take(1, 1));
  assert.ok(!budget.take(1, 1));
  for (let i = 3; i < 20; i++) assert.ok(budget.take(100, 1));
  assert.ok(!budget.take(100, 1));
  budget.release();
  assert.ok(budget.take(100, 1));
  assert.equal(budget.active, 20);
});

test('retries over time are the same share of the requests, however short a retry is', () => {
  const budget = new RetryBudget(config, 0);
  let taken = 0;
  const seconds = 30;
  for (let ms = 1; ms <= seconds * 1000; ms++) {
    // 5 requests in a millisecond; many are under way, and each fails. Retries end at once.
    budget.requests += 5;
    for (let i = 0; i < 5; i++) {
      if (!budget.take(5_000, ms)) continue;
      taken++;
      budget.release();
    }
  }
  const requests = 5_000 * seconds;
  assert.ok(taken <= 0.2 * requests + 3 * (seconds + 1), `${taken}`);
  assert.ok(taken >= 0.19 * requests, `${taken}`);
});

test('requests of the past allow no burst of retries', () => {
  const budget = new RetryBudget({ percent: 20, retriesMin: 0 }, 0);
  // A day of requests, of which none failed.
  budget.requests = 86_400_000;
  let taken = 0;
  while (budget.take(1_000_000_000, 86_400_000)) taken++;
  assert.ok(taken <= 0.2 * 10_000 + 1 && taken >= 0.2 * 9_000, `${taken}`);
  // Later nothing is left of them.
  assert.ok(!budget.take(1_000_000, 86_400_000 + 120_000));
});

test('few requests have the minimum in each second', () => {
  const budget = new RetryBudget(config, 0);
  let taken = 0;
  for (let ms = 0; ms < 10_000; ms += 10) {
    if (!budget.take(1, ms)) continue;
    taken++;
    budget.release();
  }
  assert.ok(taken >= 30 && taken <= 33, `${taken}`);
});

test('without a configuration there is no limit, and what is under way stays counted when it changes', () => {
  const budget = new RetryBudget(undefined, 0);
  for (let i = 0; i < 100; i++) assert.ok(budget.take(0, 0));
  budget.configure(config);
  assert.ok(!budget.take(10, 0));
  assert.equal(budget.active, 100);
  // A clock that goes back does not add to it.
  budget.configure({ percent: 0, retriesMin: 0 });
  assert.ok(!budget.take(1_000, -5_000));
});
