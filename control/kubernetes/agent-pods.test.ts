import assert from 'node:assert/strict';
import { test } from 'node:test';
import { daemonSetOfEnding, isToBeReplaced } from './agent-pods.js';

const owner = { metadata: { uid: 'ds-1' } };
const pod = (more: object = {}) => ({
  metadata: {
    name: 'weft-agent-x',
    namespace: 'weft-system',
    uid: 'pod-1',
    labels: { app: 'weft-agent' },
    deletionTimestamp: '2026-01-01T00:00:00Z',
    ownerReferences: [{ kind: 'DaemonSet', uid: 'ds-1', controller: true }],
    ...more,
  },
});

test("a terminating pod that gets another label is in Weft's namespace and has the label of its DaemonSet", () => {
  assert.equal(daemonSetOfEnding(pod(), 'weft-system'), 'weft-agent');
  assert.equal(daemonSetOfEnding(pod({ labels: { app: 'weft-carrier' } }), 'weft-system'), 'weft-carrier');
  for (const more of [
    { deletionTimestamp: undefined },
    { labels: { app: 'weft-agent-draining' } },
    { labels: { app: 'weft-carrier-draining' } },
    { labels: { app: 'weft-control' } },
    { labels: {} },
  ])
    assert.equal(daemonSetOfEnding(pod(more), 'weft-system'), undefined, JSON.stringify(more));
  assert.equal(daemonSetOfEnding(pod(), 'shop'), undefined);
});

test('a terminating pod gets a successor only while the DaemonSet that owns it exists', () => {
  assert.ok(isToBeReplaced(pod(), owner));
  assert.ok(isToBeReplaced(pod({ labels: { app: 'weft-carrier' } }), owner));
  // Uninstall: there is no successor.
  assert.ok(!isToBeReplaced(pod(), { metadata: { uid: 'ds-1', deletionTimestamp: '2026-01-01T00:00:00Z' } }));
  assert.ok(!isToBeReplaced(pod(), { metadata: { uid: 'ds-2' } }), 'a DaemonSet that was created again');
  assert.ok(!isToBeReplaced(pod({ ownerReferences: [] }), owner), 'a pod that only has the label');
  assert.ok(
    !isToBeReplaced(pod({ ownerReferences: [{ kind: 'ReplicaSet', uid: 'ds-1', controller: true }] }), owner),
  );
});
