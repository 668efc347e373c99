/** The turn of the leader: what is written for the objects of a registry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile, type Compiler } from '../compile/compile.js';
import type { Removal } from '../compile/settings.js';
import type { Write } from '../kubernetes/apply-queue.js';
import { waypointBoundType, type MeshObject } from '../objects/objects.js';
import type { ObjectProblem } from '../source/kubernetes.js';
import { StatusWriter } from './writer.js';

const metadata = { name: 'a', namespace: 'shop', uid: 'u', generation: 1 };
const service = { group: '', kind: 'Service', name: 'a' };
const route = { parentRefs: [service], rules: [{ backendRefs: [{ ...service, port: 80 }] }] };
/** One of each kind. Each whose status Weft writes differs from it. */
const objects: readonly MeshObject[] = [
  { kind: 'Namespace', metadata: { name: 'shop', labels: { 'weft.dev/mesh': 'enabled' } } },
  { kind: 'Node', metadata: { name: 'n1' } },
  { kind: 'Pod', metadata, spec: { nodeName: 'n1' }, status: { podIPs: [{ ip: '10.0.0.1' }] } },
  {
    kind: 'Service',
    metadata: { ...metadata, labels: { 'weft.dev/waypoint': 'missing' } },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
    status: { conditions: [{ type: waypointBoundType, status: 'True' }] },
  },
  { kind: 'EndpointSlice', metadata, endpoints: [], ports: [] },
  { kind: 'AccessPolicy', metadata, spec: { action: 'DENY', rules: [] } },
  { kind: 'TrafficPolicy', metadata, spec: { targetRefs: [service], timeouts: { request: '1s' } } },
  { kind: 'MeshSettings', metadata: { name: 'a', generation: 1 }, spec: {} },
  { kind: 'ExternalService', metadata, spec: { addresses: ['10.1.0.1'], ports: [{ port: 443 }] } },
  { kind: 'Workload', metadata, spec: { node: 'vm', addresses: ['10.2.0.1'], netns: 'vm' } },
  {
    kind: 'GatewayClass',
    metadata: { name: 'weft-waypoint' },
    spec: { controllerName: 'weft.dev/waypoint' },
  },
  { kind: 'Gateway', metadata, spec: { gatewayClassName: 'weft-waypoint' } },
  ...(['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute'] as const).map((kind): MeshObject => ({
    kind,
    metadata,
    spec: route,
    status: { parents: [{ parentRef: service, controllerName: 'weft.dev/waypoint' }] },
  })),
  {
    kind: 'XBackendTrafficPolicy',
    metadata,
    spec: { targetRefs: [service], retryConstraint: {} },
    status: { ancestors: [{ ancestorRef: service, controllerName: 'weft.dev/waypoint' }] },
  },
  {
    kind: 'BackendTLSPolicy',
    metadata,
    spec: { targetRefs: [service], validation: { hostname: 'a.test', wellKnownCACertificates: 'System' } },
    status: { ancestors: [{ ancestorRef: service, controllerName: 'weft.dev/waypoint' }] },
  },
  { kind: 'ConfigMap', metadata, data: {} },
];
const ownKinds = ['AccessPolicy', 'ExternalService', 'MeshSettings', 'TrafficPolicy', 'Workload'];
const statusKinds = [
  ...ownKinds,
  ...[
    'GRPCRoute',
    'Gateway',
    'GatewayClass',
    'HTTPRoute',
    'Service',
    'TCPRoute',
    'TLSRoute',
    'XBackendTrafficPolicy',
    'BackendTLSPolicy',
  ],
].sort();

const registryOf = (removal?: Removal): Compiler =>
  compile(objects, {
    trustDomain: parseTrustDomain('cluster.local'),
    rootsVersion: '1',
    ...(removal ? { removal } : {}),
  });

function setUp(compiler: Compiler, refused: readonly ObjectProblem[] = []) {
  const writes: Write[] = [];
  const forgotten: string[] = [];
  const writer = new StatusWriter({
    compiler,
    queue: { set: (write) => void writes.push(write), forget: (path) => void forgotten.push(path) },
    refused: () => refused,
    settings: () => [],
    waypointHealth: () => undefined,
    onLimit: () => assert.fail('no limit'),
  });
  const bodies = (): { kind: string; status: object }[] =>
    writes.filter(({ path }) => path.endsWith('/status')).map(({ body }) => body as never);
  const kindsWritten = (): string[] => bodies().map(({ kind }) => kind);
  return { writer, writes, forgotten, bodies, kindsWritten };
}

test('a turn writes the status of each kind whose status Weft writes, and of no other', () => {
  const { writer, kindsWritten } = setUp(registryOf());
  writer.write();
  assert.deepEqual(kindsWritten().sort(), statusKinds);
});

test('while Weft is uninstalled, a turn takes back every status', () => {
  const { writer, bodies, kindsWritten } = setUp(registryOf('open'));
  writer.write();
  assert.deepEqual(kindsWritten().sort(), statusKinds);
  for (const { kind, status } of bodies())
    if (ownKinds.includes(kind)) assert.match(JSON.stringify(status), /MeshIsBeingRemoved/, kind);
});

test('an object whose current version is invalid has one status, which states the problem, and an event', () => {
  const object = objects.find(({ kind }) => kind === 'ExternalService') as MeshObject;
  const { writer, writes, bodies, kindsWritten } = setUp(registryOf(), [{ object, message: 'no address' }]);
  writer.write();
  assert.deepEqual(kindsWritten().sort(), statusKinds);
  const written = bodies().find(({ kind }) => kind === 'ExternalService');
  assert.match(JSON.stringify(written?.status), /"False".*"Invalid".*no address/);
  const events = (): number => writes.filter(({ path }) => path.includes('/events/')).length;
  const before = events();
  assert.ok(before > 0);
  writer.write();
  assert.equal(events(), before, 'each once');
});

test('the report of a node writes the condition of its own pods; nothing is kept of a deleted object', () => {
  const { writer, forgotten, kindsWritten } = setUp(registryOf());
  const pods = [{ uid: 'x', podUid: 'u', captured: true, sinceMs: 1, why: '' }];
  const report = { version: '1', pods, missing: [], cniProblem: '' };
  writer.onReport('n2', report);
  assert.deepEqual(kindsWritten(), []);
  writer.onReport('n1', report);
  assert.deepEqual(kindsWritten(), ['Pod']);
  for (const object of objects) writer.forget(object);
  assert.equal(forgotten.length, statusKinds.length + 1, 'those, and the pod');
});
