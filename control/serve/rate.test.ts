import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RateLimiter } from './rate.js';

test('a burst, then the rate, each key by itself', () => {
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

test('what is refused is not paid for: a key that goes on at twice the rate gets the rate', () => {
  const limiter = new RateLimiter({ perSecond: 10, burst: 1 });
  let taken = 0;
  for (let ms = 0; ms < 10_000; ms += 50) taken += limiter.take('a', ms) ? 1 : 0;
  assert.ok(taken >= 99 && taken <= 101, String(taken));
});

test('keys are bounded: the one that was used least recently goes', () => {
  const limiter = new RateLimiter({ perSecond: 0, burst: 1 }, 2);
  assert.ok(limiter.take('a', 0));
  assert.ok(limiter.take('b', 0));
  assert.ok(!limiter.take('a', 0));
  assert.ok(limiter.take('c', 0));
  assert.ok(!limiter.take('a', 0), 'it was used of late');
  assert.ok(limiter.take('b', 0), 'forgotten');
});
