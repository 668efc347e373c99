import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kindNames, kinds, pickFields } from './kinds.js';

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

test('only the fields of a pod that are compiled are kept; its annotation for a network namespace is dropped', () => {
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

test('a pod without a node and a Service of type ExternalName are left out', () => {
  assert.equal(pickFields('Pod', { metadata: { name: 'web' }, spec: {} }), undefined);
  assert.equal(pickFields('Service', { metadata: { name: 'x' }, spec: { type: 'ExternalName' } }), undefined);
});

test('EndpointSlices of the Kubernetes controller are left out; of others, only the used fields are kept', () => {
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

test('the table names a status function for every kind whose status the control plane writes', () => {
  assert.deepEqual(
    kindNames.filter((kind) => kinds[kind].status),
    [
      'Service',
      'AccessPolicy',
      'MeshSettings',
      'ExternalService',
      'Workload',
      'GatewayClass',
      'Gateway',
      'HTTPRoute',
      'GRPCRoute',
      'TLSRoute',
      'TCPRoute',
    ],
  );
});
