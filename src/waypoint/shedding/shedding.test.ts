import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../base/wait.js';
import { key } from '../../../test/support/mesh.js';
import type { AdaptiveConcurrency } from '../../discovery/gen/weft.js';
import { ProcessLoad } from './process-load.js';
import { Shedding } from './shedding.js';

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

test('a Service port and a policy have one controller; those without requests are forgotten', () => {
  const shedding = new Shedding();
  const of = (name: string, port: number, policy: string, nowMs: number) =>
    shedding.controller({ service: key(name), port }, policy, config, nowMs);
  const api = of('api', 80, 'a', 0);
  assert.equal(of('api', 80, 'a', 1), api);
  for (const other of [of('api', 81, 'a', 1), of('api', 80, 'b', 1), of('web', 80, 'a', 1)])
    assert.notEqual(other, api);
  assert.equal([...shedding.states()].length, 3, 'one for each Service port');
  of('web', 80, 'a', 1).begin();
  of('new', 80, 'a', 700_000);
  assert.deepEqual(
    [...shedding.states()].map(({ service }) => service),
    [key('web'), key('new')],
    'a request of one is under way',
  );
});

test('the delay of the event loop is the mean of a window; a single pause is not enough', async () => {
  const load = new ProcessLoad({ rssBytes: () => 7 });
  try {
    assert.equal(load.delayMs, 0);
    assert.equal(load.rssBytes, 7);
    const busy = (ms: number): void => {
      const endMs = performance.now() + ms;
      while (performance.now() < endMs);
    };
    const endMs = performance.now() + 900;
    while (performance.now() < endMs) {
      busy(60);
      await new Promise(setImmediate);
    }
    assert.ok(load.delayMs > 30, `${load.delayMs}`);
    // As soon as a window without pauses has passed; a machine under load has others.
    await until('the delay is small again', 30_000, () => load.delayMs < 30);
  } finally {
    load.stop();
  }
});
