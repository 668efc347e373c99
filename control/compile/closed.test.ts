import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId, parseTrustDomain } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import { authorize } from '../../src/policy/authorize.js';
import { readObject } from '../source/validate.js';
import { compile, type Compiler } from './compile.js';
import type { MeshObject } from '../objects/objects.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' };
const policy = (spec: unknown, namespace = 'shop', name = 'p'): MeshObject =>
  ({ kind: 'AccessPolicy', metadata: { name, namespace }, spec }) as unknown as MeshObject;
const pod: MeshObject = {
  kind: 'Pod',
  metadata: { name: 'a', namespace: 'shop', labels: { app: 'a', 'weft.dev/mesh': 'enabled' } },
  spec: { nodeName: 'n' },
  status: { podIPs: [{ ip: '10.0.0.2' }] },
};
const noRange = [{ from: [{ cidrs: ['10.0.0.0/99'] }] }];

/** The form of the object that is in force. */
function taken(object: MeshObject): MeshObject {
  const read = readObject(object);
  assert.ok(read.problem, 'it was read');
  assert.ok(read.object, 'nothing is in force');
  return read.object;
}
const compiledWith = (object: MeshObject): Compiler => compile([pod, taken(object)], settings);
function policyIn(compiler: Compiler): AuthorizationPolicy {
  const resource = [...compiler.all()].find(({ kind }) => kind === 'policy');
  assert.ok(resource?.kind === 'policy');
  return resource.value;
}
const asked = {
  identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web'),
  sourceIp: parseIp('10.0.0.1'),
  destinationIp: parseIp('10.0.0.2'),
  destinationPort: 80,
};
function policiesOfPod(compiler: Compiler): readonly string[] {
  const resource = [...compiler.all()].find(({ kind }) => kind === 'workload');
  assert.ok(resource?.kind === 'workload');
  return resource.value.policies;
}

test('the closed form of a policy denies everything to what it selects, regardless of its action, and keeps its name', () => {
  for (const action of ['ALLOW', 'DENY', 'REFUSE', undefined]) {
    const compiler = compiledWith(
      policy({ action, selector: { matchLabels: { app: 'a' } }, rules: noRange }),
    );
    const closed = policyIn(compiler);
    assert.equal(closed.scope, 'workload');
    assert.deepEqual(policiesOfPod(compiler), ['shop/p']);
    const verdict = authorize([closed], asked);
    assert.deepEqual([verdict.allowed, verdict.policy], [false, 'shop/p']);
    // An ALLOW policy does not open it, either.
    const other = policyIn(compile([policy({ action: 'ALLOW', rules: [{}] }, 'shop', 'all')], settings));
    assert.equal(authorize([other], asked).allowed, true);
    assert.equal(authorize([other, closed], asked).allowed, false);
  }
});

test('the closed form of a policy that targets Services closes those Services at their waypoint', () => {
  const targetRefs = [{ group: '', kind: 'Service', name: 'api' }];
  const closed = policyIn(compiledWith(policy({ action: 'ALLOW', targetRefs, rules: noRange })));
  assert.deepEqual([closed.scope, closed.services], ['workload', ['shop/api.shop.svc.cluster.local']]);
  assert.equal(authorize([closed], asked).allowed, false);
});

test('a policy whose selection cannot be read closes its namespace, and in the root namespace the mesh', () => {
  const unknown: unknown[] = [
    undefined,
    null,
    [],
    'x',
    { action: 'DENY', selector: { matchExpressions: [{}] }, rules: [] },
    { action: 'DENY', selector: { matchLabels: { app: 'a' }, matchExpressions: [{}] }, rules: noRange },
    { action: 'DENY', selector: { matchLabels: { app: 1 } }, rules: [] },
    { action: 'DENY', targetRefs: [{ group: 'x', kind: 'Y', name: 'z' }], rules: [] },
    {
      action: 'DENY',
      selector: { matchLabels: { app: 'a' } },
      targetRefs: [{ group: '', kind: 'Service', name: 'api' }],
      rules: [],
    },
    { action: 'DENY', selector: 'a', targetRefs: [{ group: '', kind: 'Service', name: 'api' }], rules: [] },
  ];
  for (const spec of unknown) {
    const closed = policyIn(compiledWith(policy(spec)));
    assert.equal(closed.scope, 'namespace', JSON.stringify(spec));
    assert.equal(authorize([closed], asked).allowed, false);
    assert.equal(policyIn(compiledWith(policy(spec, 'weft-system'))).scope, 'global');
  }
});

