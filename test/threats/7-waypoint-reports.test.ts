/**
 * Row 7 of docs/security.md: a compromised waypoint reports edges and tapped requests only of what uses it, by the compiled mesh, and of
 * clients that are in the mesh.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changesFrom } from '../../control/registry/difference.js';
import { compile } from '../../control/compile/compile.js';
import { formerMax, foundMax } from '../../control/compile/observable.js';
import { mayReport, type EdgeRegistry } from '../../control/edges/may-report.js';
import { parseIp } from '../../src/model/address.js';
import { edgesKeptMs, otherName, type Edge, type EdgeParty } from '../../src/model/edge.js';
import { edge, party } from '../support/edges.js';
import { domain } from '../support/mesh.js';
import { objectsOf } from './support/control.js';
import { pod } from './support/two-nodes.js';

const namespaces = ['infra', 'shop', 'bank', 'other'];
const at = { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' };
const service = (namespace: string, name: string, labels: object = {}, selector = name): string => `---
kind: Service
metadata: { name: ${name}, namespace: ${namespace}, labels: ${JSON.stringify(labels)} }
spec: { selector: { app: ${selector} }, clusterIP: 10.96.${namespaces.indexOf(namespace)}.${name.length}, ports: [{ port: 80 }] }
`;
const gateway = (from: string): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: infra }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE, allowedRoutes: { namespaces: { from: ${from} } } }] }
`;
const appPod = (namespace: string, name: string, ip: string): string => pod(name, 'n1', ip, namespace);
const route = (namespace: string, to: string, backend: string, backendNamespace: string): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: split, namespace: ${namespace} }
spec:
  parentRefs: [{ group: "", kind: Service, name: ${to}, namespace: shop }]
  rules: [{ backendRefs: [{ name: ${backend}, namespace: ${backendNamespace}, port: 80 }] }]
`;
const external = (namespace: string, name: string, host: string, labels: object): string => `---
apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: ${name}, namespace: ${namespace}, labels: ${JSON.stringify(labels)} }
spec: { host: ${host}, addresses: [203.0.113.${name.length}], ports: [{ name: web, port: 80 }] }
`;
const tenants = namespaces
  .map(
    (name) => `---
kind: Namespace
metadata: { name: ${name}, labels: { weft.dev/mesh: enabled } }
`,
  )
  .join('');
const pods = [
  appPod('shop', 'api', '10.0.1.1'),
  appPod('shop', 'web', '10.0.1.2'),
  appPod('bank', 'vault', '10.0.2.1'),
  appPod('bank', 'teller', '10.0.2.2'),
  appPod('infra', 'tool', '10.0.3.1'),
  appPod('other', 'thing', '10.0.4.1'),
].join('');
const base = [
  tenants,
  pods,
  gateway('All'),
  service('shop', 'api', at),
  service('shop', 'internal', {}, 'web'),
  service('bank', 'vault'),
  service('infra', 'tools', {}, 'tool'),
].join('');

/** A Service with this many endpoints, all at one address. */
const byHand = (endpoints: number): string => `---
kind: Service
metadata: { name: byhand, namespace: shop, labels: ${JSON.stringify(at)} }
spec: { clusterIP: 10.96.9.9, ports: [{ port: 80 }] }
${Array.from(
  { length: endpoints },
  (_, i) => `---
