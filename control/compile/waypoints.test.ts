import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeAddress, encodeService, encodeWorkload } from '../../src/discovery/codec/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { Service } from '../../src/model/service.js';
import { refusedWaypointOf } from '../../src/model/refused-waypoint.js';
import type { AllowedRoutes } from '../../src/kubernetes/allowed-routes.js';
import type { ServiceKey, WaypointRef } from '../../src/model/workload.js';
import { compile, Compiler } from './compile.js';
import { objectKey } from '../objects/object-key.js';
import type { CompileSettings } from './settings.js';
import { changesFrom } from '../registry/difference.js';
import type { MeshObject } from '../objects/objects.js';

const settings: CompileSettings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
type Labels = Readonly<Record<string, string>>;
const namespace = (labels: Labels): MeshObject => ({ kind: 'Namespace', metadata: { name: 'shop', labels } });
const service = (labels: Labels = {}, name = 'api'): MeshObject => ({
  kind: 'Service',
  metadata: { name, namespace: 'shop', labels },
  spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
});
const gateway = (gatewayClassName = 'weft-waypoint', name = 'wp'): MeshObject => ({
  kind: 'Gateway',
  metadata: { name, namespace: 'shop' },
  spec: { gatewayClassName },
});
const gatewayClass = (name: string, controllerName: string): MeshObject => ({
  kind: 'GatewayClass',
  metadata: { name },
  spec: { controllerName },
});
const pod = (labels: Labels, serviceAccountName = 'wp'): MeshObject => ({
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'shop', labels: { 'weft.dev/mesh': 'enabled', ...labels } },
  spec: { nodeName: 'n1', serviceAccountName },
  status: { podIPs: [{ ip: '10.0.0.1' }] },
});
const ofWaypoint = { 'gateway.networking.k8s.io/gateway-name': 'wp' };

function serviceOf(compiler: Compiler, name = 'api'): Service {
  for (const resource of compiler.all())
    if (resource.kind === 'service' && resource.value.name === name) return resource.value;
  throw new Error(`no Service ${name}`);
}
const waypointOf = (
  objects: readonly MeshObject[],
  more: Partial<CompileSettings> = {},
): string | undefined => {
  const { waypoint } = serviceOf(compile(objects, { ...settings, ...more }));
  assert.ok(waypoint?.kind !== 'address');
  return waypoint?.service;
};
const wp = 'shop/wp.shop.svc.cluster.local';
/** A Gateway in another namespace. */
const shared = (allowedRoutes?: AllowedRoutes): MeshObject => ({
  kind: 'Gateway',
  metadata: { name: 'wp', namespace: 'infra' },
  spec: {
    gatewayClassName: 'weft-waypoint',
    listeners: [
      { name: 'mesh', port: 15008, protocol: 'HBONE', ...(allowedRoutes ? { allowedRoutes } : {}) },
    ],
  },
});
const compiledReference = (objects: readonly MeshObject[]): WaypointRef => {
  const { waypoint } = serviceOf(compile(objects, settings));
  assert.ok(waypoint);
  return waypoint;
};

test("a Service's label, else its namespace's, names its waypoint; Weft's label takes precedence over Istio's", () => {
  const own = { 'weft.dev/waypoint': 'wp' };
  const istio = { 'istio.io/use-waypoint': 'wp' };
  assert.equal(waypointOf([service()]), undefined);
  assert.equal(waypointOf([service(own)]), wp);
  assert.equal(waypointOf([namespace(own), service()]), wp);
  assert.equal(waypointOf([namespace(istio), service()]), wp);
  assert.equal(waypointOf([namespace(own), service({ 'weft.dev/waypoint': 'none' })]), undefined);
  assert.equal(waypointOf([namespace(own), service({ 'istio.io/use-waypoint': 'none' })]), undefined);
  assert.equal(waypointOf([service({ ...istio, 'weft.dev/waypoint': 'none' })]), undefined);
  const infra = shared({ namespaces: { from: 'All' } });
  assert.equal(
    waypointOf([infra, service({ ...own, 'weft.dev/waypoint-namespace': 'infra' })]),
    'infra/wp.infra.svc.cluster.local',
  );
  assert.equal(
    waypointOf([infra, namespace({ ...istio, 'istio.io/use-waypoint-namespace': 'infra' }), service()]),
    'infra/wp.infra.svc.cluster.local',
  );
});

