import assert from 'node:assert/strict';
import { test } from 'node:test';
import { latencyBoundsMs, latencyMsMax } from '../../model/latency-bounds.js';
import { latenciesOf } from './latencies.js';

const counts = (values: Readonly<Record<number, number>>): number[] =>
  [...latencyBoundsMs, Infinity].map((bound) => values[bound] ?? 0);

test('percentiles are interpolated within their bucket', () => {
  assert.deepEqual(latenciesOf(counts({ 10: 100 })), { p50: 7.5, p95: 9.75, p99: 9.95 });
  assert.deepEqual(latenciesOf(counts({ 5: 50, 100: 50 }))?.p50, 5);
  assert.deepEqual(latenciesOf(counts({ 0.5: 1 }))?.p50, 0.25);
});

test('a percentile above all bounds is the last bound, and nothing has no percentile', () => {
  assert.deepEqual(latenciesOf(counts({ 1: 60, [Infinity]: 40 })), {
    p50: 0.5 + (0.5 * 50) / 60,
    p95: latencyMsMax,
    p99: latencyMsMax,
  });
  assert.equal(latenciesOf([]), undefined);
  assert.equal(latenciesOf(counts({})), undefined);
});

test('percentiles grow with their share and never leave the bounds', () => {
  for (let seed = 1; seed < 200; seed++) {
    const found = latenciesOf([...latencyBoundsMs, 0].map((_, i) => (seed * (i + 3) * 7919) % 11));
    if (!found) continue;
    assert.ok(found.p50 > 0 && found.p50 <= found.p95 && found.p95 <= found.p99 && found.p99 <= latencyMsMax);
  }
});

test('the last bound is the longest latency that is told apart', () => {
  assert.equal(latencyBoundsMs.at(-1), latencyMsMax);
});
