import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type SpiffeId } from '../../src/model/identity.js';
import { parseIp } from '../../src/model/address.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import { authorize, type Verdict } from '../../src/policy/authorize.js';
import { decodeAuthorization, encodeAuthorization } from '../../src/discovery/codec/policy.js';
import {
  enforced,
  mesh,
  namespace,
  objectsOf,
  policies,
  policiesOf,
  settings,
} from '../../test/support/policy-mode.js';
import { objectKey } from '../objects/object-key.js';
import { compile } from './compile.js';

const own = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: web-only, namespace: shop }
spec: { action: ALLOW, rules: [{ from: [{ serviceAccounts: [shop/web] }] }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-intruder, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ serviceAccounts: [shop/intruder] }] }] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-9000, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ operation: { ports: ['9000'] } }] }] }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: tls, namespace: shop }
spec: { mtls: { mode: STRICT }, selector: { matchLabels: { app: api } } }
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: smi, namespace: shop }
spec:
  destination: { kind: ServiceAccount, name: api, namespace: shop }
  rules: [{ kind: TCPRoute, name: any }]
  sources: [{ kind: ServiceAccount, name: web, namespace: shop }]
---
apiVersion: v1
kind: Pod
metadata: { name: api, namespace: shop, labels: { app: api, weft.dev/mode: strict } }
spec: { nodeName: a, serviceAccountName: api }
status: { podIPs: [{ ip: 10.1.1.1 }] }
`;
const ofMesh = `---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-thief, namespace: weft-system }
spec: { action: DENY, rules: [{ from: [{ serviceAccounts: [shop/thief] }] }] }
`;
test('a namespace in audit mode enforces none of its policies, in whichever kind they are written, and strict mode neither', () => {
  const before = policies(own + ofMesh + namespace('weft.dev/mode: strict, weft.dev/mesh: enabled'));
  assert.equal(enforced(before).length, before.length);
  assert.ok(before.length >= 8, before.map(({ key }) => key).join(' '));
  const after = policies(
    own + ofMesh + namespace('weft.dev/mode: strict, weft.dev/mesh: enabled, weft.dev/policy-mode: audit'),
  );
  assert.equal(after.length, before.length);
  assert.deepEqual(enforced(after), ['weft-system/no-thief']);
});

test('an unknown value of the label, the label of another namespace, and a label on the root namespace put nothing in audit mode', () => {
  const all = policies(own + ofMesh)
    .map(({ key }) => key)
    .sort();
  for (const more of [
    namespace('weft.dev/policy-mode: Audit'),
    namespace('weft.dev/policy-mode: enforce'),
    namespace('weft.dev/policy-mode: audit', 'other'),
    namespace('weft.dev/policy-mode: audit', 'weft-system'),
    mesh('policyMode: enforce'),
  ])
    assert.deepEqual(enforced(policies(own + ofMesh + more)), all, more);
});

test('in a mesh in audit mode no policy is enforced, those of the root namespace and strict mode neither', () => {
  const all = policies(own + ofMesh + mesh('policyMode: audit, mode: strict'));
  assert.ok(all.some(({ key }) => key === 'weft-system/weft-strict-mesh'));
  assert.deepEqual(enforced(all), []);
});

test('the policies of a namespace follow its label at once, and no other policy is sent again', () => {
  const compiler = compile(objectsOf(own + ofMesh + namespace('weft.dev/mesh: enabled')), settings);
  const turn = (labels: string) => {
    const [object] = objectsOf(namespace(labels));
    assert.ok(object);
    return policiesOf(compiler.apply(new Map([[objectKey(object), object]])).updated);
  };
  const audited = turn('weft.dev/mesh: enabled, weft.dev/policy-mode: audit');
  assert.deepEqual(enforced(audited), []);
  const names = audited.map(({ key }) => key);
  for (const name of ['web-only', 'no-intruder', 'TrafficTarget:smi'])
    assert.ok(
      names.some((key) => key === `shop/${name}`),
      name,
    );
  assert.ok(!names.some((key) => key.startsWith('weft-system/')));
  const again = turn('weft.dev/mesh: enabled');
  assert.deepEqual(enforced(again), names.sort());
});

const web = 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId;
const stranger = 'spiffe://cluster.local/ns/far/sa/x' as SpiffeId;
const verdict = (list: readonly AuthorizationPolicy[], identity: SpiffeId | undefined): Verdict =>
  authorize(list, {
    identity,
    sourceIp: parseIp('10.0.0.1'),
    destinationIp: parseIp('10.1.1.1'),
    destinationPort: 80,
  });
const allow = (name: string, account: string, ns = 'shop', mode = 'enforce'): string => `---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: ${name}, namespace: ${ns} }
spec: { action: ALLOW, mode: ${mode}, rules: [{ from: [{ serviceAccounts: [${account}] }] }] }
`;
const audit = namespace('weft.dev/policy-mode: audit');

test('in audit mode an ALLOW refuses nobody, is recorded for whom it would refuse, and still allows beside ALLOW policies of the mesh', () => {
  const alone = policies(allow('web-only', 'shop/web') + audit);
  assert.deepEqual(verdict(alone, stranger), {
    allowed: true,
    reason: 'no-policy',
    audited: ['shop/web-only'],
  });
  assert.deepEqual(verdict(alone, web).audited, []);
  const withMesh = allow('web-only', 'shop/web') + allow('far-only', 'far/y', 'weft-system');
  for (const text of [withMesh, withMesh + audit]) {
    assert.equal(verdict(policies(text), web).allowed, true, 'allowed before, and in audit mode');
    assert.equal(verdict(policies(text), stranger).allowed, false, 'the policy of the mesh is enforced');
  }
});

test('a policy whose own mode is audit allows nothing in a namespace in audit mode, either', () => {
  const text = allow('tried', 'far/x', 'shop', 'audit') + allow('far-only', 'far/y', 'weft-system') + audit;
  assert.equal(verdict(policies(text), stranger).allowed, false);
  const both = policies(allow('tried', 'far/x', 'shop', 'audit') + allow('web-only', 'shop/web') + audit);
  assert.deepEqual(verdict(both, stranger).audited, ['shop/web-only']);
});

test('a policy in audit mode is the same after encoding and decoding', () => {
  for (const policy of policies(own + audit)) {
    const decoded = decodeAuthorization(encodeAuthorization(policy));
    assert.deepEqual(decoded, { ok: true, value: policy });
  }
});
