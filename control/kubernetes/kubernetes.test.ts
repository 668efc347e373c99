import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pickFields } from '../kinds/kinds.js';
import type { MeshObject, PodObject } from '../objects/objects.js';
import { acceptedWrite, podWrite } from '../../test/support/status-writes.js';
import { mayTake } from './leader.js';
import type { Write } from './apply-queue.js';
import { keysOfSecret } from '../certificates/authority-store.js';
import { accountOfReview, callerOf } from '../authentication/token-review.js';

const account = 'system:serviceaccount:weft-system:weft-agent';
const review = (more: object = {}, extra: object = {}): Parameters<typeof accountOfReview>[0] => ({
  status: {
    authenticated: true,
    audiences: ['istio-ca'],
    user: {
      username: account,
      extra: {
        'authentication.kubernetes.io/node-name': ['node1'],
        'authentication.kubernetes.io/pod-uid': ['u'],
        ...extra,
      },
    },
    ...more,
  },
});

const nodeOfReview = (given: Parameters<typeof accountOfReview>[0], agents: string): string | undefined => {
  const reviewed = accountOfReview(given);
  return reviewed && callerOf(reviewed, agents, () => false);
};

test("a token counts for the node that its pod runs on, where it is an agent's and meant for us", () => {
  assert.equal(nodeOfReview(review(), account), 'node1');
  const refused: [string, Parameters<typeof accountOfReview>[0]][] = [
    ['not authenticated', review({ authenticated: false })],
    ['of another audience', review({ audiences: ['https://kubernetes.default.svc'] })],
    ["another account's", review({ user: { username: 'system:serviceaccount:shop:web', extra: {} } })],
    ['bound to no node', review({}, { 'authentication.kubernetes.io/node-name': undefined })],
    ['bound to no pod', review({}, { 'authentication.kubernetes.io/pod-uid': undefined })],
    ['of two nodes', review({}, { 'authentication.kubernetes.io/node-name': ['a', 'b'] })],
    ['empty', {}],
  ];
  for (const [what, given] of refused) assert.equal(nodeOfReview(given, account), undefined, what);
});

