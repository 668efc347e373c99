import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MeshObject } from '../objects/objects.js';
import type { Write } from '../kubernetes/apply-queue.js';
import { acceptedWrite } from '../../test/support/status-writes.js';

const conditionOf = (write: Write | undefined): Record<string, unknown> | undefined =>
  (write?.body as { status: { conditions: Record<string, unknown>[] } } | undefined)?.status.conditions[0];

test('the condition of a policy has the generation and the problem, and keeps its transition time while its status is the same', () => {
  const policy: MeshObject = {
    kind: 'AccessPolicy',
    metadata: { name: 'p', namespace: 'shop', generation: 3 },
    spec: { action: 'DENY', rules: [] },
  };
  const good = conditionOf(acceptedWrite(policy, undefined));
  assert.equal(good?.['status'], 'True');
  assert.equal(good?.['observedGeneration'], 3);
  const since = '2026-01-01T00:00:00Z';
  const accepted = { ...policy, status: { conditions: [{ ...good, lastTransitionTime: since } as never] } };
  assert.equal(acceptedWrite(accepted, undefined), undefined);
  const next = { ...accepted, metadata: { ...policy.metadata, generation: 4 } };
  assert.equal(conditionOf(acceptedWrite(next, undefined))?.['lastTransitionTime'], since);
  const bad = conditionOf(acceptedWrite(next, 'cidrs: x'));
  assert.equal(bad?.['status'], 'False');
  assert.match(
    String(bad?.['message']),
    /^cidrs: x; until it is corrected, all traffic to what it selects is denied$/,
  );
  assert.notEqual(bad?.['lastTransitionTime'], since);
});

test("Weft's own kinds get an Accepted condition, other kinds get none", () => {
  const metadata = { name: 'x', namespace: 'shop', generation: 1 };
  const external: MeshObject = {
    kind: 'ExternalService',
    metadata,
    spec: { addresses: ['198.51.100.1'], ports: [{ port: 443 }] },
  };
  const workload: MeshObject = {
    kind: 'Workload',
    metadata,
    spec: { node: 'vm1', addresses: ['10.9.0.1'], netns: 'vm' },
  };
  const pod: MeshObject = {
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop', uid: 'u' },
    spec: { nodeName: 'node1' },
    status: { conditions: [] },
  };
  const pathOf = (object: MeshObject): string | undefined => acceptedWrite(object, undefined)?.path;
  assert.equal(pathOf(external), '/apis/weft.dev/v1alpha1/namespaces/shop/externalservices/x/status');
  assert.equal(pathOf(workload), '/apis/weft.dev/v1alpha1/namespaces/shop/workloads/x/status');
  assert.equal(pathOf(pod), undefined);
});