test('the closed form of an audit policy stays in audit mode', () => {
  const closed = policyIn(compiledWith(policy({ action: 'DENY', mode: 'audit', rules: noRange })));
  const verdict = authorize([closed], asked);
  assert.deepEqual([verdict.allowed, verdict.audited], [true, ['shop/p']]);
  assert.equal(policyIn(compiledWith(policy({ action: 'DENY', mode: 'Audit', rules: [] }))).dryRun, false);
});

test('the closed form of a policy with a reserved name gets another name, so that strict mode stays in force', () => {
  const compiler = compiledWith(
    policy(
      { action: 'DENY', selector: { matchLabels: { app: 'a' } }, rules: [] },
      'shop',
      'weft-strict-namespace',
    ),
  );
  assert.equal(policyIn(compiler).key, 'shop/weft-invalid-weft-strict-namespace');
  assert.deepEqual(policiesOfPod(compiler), ['shop/weft-invalid-weft-strict-namespace']);
});

const mesh = (spec: unknown): MeshObject =>
  ({ kind: 'MeshSettings', metadata: { name: 'mesh' }, spec }) as unknown as MeshObject;
const settingsOf = (spec: unknown): unknown => {
  const object = taken(mesh(spec));
  assert.ok(object.kind === 'MeshSettings');
  return object.spec;
};

test('unreadable settings have their strictest value, field by field', () => {
  assert.deepEqual(settingsOf({ mode: 'Strict', outboundUnknown: 'refuse' }), {
    mode: 'strict',
    outboundUnknown: 'refuse',
  });
  assert.deepEqual(settingsOf({ mode: 'strict', excludeOutboundCidrs: ['10.0.0.0/8', '10.0.0.0/99'] }), {
    mode: 'strict',
  });
  assert.deepEqual(settingsOf({ excludeOutboundCidrs: ['1::2::3/64'], sameNode: 'kernel' }), {
    sameNode: 'kernel',
  });
  assert.deepEqual(settingsOf({ mode: 'permissive', newer: true }), { mode: 'permissive' });
  const all = {
    mode: 'strict',
    policyMode: 'enforce',
    outboundUnknown: 'refuse',
    agentDown: 'refuse',
    sameNode: 'encrypted',
  };
  for (const spec of [undefined, null, 'x', []])
    assert.deepEqual(settingsOf(spec), all, JSON.stringify(spec));
});

test('settings with an unreadable CIDR do not prevent pods from being compiled', () => {
  const compiler = compiledWith(mesh({ excludeOutboundCidrs: ['1::2::3/64'] }));
  const resource = [...compiler.all()].find(({ kind }) => kind === 'nodePod');
  assert.ok(resource?.kind === 'nodePod');
  assert.deepEqual(resource.value.excludeOutboundCidrs, []);
});

test('the closed form of a route responds to all requests to its parents with an error', () => {
  const service: MeshObject = {
    kind: 'Service',
    metadata: { name: 'api', namespace: 'shop' },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
  };
  const object = {
    kind: 'HTTPRoute',
    metadata: { name: 'r', namespace: 'shop' },
    spec: {
      parentRefs: [{ group: '', kind: 'Service', name: 'api', newer: 1 }, { name: 7 }],
      rules: [{ matches: [{ newer: {} }] }],
    },
  } as unknown as MeshObject;
  const compiler = compile([service, taken(object)], settings);
  const resource = [...compiler.all()].find(({ kind }) => kind === 'route');
  assert.ok(resource?.kind === 'route');
  assert.deepEqual(resource.value.parents, [{ service: 'shop/api.shop.svc.cluster.local' }]);
  assert.equal(resource.value.rules.length, 1);
  assert.equal(resource.value.rules[0]?.backends[0]?.target.kind, 'invalid');
  assert.deepEqual(resource.value.rules[0]?.matches, []);
});
