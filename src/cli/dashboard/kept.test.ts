import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Kept } from './kept.js';
import { SnapshotCache } from './snapshot-cache.js';

function kept(pausePerReading = 0) {
  const clock = { nowMs: 0, tookMs: 0, readings: 0, fails: false };
  const one = new Kept(
    async () => {
      clock.nowMs += clock.tookMs;
      if (clock.fails) throw new Error('no');
      return ++clock.readings;
    },
    { ageMsMax: 100, pausePerReading, nowMs: () => clock.nowMs },
  );
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return { clock, one, settled };
}

test('a value is kept until it is too old or its mark is another; callers get the former one meanwhile', async () => {
  const { clock, one, settled } = kept();
  assert.equal(await one.get('a'), 1);
  assert.equal(await one.get('a'), 1);
  assert.equal(await one.get('b'), 1);
  await settled();
  assert.equal(await one.get('b'), 2);
  clock.nowMs = 101;
  assert.equal(await one.get('b'), 2);
  await settled();
  assert.equal(await one.get('b'), 3);
});

test('what takes long is not read at each change', async () => {
  const { clock, one, settled } = kept(9);
  clock.tookMs = 10;
  await one.get('a');
  for (let ms = 0; ms < 90; ms += 10) {
    await one.get(`change ${ms}`);
    await settled();
    assert.equal(clock.readings, 1, `${ms}`);
    clock.nowMs += 10;
  }
  await one.get('later');
  await settled();
  assert.equal(clock.readings, 2);
});

test('a caller that does not wait for the first value gets none, and the reading goes on', async () => {
  const values: ((value: number) => void)[] = [];
  const one = new Kept(() => new Promise<number>((resolve) => values.push(resolve)), { ageMsMax: 100 });
  assert.equal(await one.get('a', 1), undefined);
  const waiting = one.get('a', 60_000);
  values[0]?.(7);
  assert.equal(await waiting, 7);
  assert.equal(values.length, 1);
});

test('a value that says that reading failed is not kept for long', async () => {
  let readings = 0;
  const one = new Kept(async () => ++readings, { ageMsMax: 1_000_000, isFailed: (value) => value === 1 });
  assert.equal(await one.get(), 1);
  assert.equal(await one.get(), 1);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await one.get(), 2);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([await one.get(), readings], [2, 2]);
});

test('a failed reading leaves the value; without a value the caller is told', async () => {
  const { clock, one, settled } = kept();
  clock.fails = true;
  await assert.rejects(one.get(), /no/);
  clock.fails = false;
  assert.equal(await one.get(), 1);
  clock.fails = true;
  clock.nowMs = 500;
  assert.equal(await one.get(), 1);
  await settled();
  assert.equal(await one.get(), 1);
});

test('snapshots are made once for all tabs of a moment, and failures are not kept', async () => {
  let [made, nowMs] = [0, 0];
  const cache = new SnapshotCache(
    async (sinceMs) => {
      if (sinceMs === 1) throw new Error('no');
      return { takenMs: ++made } as never;
    },
    () => nowMs,
  );
  assert.deepEqual(await Promise.all([cache.get(60), cache.get(60)]), ['{"takenMs":1}', '{"takenMs":1}']);
  assert.equal(await cache.get(90), '{"takenMs":2}');
  nowMs = 1_999;
  assert.equal(await cache.get(60), '{"takenMs":1}');
  nowMs = 2_000;
  assert.equal(await cache.get(60), '{"takenMs":3}');
  await assert.rejects(cache.get(1));
  await assert.rejects(cache.get(1));
  for (let window = 100; window < 200; window++) await cache.get(window);
  assert.equal(await cache.get(60), `{"takenMs":${made}}`, 'old windows are forgotten');
});