kind: EndpointSlice
metadata: { name: byhand-${i}, namespace: shop, labels: { kubernetes.io/service-name: byhand } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints: [{ addresses: [10.0.2.1] }]
`,
).join('')}`;

const reportOf = (compiler: EdgeRegistry, waypoint: string, more: Partial<Edge>) =>
  mayReport({ name: `waypoint:${waypoint}` }, edge({ ...seen, ...more }), compiler);

/** A control plane whose manifests and clock change. */
function mesh(manifests: string) {
  const compiler = compile(objectsOf(manifests), { trustDomain: domain, rootsVersion: '1' });
  return {
    change: (now: string) => void compiler.apply(changesFrom(compiler, objectsOf(now))),
    by: (waypoint: string, more: Partial<Edge>) => reportOf(compiler, waypoint, more)?.namespace,
    shown: (waypoint: string, more: Partial<Edge>) => reportOf(compiler, waypoint, more)?.destination,
  };
}
const host = (namespace: string, name: string): string => `${name}.${namespace}.svc.cluster.local`;
const [api, web, vault, teller] = [
  party('shop', 'api'),
  party('shop', 'web'),
  party('bank', 'vault'),
  party('bank', 'teller'),
];
const nobody = (namespace = ''): EdgeParty => party(namespace, '');
const others = (namespace: string): EdgeParty => ({
  namespace,
  workload: otherName,
  pod: otherName,
  identity: undefined,
});
const seen = {
  reporter: 'waypoint',
  path: 'waypoint',
  source: teller,
  destination: api,
  service: host('shop', 'api'),
} as const;

test('a waypoint reports requests to Services of other namespaces that use it, and to their pods dialed directly', () => {
  const { by } = mesh(base);
  for (const more of [
    {},
    { service: '' },
    { source: nobody() },
    // The client's address belongs to no workload of its identity.
    { source: { ...nobody('bank'), identity: teller.identity } },
    // Refused, or without an endpoint.
    { destination: nobody('shop') },
    { destination: nobody('shop'), service: '' },
    // Beyond its limits.
    { source: others(otherName), destination: others('shop') },
    { source: others(otherName), destination: others('shop'), service: '' },
  ])
    assert.equal(by('infra/wp', more), 'shop', JSON.stringify(more));
});

test('a waypoint does not report what does not use it: other Services, pods and hosts, its own namespace included', () => {
  const { by } = mesh(base + external('infra', 'web', 'www.example.com', {}));
  const tool = party('infra', 'tool');
  for (const more of [
    { destination: vault, service: host('bank', 'vault') },
    { destination: vault, service: '' },
    // The Service uses it, the pod is of another one.
    { destination: vault },
    { destination: web },
    { destination: web, service: '' },
    { destination: web, service: host('shop', 'internal') },
    { destination: tool },
    { destination: tool, service: '' },
    { destination: tool, service: host('infra', 'tools') },
    {
      destination: party('infra', 'web', { identity: party('infra', 'default').identity }),
      service: 'www.example.com',
    },
    { destination: nobody('infra'), service: 'made-up.example' },
    { destination: nobody('bank') },
    { destination: nobody('infra'), service: '' },
    { destination: nobody(), service: '' },
    { source: others(otherName), destination: others('bank') },
    { source: others(otherName), destination: others('infra'), service: '' },
    // A pod of the Service, with names that it does not have.
    { destination: { ...api, workload: 'vault' } },
    { destination: { ...api, identity: vault.identity } },
    { destination: { ...api, pod: 'made-up' } },
    { service: 'api.shop.svc.cluster.local.' },
    { service: 'api.shop.svc' },
  ])
    assert.equal(by('infra/wp', more), undefined, JSON.stringify(more));
  for (const waypoint of ['infra/wp2', 'shop/wp', 'bank/wp'])
    assert.equal(by(waypoint, {}), undefined, waypoint);
});

test('a waypoint does not report clients that are not in the mesh, or are not what their certificate says', () => {
  const { by } = mesh(base);
  for (const source of [
    party('bank', 'made-up'),
    { ...nobody('bank'), identity: party('bank', 'made-up').identity },
    { ...teller, identity: undefined },
    { ...teller, namespace: 'other' },
    { ...teller, pod: 'vault' },
    { ...teller, workload: 'vault' },
    { ...teller, identity: vault.identity },
    { ...nobody('bank') },
    others(otherName),
    others('bank'),
  ])
    assert.equal(by('infra/wp', { source }), undefined, JSON.stringify(source));
});

test('without the consent of its Gateway a waypoint reports nothing of a Service that names it', () => {
  for (const from of ['Same', 'None'])
    assert.equal(mesh(base.replace('All', from)).by('infra/wp', {}), undefined, from);
});

test('a waypoint reports the backends of routes of the Services that use it; those of consumer routes, only for their clients', () => {
  const grant = `---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: { name: g, namespace: other }
spec: { from: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop }, { group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: bank }], to: [{ group: "", kind: Service }] }
`;
  const thing = party('other', 'thing');
  const things = service('other', 'thing') + grant;
  assert.equal(mesh(base + things).by('infra/wp', { destination: thing }), undefined);
  const producer = mesh(base + things + route('shop', 'api', 'internal', 'shop'));
  assert.equal(producer.by('infra/wp', { destination: web }), 'shop');
  assert.equal(producer.by('infra/wp', { destination: thing }), undefined);
  const consumer = mesh(base + service('bank', 'vault', {}, 'vault') + route('bank', 'api', 'vault', 'bank'));
  assert.equal(consumer.by('infra/wp', { destination: vault }), 'shop');
  assert.equal(consumer.by('infra/wp', { destination: vault, source: web }), undefined);
  assert.equal(consumer.by('infra/wp', { destination: vault, service: '' }), undefined);
  const overflow = { source: others(otherName), destination: others('bank') };
  assert.equal(consumer.by('infra/wp', overflow), 'shop');
  assert.equal(producer.by('infra/wp', overflow), undefined);
});

test("Istio's routes and subsets lead where a waypoint may report, and Services of them do not beyond that", () => {
  const istio = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: api, namespace: shop }
spec: { hosts: [api.shop.svc.cluster.local], http: [{ route: [{ destination: { host: api, subset: v1 }, weight: 90 }, { destination: { host: internal }, weight: 10 }] }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: api, namespace: shop }
spec: { host: api.shop.svc.cluster.local, subsets: [{ name: v1, labels: { app: api } }] }
`;
  const { by, change } = mesh(base + istio);
  assert.equal(by('infra/wp', {}), 'shop');
  assert.equal(by('infra/wp', { destination: web }), 'shop');
  assert.equal(by('infra/wp', { destination: vault }), undefined);
  change(base);
  assert.equal(by('infra/wp', { destination: web }), 'shop', 'the route was there a moment ago');
});

test("a ServiceEntry's hosts are reported by the waypoint that they use", () => {
  const entry = (namespace: string, name: string, labels: object): string => `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: ${namespace}, labels: ${JSON.stringify(labels)} }
spec: { hosts: [${name}.example.com], location: MESH_EXTERNAL, resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }], endpoints: [{ address: 203.0.113.${name.length} }] }
`;
  const { by } = mesh(base + entry('bank', 'egress', at) + entry('bank', 'direct', {}));
  const of = (name: string) => ({
    destination: party('bank', name, { identity: party('bank', 'default').identity }),
    service: `${name}.example.com`,
  });
  assert.equal(by('infra/wp', of('egress')), 'bank');
  assert.equal(by('infra/wp', of('direct')), undefined);
});

test('a waypoint reports external hosts that use it, of whichever namespace, and no endpoint of others', () => {
  const { by } = mesh(
    base +
      external('shop', 'pay', 'pay.example.com', at) +
      external('bank', 'swift', 'swift.example.com', {}),
  );
  const endpoint = (namespace: string, name: string): EdgeParty =>
    party(namespace, name, { identity: party(namespace, 'default').identity });
  const pay = { destination: endpoint('shop', 'pay'), service: 'pay.example.com' };
  assert.equal(by('infra/wp', pay), 'shop');
  assert.equal(by('infra/wp', { ...pay, destination: nobody('shop') }), 'shop');
  // Whoever writes the same host and address changes nothing of it.
  const same =
    external('other', 'pay', 'pay.example.com', at) + external('shop', 'pay', 'pay.example.com', at);
  assert.equal(mesh(base + same).by('infra/wp', pay), 'shop');
  assert.deepEqual(mesh(base + same).shown('infra/wp', pay), pay.destination);
  const swift = { destination: endpoint('bank', 'swift'), service: 'swift.example.com' };
  assert.equal(by('infra/wp', swift), undefined);
  assert.equal(by('infra/wp', { ...swift, service: 'pay.example.com' }), undefined);
});

test('an endpoint that is written by hand is shown as its Service if a pod of another namespace owns its address', () => {
  const slice = `---
