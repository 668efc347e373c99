import assert from 'node:assert/strict';
import { test } from 'node:test';
import { typeUrls } from '../../src/discovery/types.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { LoadBalancing } from '../../src/discovery/gen/weft.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { MeshObject, ServiceObject } from '../objects/objects.js';
import { objectKey } from '../objects/object-key.js';
import { SettingProblems } from '../problems/setting-problems.js';
import { manifestFindings } from '../problems/manifest-findings.js';
import { Resources } from '../serve/resources.js';
import { compile, type Compiler } from './compile.js';
import { mergeSettings, type Layer } from './service-policy.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const lb = 'weft.dev/load-balancing';
const idle = 'weft.dev/stream-idle-timeout';

const random: LoadBalancing = { kind: { $case: 'random', value: {} }, slowStart: undefined };
const roundRobin: LoadBalancing = { kind: { $case: 'roundRobin', value: {} }, slowStart: undefined };

test('merging takes each field from the most specific layer that sets it, and names that layer', () => {
  const mesh: Layer = {
    origin: 'mesh',
    settings: { loadBalancing: random, streamIdleMs: 1, bodyIdleMs: 1 },
  };
  const gateway: Layer = { origin: 'gateway', settings: { streamIdleMs: 2, retryBudgetPercent: 20 } };
  const namespace: Layer = { origin: 'namespace', settings: {} };
  const service: Layer = { origin: 'service', settings: { streamIdleMs: 0 } };
  const port: Layer = { origin: 'port', settings: { loadBalancing: roundRobin } };
  const cases: readonly (readonly [readonly Layer[], object, string])[] = [
    [[], {}, ''],
    [[namespace], {}, ''],
    [[mesh], mesh.settings, 'bodyIdleMs=mesh loadBalancing=mesh streamIdleMs=mesh'],
    [
      [mesh, gateway, namespace],
      { loadBalancing: random, streamIdleMs: 2, bodyIdleMs: 1, retryBudgetPercent: 20 },
      'bodyIdleMs=mesh loadBalancing=mesh retryBudgetPercent=gateway streamIdleMs=gateway',
    ],
    [
      [mesh, gateway, namespace, service, port],
      { loadBalancing: roundRobin, streamIdleMs: 0, bodyIdleMs: 1, retryBudgetPercent: 20 },
      'bodyIdleMs=mesh loadBalancing=port retryBudgetPercent=gateway streamIdleMs=service',
    ],
    [[port, mesh], mesh.settings, 'bodyIdleMs=mesh loadBalancing=mesh streamIdleMs=mesh'],
  ];
  for (const [layers, merged, origins] of cases) {
    const found = mergeSettings(layers);
    assert.deepEqual(found.settings, merged);
    assert.equal(found.origins.map(({ setting, object }) => `${setting}=${object}`).join(' '), origins);
  }
});

