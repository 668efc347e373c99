import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../src/base/wait.js';
import { MeshState } from '../src/state/store.js';
import { pod } from '../test/support/mesh.js';
import type { LocalPod } from './messages.js';
import { Workers } from './workers.js';

/** A worker that owns every pod but `doomed`, at which it dies, and logs what it was told. */
const script = `data:text/javascript,${encodeURIComponent(`
import { parentPort, threadId } from 'node:worker_threads';
const told = [];
parentPort.on('message', (message) => {
  told.push(message.type);
  if (message.type === 'own' && message.pod.pod.name === 'doomed') throw new Error('as told');
  if (message.type === 'connections') parentPort.postMessage({ type: 'done', call: message.call, result: [{ threadId, told }] });
  else if ('call' in message) parentPort.postMessage({ type: 'done', call: message.call });
});
`)}`;

const local = (name: string, ip: string): LocalPod => ({
  pod: pod(name, ip),
  place: { cookie: 1n, netns: '' },
});

test('a worker that dies is replaced and told all it must know; its calls fail, and others notice nothing', async (t) => {
  const replaced: string[][] = [];
  const died: string[] = [];
  const workers = new Workers({
    count: 2,
    script: new URL(script),
    settings: { node: 'n1', pinDir: '', trustDomain: 'cluster.local', drainTimeoutMsMax: 1 },
    state: new MeshState(),
    svids: () => [],
    onMessage: () => undefined,
    onReplaced: (pods) => replaced.push([...pods]),
    onDied: (why) => died.push(why),
  });
  t.after(() => workers.drain(1));
  workers.broadcast({ type: 'pods', pods: [] });
  await workers.own(local('kept', '10.0.0.1'));
  await workers.own(local('other', '10.0.0.2'));
  const before = (await workers.connections()) as { threadId: number; told: string[] }[];
  assert.equal(before.length, 2);

  // The least busy worker takes it: both own one pod, so the first, which owns `kept`.
  await assert.rejects(workers.own(local('doomed', '10.0.0.3')), {
    code: 'WEFT_WORKER_DIED',
    retryable: true,
  });
  await until('it is replaced', 5_000, () => replaced.length === 1);
  assert.deepEqual(died, ['as told']);
  assert.deepEqual(replaced, [['Kubernetes//Pod/shop/kept', 'Kubernetes//Pod/shop/doomed']]);
  const after = (await workers.connections()) as { threadId: number; told: string[] }[];
  assert.equal(after[1]?.threadId, before[1]?.threadId, 'the other worker is the same');
  assert.notEqual(after[0]?.threadId, before[0]?.threadId);
  assert.deepEqual(after[0]?.told.slice(0, 2), ['mesh', 'pods']);
  await workers.own(local('kept', '10.0.0.1'));
});
