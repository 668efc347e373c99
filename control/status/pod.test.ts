import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodObject } from '../objects/objects.js';
import type { Write } from '../kubernetes/apply-queue.js';
import { podWrite } from '../../test/support/status-writes.js';

const running = (conditions: object[] = []): PodObject => ({
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { nodeName: 'node1' },
  status: { conditions: conditions as never },
});
const conditionOf = (write: Write | undefined): Record<string, unknown> | undefined =>
  (write?.body as { status: { conditions: Record<string, unknown>[] } } | undefined)?.status.conditions[0];

test("a pod's condition follows its agent's report, is written only if it differs, and only to the pod of that UID", () => {
  const captured = { captured: true, sinceMs: Date.parse('2026-01-02T03:04:05Z'), why: '' };
  const write = podWrite(running(), captured);
  assert.equal(write?.path, '/api/v1/namespaces/shop/pods/web/status');
  assert.equal((write?.body as { metadata: { uid: string } }).metadata.uid, 'u');
  const said = conditionOf(write);
  assert.deepEqual(said, {
    type: 'weft.dev/captured',
    status: 'True',
    reason: 'Captured',
    message: 'by the agent of node node1',
    lastTransitionTime: '2026-01-02T03:04:05Z',
  });
  assert.ok(said);
  assert.equal(podWrite(running([said]), captured), undefined);
  const waiting = conditionOf(
    podWrite(running([said]), { captured: false, sinceMs: 0, why: 'no process yet' }),
  );
  assert.equal(waiting?.['status'], 'False');
  assert.equal(waiting?.['message'], 'no process yet');
  assert.equal(conditionOf(podWrite(running([said]), undefined))?.['reason'], 'NotInMesh');
  assert.equal(podWrite(running(), undefined), undefined, 'a pod that was never enrolled gets no condition');
});
