import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { SocketStock, batchMax, stockMax } from './socket-stock.js';

function kernel() {
  let next = 100;
  const batches: number[] = [];
  const open = new Set<number>();
  return {
    batches,
    open,
    make: (_path: string, _family: 4 | 6, count: number): number[] => {
      batches.push(count);
      const fds = Array.from({ length: count }, () => next++);
      for (const fd of fds) open.add(fd);
      return fds;
    },
    close: (fd: number): void => assert.ok(open.delete(fd), `descriptor ${fd} was closed twice`),
  };
}
const netns = (cookie: bigint) => ({ cookie, path: `/run/netns/${cookie}` });

test('batches grow from one socket, so that many connections of a pod cost few visits to its namespace', () => {
  const { batches, open, ...calls } = kernel();
  const stock = new SocketStock(calls);
  const taken = Array.from({ length: 1_000 }, () => stock.take(netns(1n), 4));
  assert.equal(new Set(taken).size, 1_000);
  assert.deepEqual(batches.slice(0, 6), [1, 2, 4, 8, batchMax, batchMax]);
  assert.ok(batches.length < 70, `${batches.length} batches`);
  assert.ok(stock.size < batchMax);
  stock.close();
  assert.deepEqual(open, new Set(taken));
});

test('families and pods do not share sockets; those of a pod that is gone are closed', () => {
  const { open, ...calls } = kernel();
  const stock = new SocketStock(calls);
  const taken = [];
  for (let i = 0; i < 3; i++) {
    taken.push(stock.take(netns(1n), 4), stock.take(netns(1n), 6), stock.take(netns(2n), 4));
  }
  assert.equal(open.size - taken.length, stock.size);
  stock.forget(1n);
  stock.forget(1n);
  assert.equal(open.size - taken.length, stock.size);
  stock.close();
  assert.equal(stock.size, 0);
  assert.equal(open.size, taken.length);
});

test('a pod that stops connecting has no stock after a moment, and begins with one socket again', async () => {
  const { batches, open, ...calls } = kernel();
  const stock = new SocketStock({ ...calls, idleMs: 20 });
  for (let i = 0; i < 4; i++) stock.take(netns(1n), 4);
  assert.equal(stock.size, 3);
  await until('the stock is closed', 30_000, () => stock.size === 0);
  assert.equal(open.size, 4);
  stock.take(netns(1n), 4);
  assert.equal(batches.at(-1), 1);
  stock.close();
});

test('the stock of all pods together is limited', () => {
  const { open: _, batches, ...calls } = kernel();
  const stock = new SocketStock(calls);
  for (let pod = 1n; pod < 500n; pod++) for (let i = 0; i < 16; i++) stock.take(netns(pod), 4);
  assert.ok(stock.size <= stockMax, String(stock.size));
  assert.equal(batches.at(-1), 1);
  stock.close();
});

test('a failure leaves no trace, and a smaller batch than asked for is used', () => {
  const { open, ...calls } = kernel();
  let fails = true;
  const stock = new SocketStock({
    ...calls,
    make: (path, family, count) => {
      if (fails) throw new Error('EMFILE');
      return calls.make(path, family, Math.min(count, 2));
    },
  });
  assert.throws(() => stock.take(netns(1n), 4), /EMFILE/);
  assert.equal(stock.size, 0);
  fails = false;
  for (let i = 0; i < 9; i++) stock.take(netns(1n), 4);
  stock.close();
  assert.equal(open.size, 9);
});
