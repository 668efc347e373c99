import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Agent, AgentStatus } from './agents.js';
import { agentFindings } from './agent-findings.js';
import { apiFindings } from './api-findings.js';
import { findingLines, securityFindings } from './check.js';
import { networkPolicyFindings } from './network-policy-findings.js';
import { nodeFindings } from './node-findings.js';
import { clusterLines } from './status.js';

const node = (name: string, kernelVersion: string, operatingSystem = 'linux') => ({
  metadata: { name },
  status: { nodeInfo: { kernelVersion, operatingSystem } },
});
const levels = (findings: readonly { level: string }[]): string[] => findings.map(({ level }) => level);

test('a kernel that is too old fails the check, and Windows nodes get no agent', () => {
  const findings = nodeFindings([
    node('a', '6.1.0-56-amd64'),
    node('b', '5.15.0'),
    node('w', '10.0', 'windows'),
  ]);
  assert.deepEqual(levels(findings), ['ok', 'fail', 'ok']);
  assert.match(findings[1]?.what ?? '', /node b has kernel 5\.15\.0/);
});

test('a NetworkPolicy of an enrolled namespace must allow tunnels; other policies and those that close all are ignored', () => {
  const policy = (namespace: string, ports: readonly object[] | undefined, more: object = {}) => ({
    metadata: { name: 'p', namespace },
    spec: { policyTypes: ['Ingress'], ingress: [{ ...(ports ? { ports } : {}) }], ...more },
  });
  const check = (...policies: readonly object[]): string[] =>
    levels(networkPolicyFindings(policies as never, (name) => name === 'shop'));
  assert.deepEqual(check(policy('shop', [{ port: 8080 }])), ['fail']);
  assert.deepEqual(check(policy('other', [{ port: 8080 }])), []);
  assert.deepEqual(check(policy('shop', undefined)), []);
  assert.deepEqual(check(policy('shop', [{ port: 15000, endPort: 15010 }])), []);
  assert.deepEqual(check(policy('shop', [{ port: 15008, protocol: 'UDP' }])), ['fail']);
  assert.deepEqual(check(policy('shop', [], { ingress: [] })), [], 'it closes its pods, as it is meant to');
  const egress = policy('shop', undefined, { policyTypes: ['Egress'], egress: [{ ports: [{ port: 53 }] }] });
  assert.deepEqual(check(egress), ['fail']);
});

test('Pod Security that would refuse the agent is reported before the installation', () => {
  const namespace = (enforce: string) => ({
    metadata: { name: 'weft-system', labels: { 'pod-security.kubernetes.io/enforce': enforce } },
  });
  assert.deepEqual(levels(securityFindings(namespace('baseline'), 'weft-system')), ['fail']);
  assert.deepEqual(securityFindings(namespace('privileged'), 'weft-system'), []);
  assert.deepEqual(securityFindings(undefined, 'weft-system'), []);
});

test('an API of edges that the API server does not reach is a finding: deletions of namespaces wait for it', () => {
  const item = (status: string) => ({
    status: { conditions: [{ type: 'Available', status, message: 'failing or missing response' }] },
  });
  assert.deepEqual(apiFindings(undefined), [], 'it is not served');
  assert.deepEqual(levels(apiFindings(item('True'))), ['ok']);
  assert.deepEqual(levels(apiFindings({})), ['warn']);
  const [finding] = apiFindings(item('False'));
  assert.equal(finding?.level, 'warn');
  assert.match(finding?.what ?? '', /does not reach observe\.weft\.dev: failing or missing response/);
  assert.match(finding?.help ?? '', /observe\.api=false/);
});

const now = Date.parse('2026-01-01T00:00:00Z');
const good: AgentStatus = {
  ready: true,
  version: '0.1.0',
  pods: [{ uid: 'Kubernetes//Pod/shop/web', certificate: true }],
  waiting: {},
  uncaptured: [{ uid: 'Kubernetes//Pod/kube-system/dns', reason: 'namespace-not-enrolled' }],
  control: { state: 'connected', why: 'x' },
  missing: {},
  cni: 'in its place',
  certificates: [{ id: 'spiffe://x', notAfter: '2026-01-02T00:00:00Z' }],
  timeMs: now,
};
const agent = (more: Partial<AgentStatus> = {}): Agent => ({
  node: 'a',
  pod: 'weft-agent-a',
  status: { ...good, ...more },
});

