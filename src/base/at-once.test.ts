import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eachAtOnce } from './at-once.js';

test('each item has its task once, never more at once than are allowed, and the next begins when one ends', async () => {
  const begun: [string, number][] = [];
  const ends: (() => void)[] = [];
  const all = eachAtOnce(['a', 'b', 'c', 'd'], 2, (item, index) => {
    begun.push([item, index]);
    return new Promise((end) => ends.push(end));
  });
  const turn = (): Promise<void> => new Promise((done) => setImmediate(done));
  await turn();
  assert.deepEqual(begun, [
    ['a', 0],
    ['b', 1],
  ]);
  ends[1]?.();
  await turn();
  assert.deepEqual(begun.at(-1), ['c', 2], 'though the first has not ended');
  ends[0]?.();
  await turn();
  assert.deepEqual(begun.at(-1), ['d', 3]);
  ends[2]?.();
  ends[3]?.();
  await all;
  assert.equal(begun.length, 4);
});

test('the first error is that of all', async () => {
  await assert.rejects(
    eachAtOnce([1, 2, 3], 2, (item) => (item === 2 ? Promise.reject(new Error('two')) : Promise.resolve())),
    /two/,
  );
});
