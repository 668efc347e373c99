import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from './turns.js';

test('as many calls run as are allowed, others wait in their order, and the rest is refused', async () => {
  const turns = new Turns({ underWayMax: 2, waitingMax: 2 }, () => new Error('too many'));
  const began: number[] = [];
  const ends: (() => void)[] = [];
  const call = (n: number): Promise<number> =>
    turns.run(async () => {
      began.push(n);
      await new Promise<void>((resolve) => ends.push(resolve));
      return n;
    });
  const calls = [0, 1, 2, 3].map(call);
  await assert.rejects(call(4), /too many/);
  assert.deepEqual(began, [0, 1]);
  ends[0]?.();
  assert.equal(await calls[0], 0);
  assert.deepEqual(began, [0, 1, 2]);
  for (const n of [1, 2, 3]) {
    ends[n]?.();
    assert.equal(await calls[n], n);
  }
  assert.deepEqual(began, [0, 1, 2, 3]);
});

test('a call that fails passes its turn on', async () => {
  const turns = new Turns({ underWayMax: 1, waitingMax: 1 }, () => new Error('too many'));
  const failed = turns.run(() => Promise.reject(new Error('failed')));
  const next = turns.run(() => Promise.resolve('next'));
  await assert.rejects(failed, /failed/);
  assert.equal(await next, 'next');
  assert.equal(await turns.run(() => Promise.resolve('free')), 'free');
});
