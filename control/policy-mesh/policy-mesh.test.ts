import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MeshSnapshot } from '../../src/state/snapshot.js';
import { loadTexts } from '../migrate/load.js';
import { policyMeshes, snapshotOf } from './policy-mesh.js';

const current = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Pod
metadata: { name: web-0, namespace: shop, labels: { app: web } }
spec: { nodeName: a, serviceAccountName: web }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.1, selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: old, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ ports: [1] }] }] }
`;
/** An object is replaced, one is new, labels of a namespace concern objects that stay, and a waypoint is new. */
const applied = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: old, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ ports: [2] }] }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: a-new, namespace: shop }
spec: { action: ALLOW, selector: { matchLabels: { app: web } }, rules: [{ from: [{ serviceAccounts: [shop/client] }] }] }
---
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict, weft.dev/policy-mode: audit, weft.dev/waypoint: wp } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: v1
kind: Pod
metadata: { name: web-1, namespace: shop, labels: { app: web } }
spec: { nodeName: a, serviceAccountName: web }
status: { podIPs: [{ ip: 10.0.0.2 }] }
`;

const sorted = (list: readonly unknown[] = []): readonly string[] =>
  list
    .map((one) =>
      JSON.stringify(one, (_key, value: unknown) => (value instanceof Map ? [...value.entries()] : value)),
    )
    .sort();
const textOf = ({ mesh, pods }: MeshSnapshot): unknown =>
  [mesh.workloads, mesh.services, mesh.policies, pods].map((list) => sorted(list));

test('the state after manifests are applied is that of all objects together, and the state before stays as it was', () => {
  const root = 'weft-system';
  const { before, after, errors } = policyMeshes(
    [{ file: 'current.yaml', text: current }],
    [{ file: 'applied.yaml', text: applied }],
    root,
  );
  assert.deepEqual(errors, []);
  const objects = (text: string) => loadTexts([{ file: 'a.yaml', text }]).objects;
  assert.deepEqual(textOf(before), textOf(snapshotOf(objects(current), root)));
  assert.deepEqual(textOf(after), textOf(snapshotOf([...objects(current), ...objects(applied)], root)));
  assert.notDeepEqual(textOf(before), textOf(after));
});
