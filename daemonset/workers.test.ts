import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { until } from '../src/base/wait.js';
import { MeshState } from '../src/state/store.js';
import { pod } from '../test/support/mesh.js';
import type { LocalPod } from './worker-ipc.js';
import { Workers, type WorkersOptions } from './workers.js';

/** A worker that accepts every pod but `doomed`, on which it dies, and logs the messages that it got. */
const script = `data:text/javascript,${encodeURIComponent(`
import { parentPort, threadId } from 'node:worker_threads';
const received = [];

parentPort.on('message', (message) => {
  received.push(message.type);
  if (message.type === 'assign') received.push('assign ' + message.pod.pod.name);
  if (message.type === 'pods') received.push(message.pods.map((one) => '+' + one.pod.name).concat(message.removed.map((uid) => '-' + uid)).join(' '));
  if (message.type === 'assign' && message.pod.pod.name === 'slow') return void setTimeout(() => parentPort.postMessage({ type: 'done', call: message.call }), 3000);
  if (message.type === 'assign' && message.pod.pod.name === 'doomed') throw new Error('as received');
  if (message.type === 'connections' && received.includes('assign silent')) return;
  if (message.type === 'connections') parentPort.postMessage({ type: 'done', call: message.call, result: [{ threadId, received }] });
  else if ('call' in message) parentPort.postMessage({ type: 'done', call: message.call });
});
`)}`;

const local = (name: string, ip: string): LocalPod => ({
  pod: pod(name, ip),
  netns: { cookie: 1n, path: '' },
});

function workersOf(count: number, more: Partial<WorkersOptions> = {}): Workers {
  return new Workers({
    count,
    script: new URL(script),
    settings: { node: 'n1', pinDir: '', trustDomain: 'cluster.local', connectionsMax: 10 },
    state: new MeshState(),
    svids: () => [],
    onMessage: () => undefined,
    onReplaced: () => undefined,
    onDied: () => undefined,
    ...more,
  });
}

test('a worker that dies is replaced and gets the whole state; its calls fail, and other workers are not affected', async (t) => {
  const replaced: string[][] = [];
  const died: string[] = [];
  const workers = workersOf(2, {
    onReplaced: (pods) => replaced.push([...pods]),
    onDied: (why) => died.push(why),
  });
  t.after(() => workers.drain(1));
  workers.sync(new Map());
  await workers.assign(local('kept', '10.0.0.1'));
  await workers.assign(local('other', '10.0.0.2'));
  const before = (await workers.connections()) as { threadId: number; received: string[] }[];
  assert.equal(before.length, 2);

  // The least busy worker gets the pod: both have one pod, so it is the first, which has `kept`.
  await assert.rejects(workers.assign(local('doomed', '10.0.0.3')), {
    code: 'WEFT_WORKER_DIED',
    retryable: true,
  });
  await until('it is replaced', 30_000, () => replaced.length === 1);
  assert.deepEqual(died, ['as received']);
  assert.deepEqual(replaced, [['Kubernetes//Pod/shop/kept', 'Kubernetes//Pod/shop/doomed']]);
  const after = (await workers.connections()) as { threadId: number; received: string[] }[];
  assert.equal(after[1]?.threadId, before[1]?.threadId, 'the other worker is the same');
  assert.notEqual(after[0]?.threadId, before[0]?.threadId);
  assert.deepEqual(after[0]?.received.filter((one) => one !== '').slice(0, 2), ['mesh', 'pods']);
  await workers.assign(local('kept', '10.0.0.1'));
});

const all = async (workers: Workers): Promise<string[][]> =>
  ((await workers.connections()) as { received: string[] }[]).map(({ received }) => received);

test('workers get the changes since the last sync, and no message without changes', async (t) => {
  const workers = workersOf(1);
  t.after(() => workers.drain(1));
  const [a, b] = [local('a', '10.0.0.1'), local('b', '10.0.0.2')];
  workers.sync(new Map([a, b].map((one) => [one.pod.uid, one])));
  workers.sync(new Map([a, b].map((one) => [one.pod.uid, one])));
  const changed = { ...b };
  workers.sync(new Map([changed].map((one) => [one.pod.uid, one])));
  const [received] = await all(workers);
  assert.deepEqual(received?.slice(0, 4), ['pods', '+a +b', 'pods', `+b -${a.pod.uid}`]);
});

test('a worker that responds late keeps the pod and gets its unassignment: no listener is left behind', async (t) => {
  const workers = workersOf(2, { callTimeoutMsMax: 1_000 });
  t.after(() => workers.drain(1));
  const slow = local('slow', '10.0.0.1');
  await assert.rejects(workers.assign(slow), { code: 'WEFT_WORKER_SILENT' });
  // The second attempt goes to the same worker, although the other has fewer pods.
  await assert.rejects(workers.assign(slow), { code: 'WEFT_WORKER_SILENT' });
  await workers.unassign(slow.pod.uid);
  const [first, second] = await all(workers);
  assert.deepEqual(
    first?.filter((one) => /assign/.test(one)),
    ['assign', 'assign slow', 'assign', 'assign slow', 'unassign'],
  );
  assert.ok(!second?.some((one) => one.includes('assign')));
});

test('a worker that does not list its connections is named before the caller of the agent gives up', async (t) => {
  const workers = workersOf(2);
  t.after(() => workers.drain(1));
  await workers.assign(local('silent', '10.0.0.1'));
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const listed = workers.connections() as Promise<{ missing?: string; threadId?: number }[]>;
    mock.timers.tick(2_500);
    // The other worker may respond later than the clock was moved.
    assert.match((await listed)[0]?.missing ?? '', /^connections of worker 0: .*2000 ms/);
  } finally {
    mock.timers.reset();
  }
});
