import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isEndingAgent, isToBeReplaced } from './agent-pods.js';

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

test("a terminating agent pod is in Weft's namespace and has the label of the DaemonSet", () => {
  assert.ok(isEndingAgent(pod(), 'weft-system'));
  assert.ok(!isEndingAgent(pod(), 'shop'));
  assert.ok(!isEndingAgent(pod({ deletionTimestamp: undefined }), 'weft-system'));
  assert.ok(!isEndingAgent(pod({ labels: { app: 'weft-agent-draining' } }), 'weft-system'));
  assert.ok(!isEndingAgent(pod({ labels: { app: 'weft-control' } }), 'weft-system'));
});

test('a terminating agent pod gets a successor only while the DaemonSet that owns it exists', () => {
  assert.ok(isToBeReplaced(pod(), owner));
  // Uninstall: there is no successor.
  assert.ok(!isToBeReplaced(pod(), { metadata: { uid: 'ds-1', deletionTimestamp: '2026-01-01T00:00:00Z' } }));
  assert.ok(!isToBeReplaced(pod(), { metadata: { uid: 'ds-2' } }), 'a DaemonSet that was created again');
  assert.ok(!isToBeReplaced(pod({ ownerReferences: [] }), owner), 'a pod that only has the label');
  assert.ok(
    !isToBeReplaced(pod({ ownerReferences: [{ kind: 'ReplicaSet', uid: 'ds-1', controller: true }] }), owner),
  );
});
