import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RateLimiter } from './rate-limiter.js';

test('each key gets a burst, then the rate', () => {
  const limiter = new RateLimiter({ perSecond: 2, burst: 3 });
  const at = (key: string, ms: number): boolean => limiter.take(key, ms);
  assert.deepEqual([at('a', 0), at('a', 0), at('a', 0), at('a', 0)], [true, true, true, false]);
  assert.equal(at('b', 0), true);
  assert.deepEqual([at('a', 499), at('a', 500), at('a', 500)], [false, true, false]);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => at('a', 60_000)),
    [true, true, true, false],
  );
});

test('refused events cost no tokens: a key that continues at twice the rate gets the rate', () => {
  const limiter = new RateLimiter({ perSecond: 10, burst: 1 });
  let taken = 0;
  for (let ms = 0; ms < 10_000; ms += 50) taken += limiter.take('a', ms) ? 1 : 0;
  assert.ok(taken >= 99 && taken <= 101, String(taken));
});

test('the number of keys is bounded: the least recently used key is dropped', () => {
  const limiter = new RateLimiter({ perSecond: 0, burst: 1 }, 2);
  assert.ok(limiter.take('a', 0));
  assert.ok(limiter.take('b', 0));
  assert.ok(!limiter.take('a', 0));
  assert.ok(limiter.take('c', 0));
  assert.ok(!limiter.take('a', 0), 'it was used of late');
  assert.ok(limiter.take('b', 0), 'forgotten');
});

test('a key that never stops uses only its own share; another key gets all of its events', () => {
  const limiter = new RateLimiter({ burst: 100, perSecond: 10 });
  let taken = 0;
  for (let i = 0; i < 10_000; i++) if (limiter.take('shop/noisy', 1_000 + i / 10)) taken++;
  // One second has passed.
  assert.ok(taken >= 100 && taken <= 111, String(taken));
  for (let i = 0; i < 100; i++) assert.equal(limiter.take('shop/quiet', 2_000), true);
});

test('a clock jump gives at most one burst and takes no tokens away', () => {
  const limiter = new RateLimiter({ burst: 10, perSecond: 10 });
  for (let i = 0; i < 10; i++) assert.equal(limiter.take('a', 1_000), true);
  assert.equal(limiter.take('a', 1_000), false);
  assert.equal(limiter.take('a', 0), false);
  let taken = 0;
  for (let i = 0; i < 100; i++) if (limiter.take('a', 1e12)) taken++;
  assert.equal(taken, 10);
});

test('the state kept for keys is bounded', () => {
  const limiter = new RateLimiter({ burst: 1, perSecond: 1 }, 4_096);
  for (let i = 0; i < 20_000; i++) limiter.take(`shop/${i}`, i);
  assert.ok(limiter.size <= 4096, String(limiter.size));
});

test('a key over its rate gets the time to wait; other keys are not affected', () => {
  const limiter = new RateLimiter({ burst: 2, perSecond: 10 });
  let nowMs = 1_000;
  const take = (key: string): number => limiter.takeOrWait(key, nowMs);
  assert.deepEqual([take('a'), take('a'), take('a'), take('b')], [0, 0, 100, 0]);
  nowMs += 60;
  assert.equal(take('a'), 40);
  nowMs += 40;
  assert.deepEqual([take('a'), take('a')], [0, 100]);
  nowMs += 1_000_000;
  assert.deepEqual([take('a'), take('a'), take('a')], [0, 0, 100]);
});
