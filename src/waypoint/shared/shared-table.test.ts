import assert from 'node:assert/strict';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { childLayout, childSecret, hammerTimes } from '../../../test/support/shared-memory.js';
import { createSharedMemory, mapSharedMemory } from '../../../native/memory.js';
import { Counts, counterLayout, requests, SharedCounters } from './shared-counters.js';
import { mainProcess, SharedTable } from './shared-table.js';

const secret = childSecret;

/** One table as several workers and the main process see it. */
function tables(workers: number, slots = 1_024): { main: SharedTable; of: SharedTable[] } {
  const whole = { slots, wordsPerRow: 4, workers };
  const words = new Int32Array(SharedTable.bytesOf(whole) / 4);
  const of = (worker: number) => new SharedTable(words, whole, worker, secret);
  return { main: of(mainProcess), of: Array.from({ length: workers }, (_, i) => of(i)) };
}

test('a name has one row in all processes, and another name another one', () => {
  const { of } = tables(40);
  const rows = of.map((table) => table.hold('a'));
  assert.equal(new Set(rows.map((row) => row?.at)).size, 1);
  assert.notEqual(of[0]?.hold('b')?.at, rows[0]?.at);
  assert.equal(of[0]?.size, 2);
  for (const row of rows) assert.equal(row && Atomics.add(row.words, row.at, 1) < 40, true);
});

test('a row is reclaimed when nobody holds it, not before, and is empty again', () => {
  const { main, of } = tables(40);
  const [first, last] = [of[0], of[39]];
  assert.ok(first && last);
  const held = first.hold('a');
  const same = last.hold('a');
  assert.ok(held && same);
  Atomics.store(held.words, held.at + 3, 7);
  first.release(held);
  assert.equal(main.reclaim(), 0);
  last.hold('a');
  last.release(same);
  assert.equal(main.reclaim(), 0, 'held once more');
  last.release(same);
  last.release(same);
  assert.equal(main.reclaim(), 1);
  assert.equal(main.size, 0);
  const again = first.hold('a');
  assert.equal(again && Atomics.load(again.words, again.at + 3), 0);
});

test('a row is kept for a time without holders', () => {
  const { main, of } = tables(1);
  const row = of[0]?.hold('a');
  assert.ok(row);
  of[0]?.release(row, 60_000);
  assert.equal(main.reclaim(), 0);
  assert.equal(of[0]?.hold('a')?.at, row.at);
});

test('a full table refuses names and goes on with those that it has', () => {
  let refused = 0;
  const table = SharedTable.inMemory({ slots: 64, wordsPerRow: 1 }, () => refused++);
  for (let i = 0; i < 64; i++) assert.ok(table.hold(String(i)));
  assert.equal(table.hold('one more'), undefined);
  assert.equal(refused, 1);
  assert.ok(table.hold('7'));
});

test('about half of the places are filled before a bucket is full', () => {
  const slots = 131_072;
  const table = SharedTable.inMemory({ slots, wordsPerRow: 1 });
  let held = 0;
  while (table.hold(`name ${held}`)) held++;
  assert.ok(held > 60_000, `${held} of ${slots}`);
});

test("a dead worker's rows are no longer held, and its lock ends", () => {
  const { main, of } = tables(2);
  const row = of[0]?.hold('a');
  assert.ok(row);
  of[1]?.hold('a');
  Atomics.add(row.words, row.at, 1);
  // The worker died in the middle of taking a slot: all buckets are locked by it, and their counts are wrong.
  for (let bucket = 0; bucket < 16; bucket++) {
    row.words[bucket] = 0 + 2;
    row.words[16 + bucket] = 9;
  }
  assert.equal(of[1]?.hold('b'), undefined, 'the bucket is locked');
  const seen: number[] = [];
  main.forgetWorker(0, (words, at) => seen.push(Atomics.exchange(words, at, 0)));
  assert.deepEqual(seen, [1]);
  assert.equal(main.size, 1);
  assert.ok(of[1]?.hold('b'));
  assert.equal(main.reclaim(), 0);
});

test('counts of all workers together never exceed the limit, and a dead worker counts nothing', () => {
  const whole = counterLayout(2);
  const words = new Int32Array(SharedTable.bytesOf(whole) / 4);
  const of = (worker: number) => new SharedCounters(new SharedTable(words, whole, worker, secret), worker);
  const [main, a, b] = [of(mainProcess), of(0).open('x'), of(1).open('x')];
  assert.deepEqual([a.take(requests, 3), a.take(requests, 3), b.take(requests, 3)], [true, true, true]);
  assert.equal(b.take(requests, 3), false);
  assert.deepEqual([a.own(requests), b.own(requests), a.total(requests)], [2, 1, 3]);
  assert.equal(b.total(0), 0);
  main.forgetWorker(0);
  assert.equal(b.total(requests), 1);
  b.release(requests);
  assert.equal(b.total(requests), 0);
});

test('without a free row a worker counts for itself', () => {
  const counters = SharedCounters.inMemory(64);
  for (let i = 0; i < 64; i++) counters.open(String(i));
  const alone = counters.open('alone');
  assert.equal(alone.row, undefined);
  assert.deepEqual([alone.take(requests, 1), alone.take(requests, 1)], [true, false]);
  counters.close(alone);
});

test('processes that share memory see each change of the others', { timeout: 60_000 }, async (t) => {
  const fd = createSharedMemory(SharedTable.bytesOf(childLayout));
  const words = new Int32Array(mapSharedMemory(fd));
  const main = new SharedTable(words, childLayout, mainProcess, secret);
  const children = [0, 1].map((worker) =>
    fork(new URL('../../../test/support/shared-memory-child.js', import.meta.url), [String(worker)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', fd],
    }),
  );
  t.after(() => children.forEach((child) => child.kill('SIGKILL')));
  closeSync(fd);
  await Promise.all(children.map((child) => once(child, 'message')));
  const reclaiming = setInterval(() => main.reclaim(), 1);
  const ended = children.map((child: ChildProcess) => once(child, 'exit'));
  for (const child of children) child.send('go');
  assert.deepEqual(
    (await Promise.all(ended)).map(([code]) => code as number),
    [0, 0],
  );
  clearInterval(reclaiming);
  main.reclaim();
  assert.equal(main.size, 1, 'both held one row when they ended');
  const seen: number[] = [];
  main.forgetWorker(0, () => undefined);
  main.forgetWorker(1, (all, at) => seen.push(Atomics.load(all, at), Atomics.load(all, at + 1)));
  assert.deepEqual(seen, [2 * hammerTimes, 2 * hammerTimes]);
  assert.equal(main.reclaim(), 1);
});

test('only memory of a sealed size is mapped', () => {
  assert.throws(() => mapSharedMemory(2), /sealed|descriptor/);
});

test('a count is made of words of its own', () => {
  const counts = new Counts(new Int32Array(8), 0, 2, 1, undefined);
  counts.add(requests);
  assert.equal(counts.own(requests), 1);
});