test("a waypoint's token counts for the Gateway that its account is named after, while that is there", () => {
  const isWaypoint = ({ namespace, name }: { namespace: string; name: string }): boolean =>
    namespace === 'shop' && name === 'wp';
  const of = (as: string): string | undefined => callerOf({ account: as, node: 'n1' }, account, isWaypoint);
  assert.equal(of('system:serviceaccount:shop:wp'), 'waypoint:shop/wp');
  for (const other of [
    'system:serviceaccount:other:wp',
    'system:serviceaccount:shop:web',
    'system:serviceaccount:shop:wp:wp',
    'shop:wp',
    'alice',
  ])
    assert.equal(of(other), undefined, other);
  assert.equal(of(account), 'n1');
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');

test("the CA's keys are read from Istio's and cert-manager's layouts, and a secret with neither says what is missing", () => {
  const expected = { key: 'K', cert: 'C', roots: 'R' };
  const istio = { 'ca-key.pem': base64('K'), 'ca-cert.pem': base64('C'), 'root-cert.pem': base64('R') };
  const certManager = { 'tls.key': base64('K'), 'tls.crt': base64('C'), 'ca.crt': base64('R') };
  assert.deepEqual(keysOfSecret({ data: istio }), expected);
  assert.deepEqual(keysOfSecret({ data: certManager }), expected);
  assert.deepEqual(keysOfSecret({ data: { 'tls.key': base64('K'), 'tls.crt': base64('C') } }), {
    ...expected,
    roots: 'C',
  });
  assert.throws(() => keysOfSecret({ data: { 'ca-cert.pem': base64('C') } }), /tls\.key/);
  assert.throws(() => keysOfSecret({}), /tls\.key/);
});

const pod = {
  metadata: {
    name: 'web',
    namespace: 'shop',
    uid: 'u',
    managedFields: [{}],
    annotations: { 'weft.dev/netns': '/proc/1/ns/net', 'weft.dev/splice': 'on', other: 'x' },
  },
  spec: {
    nodeName: 'node1',
    volumes: [{}],
    containers: [
      {
        name: 'c',
        image: 'i',
        env: [{ name: 'SECRET' }],
        ports: [{ containerPort: 80, name: 'http', protocol: 'TCP' }],
        readinessProbe: { httpGet: { port: 'http', path: '/' }, periodSeconds: 1 },
      },
    ],
  },
  status: {
    phase: 'Running',
    podIPs: [{ ip: '10.0.0.1' }],
    conditions: [{ type: 'Ready', status: 'True', reason: 'x' }],
  },
};

test('of a pod only what is compiled is kept, and its author has no say in where its namespace is', () => {
  assert.deepEqual(pickFields('Pod', pod), {
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop', uid: 'u', annotations: { 'weft.dev/splice': 'on' } },
    spec: {
      nodeName: 'node1',
      containers: [
        { ports: [{ name: 'http', containerPort: 80 }], readinessProbe: { httpGet: { port: 'http' } } },
      ],
    },
    status: {
      phase: 'Running',
      podIPs: [{ ip: '10.0.0.1' }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  });
});

test('a pod without a node and a service that is a name for another are left out', () => {
  assert.equal(pickFields('Pod', { metadata: { name: 'web' }, spec: {} }), undefined);
  assert.equal(pickFields('Service', { metadata: { name: 'x' }, spec: { type: 'ExternalName' } }), undefined);
});

test('the lease is taken when nobody holds it, or its holder has not renewed it for as long as it lasts', () => {
  const held = { renewTime: 'x', holder: 'other', sinceMs: 1_000 };
  assert.equal(mayTake(held, 'self', 15_000, 15_999), false);
  assert.equal(mayTake(held, 'self', 15_000, 16_000), true);
  assert.equal(mayTake({ ...held, holder: 'self' }, 'self', 15_000, 1_000), true);
  assert.equal(mayTake({ ...held, holder: '' }, 'self', 15_000, 1_000), true, 'it was given back');
});

const running = (conditions: object[] = []): PodObject => ({
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { nodeName: 'node1' },
  status: { conditions: conditions as never },
});
const conditionOf = (write: Write | undefined): Record<string, unknown> | undefined =>
  (write?.body as { status: { conditions: Record<string, unknown>[] } } | undefined)?.status.conditions[0];

test("a pod's condition follows its agent's word, is written where it differs, and only on that very pod", () => {
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
  assert.equal(podWrite(running(), undefined), undefined, 'a pod that was never in says nothing');
});

test('a policy says of which generation it is in force, keeps its time, and says what is wrong', () => {
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
  assert.match(String(bad?.['message']), /^cidrs: x; until it is corrected, what it selects is closed$/);
  assert.notEqual(bad?.['lastTransitionTime'], since);
});

test("each of Weft's own kinds says whether it is in force; others are none of ours to judge", () => {
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
  const pathOf = (object: MeshObject): string | undefined => acceptedWrite(object, undefined)?.path;
  assert.equal(pathOf(external), '/apis/weft.dev/v1alpha1/namespaces/shop/externalservices/x/status');
  assert.equal(pathOf(workload), '/apis/weft.dev/v1alpha1/namespaces/shop/workloads/x/status');
  assert.equal(pathOf(running()), undefined);
});

test('EndpointSlices that Kubernetes keeps itself are not kept; of others what is used', () => {
  const raw = (labels: object): object => ({
    metadata: { name: 's', namespace: 'shop', labels },
    addressType: 'IPv4',
    endpoints: [
      { addresses: ['192.0.2.1'], conditions: {} },
      { addresses: ['192.0.2.2'], conditions: { ready: false } },
    ],
    ports: [{ name: 'dns', port: 53, protocol: 'UDP' }, { port: 80 }],
  });
  const own = { 'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io' };
  assert.equal(pickFields('EndpointSlice', raw(own)), undefined);
  const kept = pickFields('EndpointSlice', raw({ 'kubernetes.io/service-name': 'db' }));
  assert.ok(kept?.kind === 'EndpointSlice');
  assert.deepEqual(kept.endpoints, [
    { addresses: ['192.0.2.1'], ready: true },
    { addresses: ['192.0.2.2'], ready: false },
  ]);
  assert.deepEqual(kept.ports, [{ port: 80 }]);
});