kind: Service
metadata: { name: byhand, namespace: shop, labels: ${JSON.stringify(at)} }
spec: { clusterIP: 10.96.9.9, ports: [{ port: 80 }] }
---
kind: EndpointSlice
metadata: { name: byhand-1, namespace: shop, labels: { kubernetes.io/service-name: byhand } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints: [{ addresses: [10.0.2.1] }, { addresses: [192.0.2.7] }]
`;
  const { by, shown } = mesh(base + slice);
  const service = host('shop', 'byhand');
  assert.equal(by('infra/wp', { service, destination: vault }), 'shop');
  // Else whoever has a waypoint would make up, and hide, what happens between two pods of another namespace.
  assert.deepEqual(shown('infra/wp', { service, destination: vault }), nobody('shop'));
  const ofOwn = mesh(base + slice.replace('10.0.2.1', '10.0.1.2'));
  assert.deepEqual(ofOwn.shown('infra/wp', { service, destination: web }), web);
  assert.equal(by('infra/wp', { service, destination: teller }), undefined);
  // However many others name the address.
  const flood = Array.from({ length: 300 }, (_, i) =>
    slice
      .replaceAll('shop', 'other')
      .replaceAll('byhand', `byhand-${i}`)
      .replaceAll('10.96.9.9', `10.97.${i >> 8}.${i & 255}`),
  ).join('');
  assert.equal(mesh(base + slice + flood).by('infra/wp', { service, destination: vault }), 'shop');
  const machine = party('shop', 'byhand', { identity: party('shop', 'default').identity });
  assert.equal(by('infra/wp', { service, destination: machine }), 'shop');
});

test('what has just left the waypoint, and what was just deleted, is still reported', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 1e6;
  t.mock.method(performance, 'now', () => nowMs);
  for (const now of [
    base.replace(service('shop', 'api', at), service('shop', 'api')),
    base.replace(service('shop', 'api', at), ''),
    base.replace('All', 'Same'),
    base.replace(appPod('shop', 'api', '10.0.1.1'), ''),
    base.replace(appPod('bank', 'teller', '10.0.2.2'), ''),
  ]) {
    const { by, change } = mesh(base);
    change(now);
    assert.equal(by('infra/wp', {}), 'shop');
    assert.equal(by('infra/wp', { destination: web }), undefined);
    nowMs += edgesKeptMs - 1;
    assert.equal(by('infra/wp', {}), 'shop');
    nowMs += 1;
    assert.equal(by('infra/wp', {}), undefined, 'after 15 minutes');
    change(base);
    assert.equal(by('infra/wp', {}), 'shop');
  }
});

test("one namespace's changes do not make the control plane forget what another one's Service used", () => {
  const { by, change } = mesh(base);
  const churn = (round: number): string =>
    Array.from({ length: 1_000 }, (_, i) =>
      appPod('other', `p-${round}-${i}`, `10.1.${i >> 8}.${i & 255}`),
    ).join('');
  for (let round = 0; round * 1_000 < formerMax; round++) change(base + churn(round));
  const without = base.replace(service('shop', 'api', at), service('shop', 'api'));
  change(without);
  assert.equal(by('infra/wp', {}), 'shop');
});

test('however many endpoints a tenant writes by hand, a report that names them looks at a bounded number', () => {
  const { observable } = compile(objectsOf(base + byHand(1_000)), { trustDomain: domain, rootsVersion: '1' });
  assert.equal([...observable.workloadsNamed('shop', 'byhand')].length, foundMax.byName);
  assert.equal([...observable.writtenAt('shop', parseIp('10.0.2.1'))].length, foundMax.byAddress);
});
