/** Row 8 of docs/security.md: objects that this version of the control plane cannot decode. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runControl } from '../../control/control-plane.js';
import { inForceOf, mayConnect, requestOf } from './support/configuration.js';

const pod = (namespace: string, name: string, ip: string) => ({
  kind: 'Pod',
  metadata: { name, namespace, labels: { app: name, 'weft.dev/mesh': 'enabled' } },
  spec: { nodeName: 'n' },
  status: { podIPs: [{ ip }] },
});
const pods = [pod('bank', 'api', '10.0.0.2'), pod('bank', 'web', '10.0.0.3'), pod('shop', 'api', '10.0.0.4')];
const policy = (spec: unknown, namespace = 'bank') => ({
  kind: 'AccessPolicy',
  metadata: { name: 'p', namespace },
  spec,
});
const selector = { matchLabels: { app: 'api' } };
/** Specs of a newer version, of an older schema, or with mistakes. */
const unreadable: unknown[] = [
  { action: 'ALLOW', selector, rules: [{ from: [{ cidrs: ['10.0.0.0/99'] }] }] },
  { action: 'ALLOW', selector, rules: [{ from: [{ cidrs: ['1::2::3/64'] }] }] },
  { action: 'AUDIT', selector, rules: [] },
  { action: 'ALLOW', selector, rules: [{ from: [{ newer: ['x'] }] }] },
  { action: 'ALLOW', selector, rules: [{}], newer: true },
  { action: 'ALLOW', selector, rules: [{ to: [{ paths: ['/{*}/../b'] }] }] },
  { action: 'ALLOW', selector },
];

test('a policy that cannot be decoded does not open the workloads that it selects, and does not affect others', () => {
  for (const spec of unreadable) {
    const { view, workload } = inForceOf([...pods, policy(spec)]);
    const verdict = (namespace: string, name: string) =>
      mayConnect(view.policiesFor(workload(namespace, name)), requestOf('/'));
    const name = JSON.stringify(spec);
    assert.deepEqual(
      [verdict('bank', 'api').allowed, verdict('bank', 'api').policy],
      [false, 'bank/p'],
      name,
    );
    assert.equal(verdict('bank', 'web').allowed, true, `the rest of its namespace: ${name}`);
    assert.equal(verdict('shop', 'api').allowed, true, `another namespace: ${name}`);
  }
});

test('a policy whose selector cannot be decoded closes its namespace, and no other', () => {
  for (const spec of [undefined, 'x', { action: 'DENY', selector: { matchExpressions: [] }, rules: [] }]) {
    const { view, workload } = inForceOf([...pods, policy(spec)]);
    for (const name of ['api', 'web'])
      assert.equal(mayConnect(view.policiesFor(workload('bank', name))).allowed, false);
    assert.equal(mayConnect(view.policiesFor(workload('shop', 'api'))).allowed, true);
  }
});

test('MeshSettings that cannot be decoded do not allow plaintext', () => {
  for (const spec of [{ mode: 'STRICT' }, { mode: 'mutual' }, 'x', { mode: 'strict', newer: { a: 1 } }]) {
    const settings = { kind: 'MeshSettings', metadata: { name: 'mesh' }, spec };
    const { view, workload } = inForceOf([...pods, settings]);
    const policies = view.policiesFor(workload('shop', 'api'));
    assert.equal(policies.length, 1, JSON.stringify(spec));
    assert.equal(policies[0]?.action, 'deny');
  }
});

test('an unknown value of the mode label does not allow plaintext', () => {
  const namespace = { kind: 'Namespace', metadata: { name: 'bank', labels: { 'weft.dev/mode': 'Strict' } } };
  const { view, workload } = inForceOf([...pods, namespace]);
  assert.equal(view.policiesFor(workload('bank', 'api')).length, 1);
  assert.equal(view.policiesFor(workload('shop', 'api')).length, 0);
});

test('an unknown value of the mesh label does not unenroll a pod', () => {
  const namespace = { kind: 'Namespace', metadata: { name: 'bank', labels: { 'weft.dev/mesh': 'enabled' } } };
  const one = pod('bank', 'api', '10.0.0.2');
  const odd = { ...one, metadata: { ...one.metadata, labels: { 'weft.dev/mesh': 'true' } } };
  assert.equal(inForceOf([namespace, odd]).workload('bank', 'api').tunnel, 'hbone');
});

test('requests do not pass a route that cannot be decoded as if it did not exist', () => {
  const service = {
    kind: 'Service',
    metadata: { name: 'api', namespace: 'bank' },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
  };
  const route = {
    kind: 'HTTPRoute',
    metadata: { name: 'r', namespace: 'bank' },
    spec: {
      parentRefs: [{ group: '', kind: 'Service', name: 'api' }],
      rules: [{ filters: [{ type: 'NewerThanThis' }], backendRefs: [{ name: 'api', port: 80 }] }],
    },
  };
  const { routes } = inForceOf([service, route]);
  assert.deepEqual(
    routes.map(({ rules }) => rules.map(({ backends }) => backends.map(({ target }) => target.kind))),
    [[['invalid']]],
  );
});

test('a control plane that starts with an unreadable file serves no node, so that nodes keep their configuration', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-threats-'));
  try {
    writeFileSync(join(dir, 'policy.yaml'), 'kind: AccessPolicy\nmetadata: { name: [');
    await assert.rejects(
      runControl({
        from: [dir],
        state: join(dir, 'state'),
        listen: '127.0.0.1:0',
        trustDomain: 'cluster.local',
      }),
      { code: 'WEFT_SOURCE_UNREADABLE' },
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});