type Notes = Readonly<Record<string, string>>;
const namespace = (name: string, annotations: Notes = {}): MeshObject => ({
  kind: 'Namespace',
  metadata: { name, annotations },
});
const mesh = (annotations: Notes): MeshObject => ({
  kind: 'MeshSettings',
  metadata: { name: 'mesh', annotations },
  spec: {},
});
const gateway = (at: string, annotations: Notes, from?: 'All'): MeshObject => ({
  kind: 'Gateway',
  metadata: { name: 'wp', namespace: at, annotations },
  spec: {
    gatewayClassName: 'weft-waypoint',
    listeners: [
      {
        name: 'mesh',
        port: 15008,
        protocol: 'HBONE',
        ...(from ? { allowedRoutes: { namespaces: { from } } } : {}),
      },
    ],
  },
});
const service = (annotations: Notes, labels: Notes = { 'weft.dev/waypoint': 'wp' }): ServiceObject => ({
  kind: 'Service',
  metadata: { name: 'api', namespace: 'shop', annotations, labels },
  spec: {
    clusterIP: '10.96.0.1',
    ports: [
      { name: 'http', port: 80 },
      { name: 'admin', port: 81 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  },
});
const policies = (compiler: Compiler): readonly { readonly node: string; readonly value: ServicePolicy }[] =>
  [...compiler.all()].flatMap((one) => (one.kind === 'servicePolicy' ? [one] : []));
const described = (compiler: Compiler): string[] =>
  policies(compiler).map(
    ({ node, value }) =>
      `${node} ${value.port} ${value.loadBalancing?.kind?.$case ?? '-'} ${value.streamIdleMs ?? '-'}`,
  );

test('a Service with a waypoint has one policy per TCP port, merged from mesh, Gateway, Namespace, Service and port', () => {
  const all = compile(
    [
      mesh({ [lb]: 'random', [idle]: '1s' }),
      gateway('shop', { [idle]: '2s' }),
      namespace('shop', { [idle]: '3s' }),
      service({ [`${lb}.http`]: 'round-robin', [`${idle}.81`]: '0s' }),
    ],
    settings,
  );
  assert.deepEqual(described(all), ['waypoint:shop/wp 80 roundRobin 3000', 'waypoint:shop/wp 81 random 0']);
  assert.deepEqual(policies(all)[0]?.value.origins, [
    { setting: 'loadBalancing', object: 'Service shop/api port 80' },
    { setting: 'streamIdleMs', object: 'Namespace shop' },
  ]);
});

test('a Service without a waypoint, and a port without settings, have no policy', () => {
  const everywhere = [mesh({ [lb]: 'random' }), gateway('shop', {}), namespace('shop')];
  assert.deepEqual(described(compile([...everywhere, service({ [lb]: 'random' }, {})], settings)), []);
  assert.deepEqual(described(compile([gateway('shop', {}), namespace('shop'), service({})], settings)), []);
  const one = compile([gateway('shop', {}), service({ [`${lb}.admin`]: 'random' })], settings);
  assert.deepEqual(described(one), ['waypoint:shop/wp 81 random -']);
});

test('objects of other tenants do not change a policy: other namespaces, their Gateways, and a Gateway that does not admit the Service', () => {
  const named = { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' };
  const own = [namespace('shop'), service({ [lb]: 'random' }, named)];
  const others: MeshObject[] = [
    namespace('evil', { [lb]: 'round-robin', [idle]: '1s' }),
    gateway('evil', { [lb]: 'round-robin', [idle]: '1s' }, 'All'),
    { ...service({ [lb]: 'round-robin', [idle]: '1s' }), metadata: { name: 'api', namespace: 'evil' } },
    // The Service names infra/wp, not this one of its own namespace.
    gateway('shop', { [idle]: '9s' }),
  ];
  const admitted = compile([...own, gateway('infra', { [idle]: '2s' }, 'All'), ...others], settings);
  assert.deepEqual(described(admitted), [
    'waypoint:infra/wp 80 random 2000',
    'waypoint:infra/wp 81 random 2000',
  ]);
  // Without consent the Service is closed, and the Gateway is sent nothing about it.
  const refused = compile([...own, gateway('infra', { [idle]: '2s' }), ...others], settings);
  assert.deepEqual(described(refused), []);
});

test('a change recompiles the Services that it concerns, and only their waypoint is sent the policy', () => {
  const compiler = compile([gateway('shop', {}), namespace('shop'), service({})], settings);
  const resources = new Resources(compiler.all());
  const apply = (object: MeshObject): string[] =>
    resources
      .apply(compiler.apply(new Map([[objectKey(object), object]])))
      .filter(({ typeUrl }) => typeUrl === typeUrls.servicePolicy)
      .flatMap(({ node, names }) => [...names].map((name) => `${node} ${name}`));
  const both = [80, 81].map((port) => `waypoint:shop/wp shop/api.shop.svc.cluster.local:${port}`);
  assert.deepEqual(apply(gateway('shop', { [idle]: '1s' })), both);
  assert.deepEqual(apply(gateway('shop', { [idle]: '1000ms' })), [], 'equal settings are not sent again');
  assert.deepEqual(apply(namespace('shop', { [lb]: 'random' })), both);
  assert.deepEqual(apply(mesh({ [lb]: 'round-robin' })), []);
  assert.deepEqual(apply(service({ [`${lb}.80`]: 'least-request' })), [both[0]]);
  assert.deepEqual(apply(service({}, { 'weft.dev/waypoint': 'none' })).sort(), both, 'removed');
  assert.equal(resources.of(typeUrls.servicePolicy, 'waypoint:shop/wp')?.size, 0);
  assert.equal(resources.of(typeUrls.servicePolicy, 'waypoint:evil/wp')?.size, 0);
});

test('an invalid value is reported, and the next less specific value applies', () => {
  const bad = service({
    [lb]: 'fastest',
    'weft.dev/pending-requests-max': '-1',
    'weft.dev/retry-budget-percent': '101',
    'weft.dev/requests-max': '0',
    [`${idle}.80`]: 'soon',
    [`${idle}.metrics`]: '1s',
  });
  const compiler = compile([gateway('shop', { [lb]: 'random' }), bad], settings);
  assert.deepEqual(described(compiler), ['waypoint:shop/wp 80 random -', 'waypoint:shop/wp 81 random -']);
  const problems = new SettingProblems(() => undefined);
  const [found] = problems.apply(new Map([[objectKey(bad), bad]]));
  const text = found?.problems.map(({ message }) => message).join('\n') ?? '';
  for (const part of [
    /load-balancing: "fastest" is unknown: expected round-robin, least-request, random/,
    /pending-requests-max: "-1" .* from 0 to 1000000/,
    /retry-budget-percent: "101"/,
    /requests-max: "0"/,
    /stream-idle-timeout\.80: "soon"/,
    /stream-idle-timeout\.metrics has no effect: the Service has no port metrics/,
  ])
    assert.match(text, part);
  assert.equal(problems.apply(new Map([[objectKey(bad), service({ [lb]: 'random' })]])).length, 0);
  assert.deepEqual([...problems.all()], []);
});

test('`weft check -f` reports invalid settings of Services on every kind that may have them', () => {
  const meta = `annotations: { ${lb}: fastest }`;
  const text = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, ${meta} }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop, ${meta} }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop, ${meta} }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: weft.dev/v1alpha1
kind: MeshSettings
metadata: { name: mesh, ${meta} }
spec: {}
---
apiVersion: v1
kind: Pod
metadata: { name: p, namespace: shop, annotations: { ${lb}: random } }
spec: { nodeName: n }
`;
  const found = manifestFindings([{ file: 'x.yaml', text }], 'weft-system').map(({ what }) => what);
  for (const kind of ['namespace shop', 'Service shop/api', 'Gateway shop/wp', 'MeshSettings'])
    assert.ok(
      found.some((what) => what.toLowerCase().startsWith(kind.toLowerCase()) && what.includes('"fastest"')),
      `${kind}: ${found.join('\n')}`,
    );
  assert.ok(found.some((what) => /load-balancing is not read on a Pod/.test(what)));
});
