import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { tapConnection } from '../../test/support/taps.js';
import { readerCharsMax, readerEventsMax, TapQueue } from './tap-queue.js';

test('every event is delivered or counted as lost, in order', async () => {
  for (let round = 0; round < 50; round++) {
    const queue = new TapQueue(1 + randomInt(10));
    const pushed = randomInt(100);
    const seen: number[] = [];
    let lost = 0;
    const take = async (): Promise<void> => {
      const delivery = await queue.next(0);
      lost += delivery?.lost ?? 0;
      for (const { timeMs } of delivery?.events ?? []) seen.push(timeMs);
    };
    for (let i = 0; i < pushed; i++) {
      queue.push(tapConnection({ timeMs: i }));
      if (randomInt(8) === 0) await take();
    }
    await take();
    assert.equal(seen.length + lost, pushed);
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b),
    );
  }
});

test('threat 6: events with the longest texts take no more memory than others', async () => {
  const queue = new TapQueue();
  const audited = Array.from({ length: 16 }, () => 'x'.repeat(512));
  for (let i = 0; i < readerEventsMax; i++) queue.push(tapConnection({ audited }));
  assert.ok(queue.size <= readerCharsMax / (16 * 512));
  const delivery = await queue.next(0);
  assert.equal((delivery?.events.length ?? 0) + (delivery?.lost ?? 0), readerEventsMax);
  queue.push(tapConnection());
  assert.equal(queue.size, 1, 'there is room again');
});

test('a reader that waits gets what comes; after the end it gets nothing, and why', async () => {
  const queue = new TapQueue();
  const next = queue.next(60_000);
  queue.push(tapConnection());
  assert.equal((await next)?.events.length, 1);
  const last = queue.next(60_000);
  queue.end('it was closed');
  assert.equal(await last, undefined);
  queue.push(tapConnection());
  assert.deepEqual([queue.size, queue.ended], [0, 'it was closed']);
});
