/** `weft policy test` and `weft policy diff` with rules on TLS server names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { snapshotOf } from '../../control/policy-mesh/policy-mesh.js';
import { loadTexts } from '../../control/migrate/load.js';
import { callsOf } from '../../src/cli/policy/calls.js';
import { policyDiff, type ChangeKind } from '../../src/cli/policy/diff.js';
import { PolicyMesh } from '../../src/cli/policy/policy-mesh.js';
import { runCase } from '../../src/cli/policy/run-test.js';
import { readPolicyTest } from '../../src/cli/policy/test-file.js';
import type { Edge } from '../../src/model/edge.js';
import { spiffeIdOf, parseTrustDomain } from '../../src/model/identity.js';

const manifests = (service: string): string => `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: v1
kind: Pod
metadata: { name: api, namespace: shop, labels: { app: api } }
spec: { nodeName: a, serviceAccountName: api }
status: { podIPs: [{ ip: 10.1.1.1 }] }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop${service} }
spec: { clusterIP: 10.96.0.1, selector: { app: api }, ports: [{ name: tls, port: 443, targetPort: 8443 }] }
`;
const behindWaypoint = manifests(', labels: { weft.dev/waypoint: wp }');
const policy = (action: string, to: string): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: names, namespace: shop }
spec: { action: ${action}, selector: { matchLabels: { app: api } }, rules: [{ to: [{ ${to} }] }] }
`;
function meshOf(...texts: string[]): PolicyMesh {
  const loaded = loadTexts([{ file: 'mesh.yaml', text: texts.join('---\n') }]);
  assert.deepEqual(loaded.problems, []);
  for (const { errors } of loaded.sources) assert.deepEqual(errors, []);
  return new PolicyMesh(snapshotOf(loaded.objects, 'weft-system'));
}

function got(mesh: PolicyMesh, more: string): string {
  const text = `manifests: [x]\ncases: [{ from: { namespace: shop, serviceAccount: web }, to: { service: shop/api, port: 443 }, ${more} expect: allow }]`;
  const read = readPolicyTest('t.yaml', text);
  assert.ok(read.ok, read.ok ? '' : read.errors.join());
  const [one] = read.value.cases;
  assert.ok(one);
  const result = runCase(mesh, one);
  return `${result.got}: ${result.why}`;
}

test('a case of a policy test has the server name of a connection', () => {
  const mesh = meshOf(behindWaypoint, policy('ALLOW', "sni: ['*.a.test'], notSni: [x.a.test]"));
  assert.match(got(mesh, 'sni: API.A.test,'), /^allow: policy shop\/names rule 0/);
  assert.match(got(mesh, 'sni: x.a.test,'), /^deny: .*TLS server name: x\.a\.test/);
  assert.match(got(mesh, ''), /^deny: .*none was read/);
  assert.match(got(mesh, 'request: { host: api.a.test },'), /^deny: .*none was read/);
  assert.match(got(mesh, 'request: {}, sni: a.test,'), /^error: sni: /);
  const denies = meshOf(behindWaypoint, policy('DENY', 'sni: [a.test]'));
  assert.match(got(denies, 'sni: a.test,'), /^deny/);
  assert.match(got(denies, 'sni: b.test,'), /^allow/);
  assert.match(got(denies, ''), /^deny/);
});

test('without a waypoint a rule on server names allows nothing and denies everything that it might match', () => {
  for (const action of ['ALLOW', 'DENY'])
    for (const name of ['a.test', 'b.test'])
      assert.match(got(meshOf(manifests(''), policy(action, 'sni: [a.test]')), `sni: ${name},`), /^deny/);
});

const account = (serviceAccount: string) =>
  spiffeIdOf({ trustDomain: parseTrustDomain('cluster.local'), namespace: 'shop', serviceAccount });
const edge = (more: Partial<Edge>): Edge => ({
  reporter: 'destination',
  source: { namespace: 'shop', workload: 'web', pod: '', identity: account('web') },
  destination: { namespace: 'shop', workload: 'api', pod: 'api', identity: account('api') },
  service: 'api.shop.svc.cluster.local',
  port: 8443,
  path: 'hbone',
  method: '',
  pathTemplate: '',
  policy: '',
  counts: {
    connections: 3,
    refused: 0,
    audited: 0,
    bytesSent: 0,
    bytesReceived: 0,
    requests: 0,
    failures: 0,
    latencyCounts: [],
    lastSeenMs: 1,
  },
  ...more,
});
const relayed = edge({ reporter: 'waypoint', path: 'waypoint' });

function kinds(mesh: string, added: string, seen: Edge): ChangeKind[] {
  const { changes, unknown } = policyDiff(callsOf([seen]), meshOf(mesh), meshOf(mesh, added));
  assert.deepEqual(unknown, []);
  return changes.map(({ kind }) => kind);
}

test('names are not observed, so that a rule on them may change what was seen', () => {
  for (const action of ['ALLOW', 'DENY'])
    for (const to of ['sni: [a.test]', 'notSni: ["*.a.test"]'])
      assert.deepEqual(kinds(behindWaypoint, policy(action, to), relayed), ['may-change'], `${action} ${to}`);
  assert.deepEqual(kinds(behindWaypoint, policy('DENY', 'ports: [1], sni: [a.test]'), relayed), []);
});

test('requests that were seen came without TLS, and connections without a waypoint have no name that is read', () => {
  const request = {
    ...relayed,
    method: 'GET',
    pathTemplate: '/',
    counts: { ...relayed.counts, requests: 2 },
  };
  assert.deepEqual(kinds(behindWaypoint, policy('DENY', 'sni: [a.test]'), request), ['newly-denied']);
  assert.deepEqual(kinds(manifests(''), policy('ALLOW', 'sni: [a.test]'), edge({})), ['newly-denied']);
});