test("another namespace's waypoint is used only if its Gateway admits the Service's namespace, otherwise the Service is closed", () => {
  const named = service({ 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' });
  const closed = 'not-allowed.weft.dev/wp.infra.not-allowed.invalid';
  const open = 'infra/wp.infra.svc.cluster.local';
  const tier = { namespaces: { from: 'Selector', selector: { matchLabels: { tier: 'web' } } } };
  assert.equal(waypointOf([named]), closed, 'no Gateway');
  assert.equal(waypointOf([named, shared()]), closed);
  assert.equal(waypointOf([named, shared({ namespaces: { from: 'Same' } })]), closed);
  assert.equal(waypointOf([named, shared({ namespaces: { from: 'All' } })]), open);
  assert.equal(waypointOf([named, shared(tier)]), closed);
  assert.equal(waypointOf([named, shared(tier), namespace({ tier: 'web' })]), open);
  assert.equal(waypointOf([named, shared(tier), namespace({ tier: 'db' })]), closed);
  assert.equal(refusedWaypointOf(compiledReference([named, shared()])), 'infra/wp');
});

test('a change of the namespaces that a Gateway admits recompiles its Services, and nothing else', () => {
  const compiler = compile(
    [service({ 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' }), service({}, 'other')],
    settings,
  );
  const change = (object: MeshObject, gone = false): string[] => {
    const { updated } = compiler.apply(new Map([[objectKey(object), gone ? undefined : object]]));
    return updated.flatMap((one) =>
      one.kind === 'service' && one.value.waypoint?.kind === 'hostname'
        ? [`${one.value.name} ${refusedWaypointOf(one.value.waypoint) === undefined ? 'open' : 'closed'}`]
        : [],
    );
  };
  const tier = { namespaces: { from: 'Selector', selector: { matchLabels: { tier: 'web' } } } };
  assert.deepEqual(change(shared()), ['api closed']);
  assert.deepEqual(change(shared({ namespaces: { from: 'All' } })), ['api open']);
  assert.deepEqual(change(shared(tier)), ['api closed']);
  assert.deepEqual(change(namespace({ tier: 'web' })), ['api open']);
  assert.deepEqual(change(namespace({})), ['api closed']);
  assert.deepEqual(change(shared({ namespaces: { from: 'All' } })), ['api open']);
  // Writing its status does not change which namespaces the Gateway admits.
  const all = shared({ namespaces: { from: 'All' } });
  assert.deepEqual(change({ ...all, status: { addresses: [{ value: '10.0.0.1' }] } } as MeshObject), []);
  assert.deepEqual(change(all, true), ['api closed']);
});

test('an empty label does not remove a waypoint', () => {
  const empty = { 'weft.dev/waypoint': '' };
  assert.equal(waypointOf([namespace({ 'weft.dev/waypoint': 'wp' }), service(empty)]), wp);
});

test('the waypoint reference has the HBONE port, whether the waypoint exists or not', () => {
  const resource = serviceOf(compile([service({ 'weft.dev/waypoint': 'gone' })], settings));
  const decoded = decodeAddress(encodeService(resource));
  assert.ok(decoded.ok && decoded.value.kind === 'service');
  assert.deepEqual(decoded.value.service.waypoint, {
    kind: 'hostname',
    service: 'shop/gone.shop.svc.cluster.local',
    hbonePort: 15008,
  });
});

test('a refused waypoint reference is sent like any other, and names an object that cannot exist', () => {
  const named = service({ 'weft.dev/waypoint': 'a.b', 'weft.dev/waypoint-namespace': 'infra' });
  const decoded = decodeAddress(encodeService(serviceOf(compile([named], settings))));
  assert.ok(decoded.ok && decoded.value.kind === 'service');
  const { waypoint } = decoded.value.service;
  assert.ok(waypoint?.kind === 'hostname');
  assert.equal(refusedWaypointOf(waypoint), 'infra/a.b');
  const [namespacePart = '', host = ''] = waypoint.service.split('/');
  assert.match(namespacePart, /\./, 'no namespace has a dot');
  assert.match(host, /\.invalid$/, 'RFC 2606');
  // An object of the same name in the namespace of the Gateway or of the Service is not meant.
  for (const key of ['infra/a.b.infra.svc.cluster.local', 'shop/wp.shop.svc.cluster.local'])
    assert.equal(
      refusedWaypointOf({ kind: 'hostname', service: key as ServiceKey, hbonePort: 15008 }),
      undefined,
    );
});

test("a waypoint's own Service uses no waypoint, not even another one", () => {
  const named = (name: string): MeshObject => namespace({ 'weft.dev/waypoint': name });
  const of = (objects: readonly MeshObject[]): unknown =>
    serviceOf(compile([...objects, service({}, 'wp')], settings), 'wp').waypoint;
  assert.equal(of([named('wp')]), undefined, 'before its Gateway is known');
  assert.equal(of([named('other'), gateway()]), undefined);
  assert.ok(of([named('other')]), 'a Service without a Gateway is an ordinary Service');
  assert.ok(of([named('other'), gateway('nginx')]));
});

test('a Gateway is a waypoint by the controller of its class, or by the class name if the class does not exist', () => {
  const name = { namespace: 'shop', name: 'wp' };
  const is = (...objects: MeshObject[]): boolean => compile(objects, settings).isWaypoint(name);
  assert.ok(is(gateway()));
  assert.ok(is(gateway('mine'), gatewayClass('mine', 'weft.dev/waypoint')));
  assert.ok(!is(gateway('mine')));
  assert.ok(!is(gateway(), gatewayClass('weft-waypoint', 'other.test/x')));
  assert.ok(!is());
});

test('a waypoint is not enrolled and accepts tunnels itself; pods of other Gateways are ordinary pods', () => {
  const of = (...objects: MeshObject[]): [string, string, boolean] => {
    const resources = [...compile(objects, settings).all()];
    const workload = resources.find(({ kind }) => kind === 'workload');
    assert.ok(workload?.kind === 'workload');
    const uncaptured = resources.find(({ kind }) => kind === 'uncaptured');
    const decoded = decodeAddress(encodeWorkload(workload.value));
    assert.ok(decoded.ok && decoded.value.kind === 'workload');
    return [
      uncaptured?.kind === 'uncaptured' ? uncaptured.value.reason : 'enrolled',
      decoded.value.workload.tunnel,
      decoded.value.workload.nativeTunnel ?? false,
    ];
  };
  const waypoint = ['waypoint', 'hbone', true];
  const enrolled = ['enrolled', 'hbone', false];
  assert.deepEqual(of(gateway(), pod(ofWaypoint)), waypoint);
  // Under another service account it is an ordinary pod with a label.
  assert.deepEqual(of(gateway(), pod(ofWaypoint, 'default')), enrolled);
  assert.deepEqual(of(pod(ofWaypoint)), waypoint, 'before its Gateway is known');
  assert.deepEqual(of(pod(ofWaypoint, 'default')), enrolled);
  assert.deepEqual(of(gateway('nginx'), pod(ofWaypoint)), enrolled);
  assert.deepEqual(of(gateway(), pod({})), enrolled);
  assert.deepEqual(of(gateway(), pod({ ...ofWaypoint, 'weft.dev/mesh': 'disabled' })), waypoint);
});

test('a waypoint may request only its own identity, while its Gateway exists', () => {
  const compiler = compile([gateway(), pod({}, 'web')], settings);
  const id = (path: string): string => `spiffe://cluster.local/ns/${path}`;
  assert.ok(compiler.mayRequestCertificate('waypoint:shop/wp', id('shop/sa/wp')));
  for (const other of ['shop/sa/web', 'other/sa/wp', 'shop/sa/wp/x'])
    assert.ok(!compiler.mayRequestCertificate('waypoint:shop/wp', id(other)), other);
  assert.ok(!compiler.mayRequestCertificate('waypoint:shop/wp', 'spiffe://other/ns/shop/sa/wp'));
  assert.ok(!compiler.mayRequestCertificate('waypoint:shop/web', id('shop/sa/web')));
  for (const caller of ['waypoint:', 'waypoint:shop', 'waypoint:shop/wp/x', 'shop/wp'])
    assert.ok(!compiler.mayRequestCertificate(caller, id('shop/sa/wp')), caller);
  compiler.apply(changesFrom(compiler, []));
  assert.ok(!compiler.mayRequestCertificate('waypoint:shop/wp', id('shop/sa/wp')));
});

test('during an uninstall no request goes through a waypoint', () => {
  const objects = [service({ 'weft.dev/waypoint': 'wp' })];
  assert.equal(waypointOf(objects, { removal: 'open' }), undefined);
  assert.equal(waypointOf(objects, { removal: 'release' }), undefined);
});

test('callers that fetch certificates themselves are sent an update when the roots change', () => {
  const compiler = new Compiler(settings);
  compiler.apply(new Map());
  const changed = compiler.configure({ ...settings, rootsVersion: '2' });
  assert.deepEqual(changed.updated, [{ kind: 'trust', value: '2' }]);
  assert.deepEqual(compiler.configure({ ...settings, rootsVersion: '2' }).updated, []);
});
