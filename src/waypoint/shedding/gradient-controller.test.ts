import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AdaptiveConcurrency } from '../../discovery/gen/weft.js';
import { GradientController } from './gradient-controller.js';

const config: AdaptiveConcurrency = {
  samplePercentile: 50,
  updateIntervalMs: 100,
  minRttIntervalMs: 60_000,
  minRttRequests: 5,
  minConcurrency: 3,
  concurrencyMax: 1_000,
  bufferPercent: 25,
  jitterPercent: 10,
};

function controllerOf(more: Partial<AdaptiveConcurrency> = {}) {
  const clock = { nowMs: 1_000 };
  const controller = new GradientController({ ...config, ...more }, clock.nowMs, () => 0.5);
  return {
    controller,
    clock,
    /** Requests one after the other, of one latency each. */
    requests: (count: number, latencyMs: number): void => {
      for (let i = 0; i < count; i++) {
        assert.ok(controller.admits(clock.nowMs));
        controller.begin();
        clock.nowMs += latencyMs;
        controller.record(clock.nowMs - latencyMs, clock.nowMs);
      }
    },
    /** A window of requests of one latency, then the update of the limit. */
    window: (latencyMs: number): number => {
      controller.begin();
      controller.record(clock.nowMs - latencyMs, clock.nowMs);
      clock.nowMs += 100;
      controller.admits(clock.nowMs);
      return controller.state.limit;
    },
  };
}

test('at first the latency without load is measured, with the minimum of requests under way', () => {
  const { controller, clock, requests } = controllerOf();
  for (let i = 0; i < 3; i++) {
    assert.ok(controller.admits(clock.nowMs));
    controller.begin();
  }
  assert.ok(!controller.admits(clock.nowMs));
  assert.deepEqual([controller.state.isMeasuring, controller.state.blocked], [true, 1]);
  for (let i = 0; i < 3; i++) controller.cancel();
  requests(4, 8);
  assert.ok(controller.state.isMeasuring);
  requests(1, 8);
  assert.deepEqual([controller.state.isMeasuring, controller.state.minRttMs], [false, 8]);
});

test('the limit rises while the latency is near the one without load, by gradient and headroom', () => {
  const { controller, requests, window } = controllerOf();
  requests(5, 10);
  // Gradient 1.25: 3 * 1.25 = 3.75, and its square root 1.94.
  assert.equal(window(10), 5);
  assert.equal(controller.state.gradient, 1.25);
  // 5 * 1.25 = 6.25, and 2.5.
  assert.equal(window(10), 8);
  // Twice at most: 16, and 4.
  assert.equal(window(1), 20);
});

test('the limit falls when the latency grows, by half at most, and not below the minimum', () => {
  const { requests, window } = controllerOf();
  requests(5, 10);
  for (let i = 0; i < 60; i++) window(10);
  assert.equal(window(10), 1_000, 'the greatest limit');
  // Gradient 12.5 / 20: 625, and 25.
  assert.equal(window(20), 650);
  // Half: 325, and 18.03.
  assert.equal(window(1_000), 343);
  for (let i = 0; i < 20; i++) window(1_000);
  assert.ok(window(1_000) < 10);
});

test('a window without a response changes nothing', () => {
  const { controller, clock, requests, window } = controllerOf();
  requests(5, 10);
  const limit = window(10);
  clock.nowMs += 5_000;
  assert.ok(controller.admits(clock.nowMs));
  assert.equal(controller.state.limit, limit);
});

test('the latency without load is measured again after the interval and its jitter; the limit returns then', () => {
  const { controller, clock, requests, window } = controllerOf();
  requests(5, 10);
  for (let i = 0; i < 20; i++) window(10);
  const { limit } = controller.state;
  const late = clock.nowMs - 5;
  controller.begin();
  clock.nowMs += 60_000;
  controller.admits(clock.nowMs);
  assert.ok(!controller.state.isMeasuring, 'jitter: 60 s and 5 percent');
  clock.nowMs += 4_000;
  controller.admits(clock.nowMs);
  assert.deepEqual([controller.state.isMeasuring, controller.state.limit], [true, 3]);
  controller.record(late, clock.nowMs);
  assert.equal(controller.state.outstanding, 0);
  requests(5, 20);
  assert.deepEqual(
    [controller.state.minRttMs, controller.state.isMeasuring],
    [20, false],
    'the late one does not count',
  );
  assert.ok(controller.state.limit >= limit);
});

test('five windows in a row at the minimum: the latency is measured again, because it may be wrong', () => {
  const { controller, requests, window } = controllerOf({ minConcurrency: 3, concurrencyMax: 3 });
  requests(5, 10);
  for (let i = 0; i < 4; i++) window(40);
  assert.ok(!controller.state.isMeasuring);
  window(40);
  assert.ok(controller.state.isMeasuring);
});

test('requests that stay open do not shut out all others while the latency is measured', () => {
  const { controller, clock } = controllerOf();
  for (let i = 0; i < 3; i++) controller.begin();
  assert.ok(!controller.admits(clock.nowMs));
  clock.nowMs += 1_900;
  assert.ok(!controller.admits(clock.nowMs));
  clock.nowMs += 200;
  controller.admits(clock.nowMs);
  assert.ok(!controller.state.isMeasuring);
  // The first latencies are taken for those without load: the limit rises.
  controller.record(clock.nowMs - 10, clock.nowMs);
  clock.nowMs += 100;
  assert.ok(controller.admits(clock.nowMs));
  assert.equal(controller.state.minRttMs, 10);
});

test('another configuration keeps requests under way and the measured latency', () => {
  const { controller, requests, window } = controllerOf();
  requests(5, 10);
  for (let i = 0; i < 20; i++) window(10);
  controller.begin();
  const { limit } = controller.state;
  controller.configure({ ...config, concurrencyMax: 20 });
  assert.ok(limit > 20);
  assert.deepEqual(
    [controller.state.limit, controller.state.outstanding, controller.state.minRttMs],
    [20, 1, 10],
  );
  for (let i = 0; i < 30; i++) controller.configure({ ...config, concurrencyMax: 3 });
  assert.ok(!controller.state.isMeasuring, 'changes of the configuration are no windows');
});

test('memory stays bounded, however many requests one window has', () => {
  const { controller, clock, requests } = controllerOf();
  requests(5, 10);
  for (let i = 0; i < 100_000; i++) {
    controller.begin();
    controller.record(clock.nowMs - 7, clock.nowMs);
  }
  clock.nowMs += 100;
  controller.admits(clock.nowMs);
  assert.equal(controller.state.sampleRttMs, 7);
});
