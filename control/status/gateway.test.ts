import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { closedRoute } from '../compile/closed.js';
import { compile, type Compiler } from '../compile/compile.js';
import type { MeshObject } from '../objects/objects.js';
import { pickFields } from '../kinds/kinds.js';
import { acceptedWrite, writeOf } from '../../test/support/status-writes.js';
import { gatewayClassStatus } from './gateway-class.js';
import { gatewayStatus } from './gateway.js';
import { routeStatus } from './route.js';
import type { Write } from '../kubernetes/apply-queue.js';

const known = (...objects: MeshObject[]): Compiler =>
  compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
function read<K extends MeshObject['kind']>(kind: K, raw: object): Extract<MeshObject, { kind: K }> {
  const object = pickFields(kind, raw);
  assert.ok(object?.kind === kind);
  return object as Extract<MeshObject, { kind: K }>;
}
/** The status of a write as the API server returns it. */
const statusOf = (write: Write | undefined): object => {
  assert.ok(write?.body);
  return (JSON.parse(JSON.stringify(write.body)) as { status: object }).status;
};
const service = (name: string): MeshObject => ({
  kind: 'Service',
  metadata: { name, namespace: 'shop', labels: { 'weft.dev/waypoint': 'wp' } },
  spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
});
const other = { parentRef: { name: 'gw' }, controllerName: 'other.test/x', conditions: [] };
const rawRoute = (
  status: object = { parents: [other] },
  apiVersion = 'gateway.networking.k8s.io/v1',
): object => ({
  apiVersion,
  kind: 'TLSRoute',
  metadata: {
    name: 'r',
    namespace: 'shop',
    generation: 2,
    resourceVersion: '77',
    creationTimestamp: '2026-01-01T00:00:00Z',
    managedFields: [{}],
  },
  spec: {
    hostnames: ['a.test'],
    parentRefs: [{ group: '', kind: 'Service', name: 'api' }],
    rules: [{ backendRefs: [{ group: '', kind: 'Service', name: 'api', port: 80, weight: 1 }] }],
  },
  status,
});

test("a route's status is written once, bound to the version that was read, and keeps other controllers' entries", () => {
  const route = read('TLSRoute', rawRoute());
  const compiler = known(service('api'), route);
  const write = writeOf(routeStatus, route, compiler);
  assert.equal(write?.path, '/apis/gateway.networking.k8s.io/v1/namespaces/shop/tlsroutes/r/status');
  assert.deepEqual((write?.body as { metadata: object }).metadata, {
    name: 'r',
    namespace: 'shop',
    resourceVersion: '77',
  });
  const status = statusOf(write) as { parents: { controllerName: string }[] };
  assert.deepEqual(status.parents[0], other);
  assert.equal(status.parents[1]?.controllerName, 'weft.dev/waypoint');
  assert.equal(writeOf(routeStatus, read('TLSRoute', rawRoute(status)), compiler), undefined);
});

test('the status of a route is written in the API version that the route was read in', () => {
  const route = read('TLSRoute', rawRoute({}, 'gateway.networking.k8s.io/v1alpha2'));
  const write = writeOf(routeStatus, route, known(service('api'), route));
  assert.match(write?.path ?? '', /^\/apis\/gateway\.networking\.k8s\.io\/v1alpha2\//);
});

test('the status of an invalid route has the reason; a route that names only Gateways is left alone', () => {
  const route = read('TLSRoute', rawRoute());
  const said = JSON.stringify(
    statusOf(writeOf(routeStatus, closedRoute(route, 'a path is none'), known(service('api')))),
  );
  assert.match(said, /UnsupportedValue.*a path is none/);
  const foreign = { ...route, spec: { ...route.spec, parentRefs: [{ name: 'gw' }] } };
  assert.equal(writeOf(routeStatus, foreign, known(foreign)), undefined);
});

const rawGateway = (gatewayClassName: string, status?: object): object => ({
  metadata: { name: 'wp', namespace: 'shop', generation: 1, resourceVersion: '5' },
  spec: {
    gatewayClassName,
    infrastructure: {},
    listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE', allowedRoutes: {} }],
  },
  ...(status ? { status } : {}),
});

test("the status of a Gateway of Weft's class is written once, of other classes never", () => {
  const gateway = read('Gateway', rawGateway('weft-waypoint'));
  const write = writeOf(gatewayStatus, gateway, known(gateway, service('wp')));
  assert.equal(write?.path, '/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/wp/status');
  const again = read('Gateway', rawGateway('weft-waypoint', statusOf(write)));
  assert.equal(writeOf(gatewayStatus, again, known(again, service('wp'))), undefined);
  assert.ok(writeOf(gatewayStatus, again, known(again)), 'its Service is gone');
  const foreign = read('Gateway', rawGateway('nginx'));
  assert.equal(writeOf(gatewayStatus, foreign, known(foreign, service('wp'))), undefined);
});

test("Weft's GatewayClass is accepted, other classes are left alone", () => {
  const raw = (controllerName: string, status?: object): object => ({
    metadata: { name: 'weft-waypoint', generation: 1 },
    spec: { controllerName },
    ...(status ? { status } : {}),
  });
  const write = writeOf(gatewayClassStatus, read('GatewayClass', raw('weft.dev/waypoint')), known());
  assert.equal(write?.path, '/apis/gateway.networking.k8s.io/v1/gatewayclasses/weft-waypoint/status');
  assert.equal(
    writeOf(gatewayClassStatus, read('GatewayClass', raw('weft.dev/waypoint', statusOf(write))), known()),
    undefined,
  );
  assert.equal(writeOf(gatewayClassStatus, read('GatewayClass', raw('other.test/x')), known()), undefined);
});

test('the condition Enforced of a policy is written once, and removed when the policy needs no waypoint', () => {
  const raw = (status?: object): object => ({
    metadata: { name: 'p', namespace: 'shop', generation: 1 },
    spec: { action: 'DENY', rules: [] },
    ...(status ? { status } : {}),
  });
  const enforced = {
    type: 'weft.dev/Enforced',
    status: 'False',
    reason: 'NoWaypoint',
    message: 'm',
  } as const;
  const status = statusOf(acceptedWrite(read('AccessPolicy', raw()), undefined, enforced));
  const again = read('AccessPolicy', raw(status));
  assert.equal(acceptedWrite(again, undefined, enforced), undefined);
  const { conditions } = statusOf(acceptedWrite(again, undefined)) as { conditions: { type: string }[] };
  assert.deepEqual(
    conditions.map(({ type }) => type),
    ['Accepted'],
  );
});
