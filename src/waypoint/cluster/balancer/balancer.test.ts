import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endpointsOf } from '../../../../test/support/endpoints.js';
import type { Endpoint } from '../endpoint.js';
import type { Balancer } from './balancer.js';
import { LeastRequest } from './least-request.js';
import { PeakEwma } from './peak-ewma.js';
import { Random } from './random.js';
import { RoundRobin } from './round-robin.js';
import { slowStartFactor, Weights } from './weights.js';

/** How often each of the endpoints is chosen. */
function shares(balancer: Balancer, all: readonly Endpoint[], turns: number): number[] {
  const counts = new Map<Endpoint, number>();
  for (let i = 0; i < turns; i++) {
    const one = balancer.choose(all, undefined, all);
    assert.ok(one);
    counts.set(one, (counts.get(one) ?? 0) + 1);
  }
  assert.equal(balancer.choose([], undefined), undefined);
  return all.map((one) => counts.get(one) ?? 0);
}
const near = (values: readonly number[], expected: readonly number[], by: number): void =>
  values.forEach((value, i) => {
    assert.ok(Math.abs(value - (expected[i] ?? 0)) < by, `${values.join()} is not ${expected.join()}`);
  });
const weighted = (...weights: number[]): Endpoint[] => {
  const all = endpointsOf(weights.length);
  weights.forEach((weight, i) => ((all[i] as Endpoint).weight = weight));
  return all;
};

test('round robin takes turns, random and least request are even, least request avoids the busy', () => {
  assert.deepEqual(shares(new RoundRobin(), endpointsOf(3), 300), [100, 100, 100]);
  for (const balancer of [new Random(), new LeastRequest(), new PeakEwma(10_000)])
    near(shares(balancer, endpointsOf(4), 40_000), [10_000, 10_000, 10_000, 10_000], 600);
  const busy = endpointsOf(4);
  (busy[0] as Endpoint).active = 9;
  // It is chosen only if both choices are this endpoint: 1 of 16.
  near(shares(new LeastRequest(), busy, 16_000), [1_000, 5_000, 5_000, 5_000], 400);
  // 1 of 256 with four choices.
  near(shares(new LeastRequest(4), busy, 25_600), [100, 8_500, 8_500, 8_500], 500);
  let turn = 0;
  const pair = endpointsOf(2);
  (pair[0] as Endpoint).active = 9;
  assert.deepEqual(shares(new LeastRequest(2, undefined, () => [0, 0.9][turn++ % 2] ?? 0), pair, 5), [0, 5]);
});

test('shares are in proportion to weights', () => {
  const all = weighted(1, 2, 5, 2);
  // The first choice of new endpoints is random; then the schedule is exact.
  near(shares(new RoundRobin(), all, 10_001), [1_000, 2_000, 5_000, 2_000], 3);
  near(shares(new Random(), all, 10_000), [1_000, 2_000, 5_000, 2_000], 300);
  near(shares(new LeastRequest(), all, 10_000), [1_000, 2_000, 5_000, 2_000], 300);
  near(shares(new PeakEwma(10_000), all, 10_000), [1_000, 2_000, 5_000, 2_000], 300);
});

test('least request keeps requests under way in proportion to weights', () => {
  const all = weighted(1, 3);
  const balancer = new LeastRequest();
  for (let i = 0; i < 4_000; i++) {
    const one = balancer.choose(all);
    assert.ok(one);
    one.active++;
  }
  near(
    all.map(({ active }) => active),
    [1_000, 3_000],
    20,
  );
});

test('a schedule survives retries, which have endpoints of their own', () => {
  const all = weighted(1, 2);
  const balancer = new RoundRobin();
  balancer.choose(all);
  const counts = [0, 0];
  for (let i = 0; i < 300; i++) {
    counts[all.indexOf(balancer.choose(all) as Endpoint)]!++;
    assert.equal(balancer.choose(all.slice(0, 1)), all[0]);
  }
  near(counts, [100, 200], 2);
});

test('peak EWMA prefers fast endpoints, learns of slow ones at once, and tries them again later', () => {
  let nowMs = 0;
  const all = endpointsOf(2);
  const [fast, slow] = all as [Endpoint, Endpoint];
  const balancer = new PeakEwma(10_000, undefined, Math.random, () => nowMs);
  balancer.observe(fast, 200, 10);
  balancer.observe(slow, 200, 20);
  near(shares(balancer, all, 4_000), [3_000, 1_000], 200);
  balancer.observe(slow, 200, 500);
  assert.equal(slow.latencyMs, 500, 'a peak counts at once');
  nowMs += 10_000;
  balancer.observe(slow, 200, 10);
  assert.ok(Math.abs(slow.latencyMs - (500 / Math.E + 10 * (1 - 1 / Math.E))) < 0.01, `${slow.latencyMs}`);
  balancer.observe(fast, 503, 0.1);
  balancer.observe(fast, 'reset', 0.1);
  assert.equal(fast.latencyMs, 10, 'a fast failure does not count');
  balancer.observe(fast, 'timeout', 2_000);
  assert.equal(fast.latencyMs, 2_000);
  fast.active = 1;
  near(shares(balancer, all, 4_000), [1_000, 3_000], 200);
  // The latencies decay with the time without an observation: now that of `fast` is the lower one.
  nowMs += 60_000;
  balancer.observe(slow, 200, 100);
  near(shares(balancer, all, 4_000), [3_000, 1_000], 200);
});

test('an endpoint that has not responded yet gets no second request', () => {
  const all = endpointsOf(2);
  const [known, fresh] = all as [Endpoint, Endpoint];
  const balancer = new PeakEwma(10_000);
  balancer.observe(known, 200, 1_000);
  near(shares(balancer, all, 4_000), [1_000, 3_000], 200);
  fresh.active = 1;
  near(shares(balancer, all, 4_000), [3_000, 1_000], 200);
});

test('slow start: the share grows from the minimum to the whole, as in Envoy’s formula', () => {
  const config = { windowMs: 60_000, aggression: 1, minWeightPercent: 10 };
  assert.equal(slowStartFactor(0, config), 0.1);
  assert.equal(slowStartFactor(3_000, config), 0.1);
  assert.equal(slowStartFactor(30_000, config), 0.5);
  assert.equal(slowStartFactor(60_000, config), 1);
  assert.equal(slowStartFactor(15_000, { ...config, aggression: 2 }), 0.5);
  let nowMs = 0;
  const all = endpointsOf(3);
  (all[2] as Endpoint).warmingSinceMs = 0;
  for (const make of [
    (weights: Weights) => new RoundRobin(weights),
    (weights: Weights) => new Random(weights),
    (weights: Weights) => new LeastRequest(2, weights),
  ]) {
    const at = (ms: number): number[] => {
      nowMs = ms;
      return shares(balancer, all, 10_500);
    };
    const balancer = make(new Weights(config, () => nowMs));
    near(at(100), [5_000, 5_000, 500], 200);
    near(at(30_000), [4_200, 4_200, 2_100], 200);
    near(at(60_000), [3_500, 3_500, 3_500], 250);
  }
});
