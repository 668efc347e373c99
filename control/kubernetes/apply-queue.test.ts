/** The queue against a stub API server that records calls. The client is the real one, over TLS. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import { ApplyQueue } from './apply-queue.js';

async function setUp(t: TestContext) {
  const calls: string[] = [];
  const gate = { open: true, waiting: [] as (() => void)[] };
  const server = createApiServer((request, response) => {
    calls.push(`${request.method} ${(request.url ?? '').split('?')[0]}`);
    const answer = (): void => void response.end('{}');
    request.resume();
    if (gate.open) answer();
    else gate.waiting.push(answer);
  });
  const queue = new ApplyQueue(await listen(server), () => undefined);
  t.after(() => {
    queue.stop();
    close(server);
  });
  return { calls, gate, queue };
}

test('an applied body is not written again until it is marked stale', async (t) => {
  const { calls, queue } = await setUp(t);
  const write = { path: '/api/v1/namespaces/a/configmaps/roots', body: { data: 1 } };
  queue.set(write);
  await until('it is written', 30_000, () => calls.length === 1);
  await sleep(50);
  queue.set(write);
  await sleep(50);
  assert.equal(calls.length, 1);
  queue.markStale(write.path);
  queue.set(write);
  await until('it is written again', 30_000, () => calls.length === 2);
});

test('a forgotten path leaves nothing in the queue, even if it is forgotten during a write', async (t) => {
  const { calls, gate, queue } = await setUp(t);
  const write = { path: '/api/v1/namespaces/a/services/b/status', body: { status: 1 } };
  gate.open = false;
  queue.set(write);
  await until('the write is in flight', 30_000, () => gate.waiting.length === 1);
  queue.forget(write.path);
  gate.open = true;
  gate.waiting.forEach((answer) => answer());
  // The response to the earlier write may come later than this on a slow machine, which shows less and fails nothing.
  await sleep(100);
  assert.deepEqual(queue.paths(), []);
  // A later object of the same name is written, whatever was applied for the earlier one.
  queue.set(write);
  await until('it is written', 30_000, () => calls.length === 2);
});
