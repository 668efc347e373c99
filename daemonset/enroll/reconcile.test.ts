import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { LocalPod } from '../messages.js';
import { reconcile } from './reconcile.js';

function pod(name: string, more: Partial<NodePod> = {}): NodePod {
  return {
    uid: `Kubernetes//Pod/shop/${name}` as WorkloadUid,
    name,
    namespace: 'shop',
    identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/default'),
    addresses: [parseIp('10.0.0.1')],
    netns: `/run/netns/${name}`,
    podUid: '',
    probePorts: [],
    excludeOutboundPorts: [],
    excludeOutboundCidrs: [],
    excludeInboundPorts: [],
    outboundUnknown: 'allow',
    sameNode: 'kernel',
    splice: true,
    unsplicedPorts: [],
    agentDown: 'refuse',
    cutPreexisting: false,
    rootsVersion: '1',
    ...more,
  } as NodePod;
}
const held = (p: NodePod, cookie: bigint): [WorkloadUid, LocalPod] => [
  p.uid,
  { pod: p, place: { cookie, netns: p.netns } },
];

test('takes in a wanted pod and adopts its hook of a former life', () => {
  const steps = reconcile([{ pod: pod('a'), cookie: 5n }], new Map(), [5n]);
  assert.deepEqual(
    steps.enrol.map(({ place }) => place.cookie),
    [5n],
  );
  assert.deepEqual(steps.orphans, []);
});

test('does nothing when all is as wanted', () => {
  const steps = reconcile([{ pod: pod('a'), cookie: 5n }], new Map([held(pod('a'), 5n)]), [5n]);
  assert.deepEqual(steps, { enrol: [], change: [], release: [], orphans: [], waiting: [] });
});

test('lets go of a pod that is no longer wanted and of hooks nobody knows', () => {
  const steps = reconcile([], new Map([held(pod('a'), 5n)]), [5n, 6n]);
  assert.deepEqual(
    steps.release.map(({ place }) => place.cookie),
    [5n],
  );
  assert.deepEqual(steps.orphans, [6n]);
});

test('a pod of the same name in a new namespace is taken in anew', () => {
  const steps = reconcile([{ pod: pod('a'), cookie: 7n }], new Map([held(pod('a'), 5n)]), [5n]);
  assert.deepEqual(
    steps.release.map(({ place }) => place.cookie),
    [5n],
  );
  assert.deepEqual(
    steps.enrol.map(({ place }) => place.cookie),
    [7n],
  );
});

test('changes settings in place without taking the pod out', () => {
  const steps = reconcile(
    [{ pod: pod('a', { excludeOutboundPorts: [53] }), cookie: 5n }],
    new Map([held(pod('a'), 5n)]),
    [5n],
  );
  assert.equal(steps.change.length, 1);
  assert.equal(steps.release.length + steps.enrol.length, 0);
});

test('says why a pod waits, and does not hold up others', () => {
  const steps = reconcile(
    [
      { pod: pod('a'), cookie: undefined },
      { pod: pod('b'), cookie: 8n },
    ],
    new Map(),
    [],
  );
  assert.match(steps.waiting[0]?.why ?? '', /\/run\/netns\/a is not there/);
  assert.equal(steps.enrol.length, 1);
});
