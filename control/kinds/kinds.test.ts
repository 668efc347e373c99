import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parseAllDocuments } from 'yaml';
import { acceptedStatus } from '../status/accepted.js';
import { backendPolicyStatus } from '../status/backend-policy.js';
import { gatewayClassStatus } from '../status/gateway-class.js';
import { gatewayStatus } from '../status/gateway.js';
import { policyStatus } from '../status/policy.js';
import { routeStatus } from '../status/route.js';
import { serviceStatus } from '../status/service.js';
import { trafficPolicyStatus } from '../status/traffic-policy.js';
import { statusPathOf } from '../status/write.js';
import {
  isIstio,
  isSmi,
  istioKinds,
  smiKinds,
  type IstioKind,
  type MeshObject,
  type SmiKind,
} from '../objects/objects.js';
import type { Kind } from './kind.js';
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

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

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

type KindName = MeshObject['kind'];
/** Optional members of an entry, by kind. A member that is lost changes what the control plane does without an error of the compiler. */
type OptionalMember = 'claims' | 'dependents' | 'compile' | 'status';
const members: Readonly<Record<Exclude<KindName, IstioKind | SmiKind>, readonly OptionalMember[]>> = {
  Namespace: ['dependents', 'compile'],
  Node: ['claims', 'dependents'],
  Pod: ['claims', 'dependents', 'compile'],
  Service: ['claims', 'dependents', 'compile', 'status'],
  EndpointSlice: ['compile'],
  AccessPolicy: ['dependents', 'compile', 'status'],
  TrafficPolicy: ['dependents', 'compile', 'status'],
  AuthenticationPolicy: ['dependents', 'compile', 'status'],
  MeshSettings: ['dependents', 'compile', 'status'],
  ExternalService: ['claims', 'dependents', 'compile', 'status'],
  Workload: ['claims', 'dependents', 'compile', 'status'],
  GatewayClass: ['dependents', 'status'],
  Gateway: ['dependents', 'compile', 'status'],
  HTTPRoute: ['dependents', 'compile', 'status'],
  GRPCRoute: ['dependents', 'compile', 'status'],
  TLSRoute: ['dependents', 'compile', 'status'],
  TCPRoute: ['dependents', 'compile', 'status'],
  XBackendTrafficPolicy: ['dependents', 'compile', 'status'],
  BackendTLSPolicy: ['dependents', 'status'],
  ConfigMap: ['dependents'],
};

const native = kindNames.filter(
  (kind): kind is keyof typeof members => !isIstio({ kind }) && !isSmi({ kind }),
);

test('each kind has the members that are stated here, and no others', () => {
  const optional: readonly OptionalMember[] = ['claims', 'dependents', 'compile', 'status'];
  for (const kind of native)
    assert.deepEqual(
      optional.filter((member) => kinds[kind][member] !== undefined),
      members[kind],
      kind,
    );
});

test('the table names a status function for every kind whose status the control plane writes', () => {
  const statuses: Readonly<Record<Exclude<KindName, IstioKind | SmiKind>, unknown>> = {
    // Written by first-enrollment.ts.
    Namespace: undefined,
    Node: undefined,
    // Written from the reports of the pod's node.
    Pod: undefined,
    Service: serviceStatus,
    EndpointSlice: undefined,
    AccessPolicy: policyStatus,
    TrafficPolicy: trafficPolicyStatus,
    AuthenticationPolicy: trafficPolicyStatus,
    MeshSettings: acceptedStatus,
    ExternalService: acceptedStatus,
    Workload: acceptedStatus,
    GatewayClass: gatewayClassStatus,
    Gateway: gatewayStatus,
    HTTPRoute: routeStatus,
    GRPCRoute: routeStatus,
    TLSRoute: routeStatus,
    TCPRoute: routeStatus,
    XBackendTrafficPolicy: backendPolicyStatus,
    BackendTLSPolicy: backendPolicyStatus,
    ConfigMap: undefined,
  };
  for (const kind of kindNames) {
    const { status }: { readonly status?: unknown } = kinds[kind];
    // Some kinds of other meshes have a status function of their own.
    if (isIstio({ kind }) || isSmi({ kind })) assert.equal(typeof status, 'function', kind);
    else assert.equal(status, statuses[kind as keyof typeof statuses], kind);
    // A status without a path would be dropped at the write.
    const object = { kind, metadata: { name: 'a' } } as MeshObject;
    if (status) assert.notEqual(statusPathOf(object), undefined, kind);
  }
});

