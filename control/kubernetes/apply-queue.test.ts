/** The queue against an API server that counts; the client is the real one, over TLS. */
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

test('what was taken is not written again, unless somebody may have changed it since', async (t) => {
  const { calls, queue } = await setUp(t);
  const write = { path: '/api/v1/namespaces/a/configmaps/roots', body: { data: 1 } };
  queue.set(write);
  await until('it is written', 5_000, () => calls.length === 1);
  await sleep(50);
  queue.set(write);
  await sleep(50);
  assert.equal(calls.length, 1);
  queue.markStale(write.path);
  queue.set(write);
  await until('it is written again', 5_000, () => calls.length === 2);
});

test('nothing is kept of an object that is gone, not even where it goes while it is written', async (t) => {
  const { calls, gate, queue } = await setUp(t);
  const write = { path: '/api/v1/namespaces/a/services/b/status', body: { status: 1 } };
  gate.open = false;
  queue.set(write);
  await until('it is on its way', 5_000, () => gate.waiting.length === 1);
  queue.forget(write.path);
  gate.open = true;
  gate.waiting.forEach((answer) => answer());
  await sleep(100);
  assert.deepEqual(queue.paths(), []);
  // One of the same name that comes later is written, whatever was taken of the one before.
  queue.set(write);
  await until('it is written', 5_000, () => calls.length === 2);
});
