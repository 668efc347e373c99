import assert from 'node:assert/strict';
import { test } from 'node:test';
import { narrow } from '../source/narrow.js';
import { keysOfSecret } from './authority-store.js';
import { nodeOfReview } from './token-review.js';

const account = 'system:serviceaccount:weft-system:weft-agent';
const review = (more: object = {}, extra: object = {}): Parameters<typeof nodeOfReview>[0] => ({
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

test("a token counts for the node that its pod runs on, where it is an agent's and meant for us", () => {
  assert.equal(nodeOfReview(review(), account), 'node1');
  const refused: [string, Parameters<typeof nodeOfReview>[0]][] = [
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
  assert.deepEqual(narrow('Pod', pod), {
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
  assert.equal(narrow('Pod', { metadata: { name: 'web' }, spec: {} }), undefined);
  assert.equal(narrow('Service', { metadata: { name: 'x' }, spec: { type: 'ExternalName' } }), undefined);
});