test('the address of each kind in the API server', () => {
  const gateway = 'gateway.networking.k8s.io';
  const describe = ({ address }: Kind): string => {
    const { group, versions, plural, clusterWide, optional } = address;
    return `${group}/${versions.join(',')}/${plural}${clusterWide ? ' cluster-wide' : ''}${optional ? ' optional' : ''}`;
  };
  assert.deepEqual(
    native.map((kind) => describe(kinds[kind])),
    [
      '/v1/namespaces cluster-wide',
      '/v1/nodes cluster-wide',
      '/v1/pods',
      '/v1/services',
      'discovery.k8s.io/v1/endpointslices',
      '/v1/configmaps',
      'weft.dev/v1alpha1/accesspolicies',
      'weft.dev/v1alpha1/trafficpolicies',
      'weft.dev/v1alpha1/authenticationpolicies',
      'weft.dev/v1alpha1/meshsettings cluster-wide',
      'weft.dev/v1alpha1/externalservices',
      'weft.dev/v1alpha1/workloads',
      `${gateway}/v1/gatewayclasses cluster-wide optional`,
      `${gateway}/v1/gateways optional`,
      `${gateway}/v1/httproutes optional`,
      `${gateway}/v1/grpcroutes optional`,
      `${gateway}/v1,v1alpha3,v1alpha2/tlsroutes optional`,
      `${gateway}/v1,v1alpha2/tcproutes optional`,
      'gateway.networking.x-k8s.io/v1alpha1/xbackendtrafficpolicies optional',
      `${gateway}/v1/backendtlspolicies optional`,
    ],
  );
});

test('of a ConfigMap only certificates are kept, and of too large ones nothing', () => {
  const pick = (data: Record<string, string>): unknown =>
    kinds.ConfigMap.pickFields({ kind: 'ConfigMap', metadata: { name: 'a', namespace: 'b' }, data });
  assert.equal(pick({ password: 'secret' }), undefined);
  const picked = pick({ password: 'secret', 'ca.crt': 'pem' }) as { readonly data: unknown };
  assert.deepEqual(picked.data, { 'ca.crt': 'pem' });
  // Texts of 1 MiB, as many tenants may create: none of them stays in memory.
  const before = process.memoryUsage().heapUsed;
  const large = Array.from({ length: 200 }, (_, i) =>
    pick({ 'ca.crt': `${i}${'x'.repeat(1 << 20)}`.toUpperCase() }),
  );
  gc();
  assert.equal(large.length, 200);
  const grownBytes = process.memoryUsage().heapUsed - before;
  assert.ok(grownBytes < 20 << 20, `${grownBytes} bytes`);
});

for (const [dialect, ofDialect] of [
  ['istio', istioKinds],
  ['smi', smiKinds],
] as const)
  test(`every kind of ${dialect} has a schema among the published CRDs, in every version that is read`, () => {
    const text = readFileSync(`daemonset/chart/files/${dialect}-crds.yaml`, 'utf8');
    const published = new Set(
      parseAllDocuments(text).flatMap((document) => {
        const { spec } = document.toJS() as {
          spec: { group: string; names: { plural: string }; versions: { name: string }[] };
        };
        return spec.versions.map(({ name }) => `${spec.group}/${name}/${spec.names.plural}`);
      }),
    );
    const read = ofDialect.flatMap((kind) => {
      const { group, versions, plural } = kinds[kind].address;
      return versions.map((version) => `${group}/${version}/${plural}`);
    });
    assert.deepEqual(read.sort(), [...published].sort());
  });
