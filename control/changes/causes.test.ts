import assert from 'node:assert/strict';
import { test } from 'node:test';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import { causesOf, originOf } from './causes.js';
import { Deliveries } from './deliveries.js';

const service = (more: object = {}, metadata: object = {}): MeshObject =>
  ({
    kind: 'Service',
    metadata: { name: 'api', namespace: 'shop', ...metadata },
    spec: { ports: [] },
    ...more,
  }) as unknown as MeshObject;
const pod = (ready: string): MeshObject =>
  ({
    kind: 'Pod',
    metadata: { name: 'a', namespace: 'shop' },
    spec: {},
    status: { conditions: [{ type: 'Ready', status: ready }] },
  }) as unknown as MeshObject;

function operations(before: MeshObject | undefined, now: MeshObject | undefined): string[] {
  const key: ObjectKey = objectKey((now ?? before) as MeshObject);
  return causesOf(new Map([[key, before]]), new Map([[key, now]]), () => ({
    by: 'kubectl',
    version: '7',
  })).map(({ operation, by }) => `${operation} by ${by}`);
}

test('an object is a cause if something that a user writes has changed', () => {
  assert.deepEqual(operations(undefined, service()), ['created by kubectl']);
  assert.deepEqual(operations(service(), undefined), ['deleted by undefined']);
  assert.deepEqual(operations(service(), service({ spec: { ports: [{ port: 80 }] } })), [
    'updated by kubectl',
  ]);
  assert.deepEqual(operations(service(), service({}, { labels: { a: 'b' } })), ['updated by kubectl']);
  assert.deepEqual(
    operations(service(), service({ status: { conditions: [] } }, { resourceVersion: '8', generation: 2 })),
    [],
  );
  assert.deepEqual(operations(pod('False'), pod('True')), ['updated by kubectl'], 'readiness is served');
});

test('an object of the cluster has no namespace', () => {
  const namespace = { kind: 'Namespace', metadata: { name: 'shop' } } as unknown as MeshObject;
  const [cause] = causesOf(new Map(), new Map([[objectKey(namespace), namespace]]), () => undefined);
  assert.deepEqual(cause, { kind: 'Namespace', namespace: '', name: 'shop', operation: 'created' });
});

test('the field manager is the one that wrote last, not one that wrote a status', () => {
  const managedFields = [
    { manager: 'kubectl-client-side-apply', operation: 'Update', time: '2026-01-01T00:00:00Z' },
    { manager: 'argocd', operation: 'Apply', time: '2026-01-02T00:00:00Z' },
    { manager: 'weft', operation: 'Apply', subresource: 'status', time: '2026-01-03T00:00:00Z' },
  ];
  assert.deepEqual(originOf({ metadata: { managedFields, resourceVersion: '5' } }), {
    by: 'argocd',
    version: '5',
  });
  assert.deepEqual(originOf({ metadata: { managedFields: managedFields.slice(2) } }), { by: 'weft' });
  for (const raw of [
    undefined,
    null,
    1,
    {},
    { metadata: { managedFields: 'x' } },
    { metadata: { managedFields: [null, { manager: 5 }] } },
  ])
    assert.deepEqual(originOf(raw), {});
});

test('an acknowledgment stands for the responses before it, once, and unknown ones for nothing', () => {
  const deliveries = new Deliveries();
  for (let nonce = 1; nonce <= 100; nonce++) deliveries.sent(String(nonce), nonce);
  assert.equal(deliveries.acknowledged('1'), undefined, 'forgotten: a later one stands for it');
  assert.equal(deliveries.acknowledged('70'), 70);
  assert.equal(deliveries.acknowledged('70'), undefined);
  assert.equal(deliveries.acknowledged('60'), undefined);
  assert.equal(deliveries.acknowledged('x'), undefined);
  assert.equal(deliveries.acknowledged('100'), 100);
});
