/** The writer against an API server that counts; the client is the real one, over TLS. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import { Writer } from './apply-queue.js';

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
  const writer = new Writer(await listen(server), () => undefined);
  t.after(() => {
    writer.stop();
    close(server);
  });
  return { calls, gate, writer };
}

test('what was taken is not written again, unless somebody may have changed it since', async (t) => {
  const { calls, writer } = await setUp(t);
  const write = { path: '/api/v1/namespaces/a/configmaps/roots', body: { data: 1 } };
  writer.set(write);
  await until('it is written', 5_000, () => calls.length === 1);
  await sleep(50);
  writer.set(write);
  await sleep(50);
  assert.equal(calls.length, 1);
  writer.again(write.path);
  writer.set(write);
  await until('it is written again', 5_000, () => calls.length === 2);
});

test('nothing is kept of an object that is gone, not even where it goes while it is written', async (t) => {
  const { calls, gate, writer } = await setUp(t);
  const write = { path: '/api/v1/namespaces/a/services/b/status', body: { status: 1 } };
  gate.open = false;
  writer.set(write);
  await until('it is on its way', 5_000, () => gate.waiting.length === 1);
  writer.forget(write.path);
  gate.open = true;
  gate.waiting.forEach((answer) => answer());
  await sleep(100);
  assert.deepEqual(writer.paths(), []);
  // One of the same name that comes later is written, whatever was taken of the one before.
  writer.set(write);
  await until('it is written', 5_000, () => calls.length === 2);
});
