import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import { admit, type AdmissionOptions } from './admission.js';
import { decodeRequest } from './protocol.js';

const request = { namespace: 'shop', name: 'web', podUid: 'u', netns: '/proc/1/fd/3', addresses: [] };
const pod = { uid: 'web', podUid: 'u' } as unknown as NodePod;

/** The fake clock advances by the time that is slept. */
function world(more: Partial<AdmissionOptions> = {}): AdmissionOptions & { readonly now: () => number } {
  let now = 0;
  return {
    whenAgentIsAway: 'wait',
    synced: () => true,
    connected: () => true,
    wanted: () => undefined,
    uncaptured: () => undefined,
    isEnrolled: () => false,
    enroll: () => Promise.resolve(undefined),
    hasCertificate: () => true,
    now: () => now,
    sleep: (ms) => {
      now += ms;
      return Promise.resolve();
    },
    ...more,
  };
}

test('a pod of the mesh starts once it is enrolled and has its certificate', async () => {
  const taken: string[] = [];
  const options: AdmissionOptions = world({
    wanted: () => (options.now() >= 300 ? pod : undefined),
    enroll: (_pod, { netns }) => {
      taken.push(netns);
      return Promise.resolve(undefined);
    },
    hasCertificate: () => options.now() >= 500,
    isEnrolled: () => true,
  });
  assert.deepEqual(await admit(request, options), { ok: true });
  assert.deepEqual(taken, ['/proc/1/fd/3']);
  assert.ok(options.now() >= 500);
});

test('a pod that cannot be enrolled does not start, and the response says why', async () => {
  const response = await admit(
    request,
    world({ wanted: () => pod, enroll: () => Promise.resolve('no memory') }),
  );
  assert.deepEqual(response, { ok: false, message: 'shop/web is not in the mesh yet: no memory' });
});

test('a pod without a certificate does not start: it would be Ready while its connections are refused', async () => {
  const response = await admit(request, world({ wanted: () => pod, hasCertificate: () => false }));
  assert.deepEqual(response, { ok: false, message: 'shop/web has no certificate yet' });
});

test('an uncaptured pod starts at once', async () => {
  const options = world({ uncaptured: () => ({}) as UncapturedPod, isEnrolled: () => true });
  assert.deepEqual(await admit(request, options), { ok: true });
  assert.equal(options.now(), 0);
});

test('an unknown pod of an enrolled namespace does not start', async () => {
  for (const connected of [true, false]) {
    const options = { ...world({ isEnrolled: () => true }), connected: () => connected };
    const response = await admit(request, options);
    assert.ok(!response.ok && response.message.includes('has not sent shop/web yet'));
  }
  const starts = world({ isEnrolled: () => true, whenAgentIsAway: 'start' });
  assert.deepEqual(await admit(request, starts), { ok: true }, 'unless the setting says start');
});

test('an unknown pod of another namespace waits only for a possible label, and not at all without the control plane', async () => {
  const options = world();
  assert.deepEqual(await admit(request, options), { ok: true });
  assert.ok(options.now() <= 2_100);
  const alone = world({ connected: () => false });
  assert.deepEqual(await admit(request, alone), { ok: true });
  assert.equal(alone.now(), 0);
  const early = world({ synced: () => false });
  assert.deepEqual(await admit(request, early), { ok: true }, 'DNS may be what the agent itself waits for');
  assert.equal(early.now(), 0);
});

test('a line that is not a request of the plugin is refused', () => {
  const good = {
    command: 'ADD',
    namespace: 'a',
    name: 'b',
    podUid: 'c',
    pid: 7,
    fd: 3,
    addresses: ['10.0.0.1', 'x'],
  };
  assert.deepEqual(decodeRequest(JSON.stringify(good)), {
    namespace: 'a',
    name: 'b',
    podUid: 'c',
    netns: '/proc/7/fd/3',
    addresses: ['10.0.0.1'],
  });
  for (const bad of [
    { command: 'DEL' },
    { pid: 0 },
    { pid: '7' },
    { fd: -1 },
    { name: 1 },
    { addresses: {} },
  ])
    assert.equal(decodeRequest(JSON.stringify({ ...good, ...bad })), undefined);
  for (const bad of ['', 'null', '[]', '{', '7']) assert.equal(decodeRequest(bad), undefined);
});