test('each problem of an agent is a finding that says what to do', () => {
  const check = (given: Agent): string[] => levels(agentFindings([given], [node('a', '6.6')], now));
  assert.deepEqual(check(agent()), ['ok']);
  assert.deepEqual(check(agent({ waiting: { 'x//Pod/shop/b': 'no process yet' }, ready: false })), ['fail']);
  assert.deepEqual(check(agent({ control: { state: 'disconnected', why: 'refused' } })), ['ok', 'fail']);
  assert.deepEqual(check(agent({ missing: { splice: 'no sk_msg' } })), ['ok', 'warn']);
  assert.deepEqual(
    check(agent({ undecodable: [{ type: 'Route', why: 'shop/r: filter of unknown kind' }] })),
    ['ok', 'fail'],
  );
  assert.deepEqual(check(agent({ relay: { relay: 'carrier', carriers: [], why: 'no socket' } })), [
    'ok',
    'fail',
  ]);
  assert.deepEqual(check(agent({ relay: { relay: 'typescript', carriers: [], why: '' } })), ['ok']);
  assert.deepEqual(check(agent({ cni: 'cannot be read' })), ['ok', 'warn']);
  assert.deepEqual(check(agent({ certificates: [{ id: 'spiffe://x', error: 'refused' }] })), ['ok', 'fail']);
  assert.deepEqual(check(agent({ timeMs: now - 60_000 })), ['ok', 'warn']);
  assert.deepEqual(check({ ...agent(), isPodUnready: true }), ['fail']);
  assert.deepEqual(check({ node: 'a', pod: 'p', why: 'timeout' }), ['fail']);
  assert.deepEqual(levels(agentFindings([], [node('a', '6.6')], now)), ['fail']);
  const findings = agentFindings([agent({ cni: 'x', missing: { splice: 'y' } })], [node('a', '6.6')], now);
  for (const { level, help } of findings) assert.ok(level === 'ok' || help);
  assert.ok([...findingLines(findings)].length > findings.length);
});

test('status shows nodes and problems, and on request the pods outside of the mesh', () => {
  const status = {
    ok: false,
    control: { ready: 1, wanted: 2, image: 'weft:0.1.0' },
    failures: [],
    namespaces: [],
    unknown: [],
    configuration: ['AccessPolicy shop/p: cidrs: x; what it selects is closed'],
    pending: ['Namespace shop: strict mode is pending: it waits for 2 pods (2 on node7)'],
    nodes: [
      {
        name: 'a',
        agent: agent({ ready: false, waiting: { 'Kubernetes//Pod/shop/late': 'no process yet' } }),
      },
      { name: 'b' },
      { name: 'c', agent: { node: 'c', pod: 'p', why: 'timeout' } },
      { name: 'd', agent: { ...agent({ uncaptured: [] }), isPodUnready: true as const } },
    ],
  };
  const text = [...clusterLines(status, true, now)].join('\n');
  assert.match(text, /^control plane {2}1 of 2 ready, weft:0\.1\.0$/m);
  assert.match(text, /^a +not ready +in sync +1 of 2 +1, first ends in 24 h +in its place +0\.1\.0$/m);
  assert.match(text, /^b +none$/m);
  assert.match(text, /^NOT IN FORCE AS IT IS WRITTEN\nAccessPolicy shop\/p: cidrs: x/m);
  assert.match(text, /^NEW IN THE MESH\nNamespace shop: strict mode is pending: .*node7/m);
  assert.match(text, /^c +no answer: timeout$/m);
  assert.match(text, /^d +ready, its pod is not +in sync/m, 'what the kubelet finds counts, too');
  assert.match(text, /^shop\/late +a +no process yet$/m);
  assert.match(text, /^kube-system\/dns +a +namespace-not-enrolled$/m);
  assert.match([...clusterLines(status, false, now)].join('\n'), /1 pods are not in the mesh/);
});
