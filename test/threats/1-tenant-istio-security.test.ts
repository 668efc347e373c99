/**
 * Rows 1 and 2 of docs/security.md: AuthorizationPolicies, PeerAuthentications and RequestAuthentications that an admin of namespace `evil`
 * writes hold for `evil` alone. They do not refuse what others allow, and do not allow what others refuse.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atPod, atService, istio, type Asked } from '../support/istio-security.js';
import { inForce, type InForce } from './support/configuration.js';

const pod = (namespace: string, name: string, ip: string): string =>
  `kind: Pod\nmetadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${name}, tier: all, weft.dev/mesh: enabled } }
spec: { nodeName: n, serviceAccountName: ${name} }\nstatus: { podIPs: [{ ip: ${ip} }] }\n`;
const service = (namespace: string, ip: string, waypoint: string): string =>
  `kind: Service\nmetadata: { name: api, namespace: ${namespace}, labels: { weft.dev/waypoint: wp, weft.dev/waypoint-namespace: ${waypoint} } }
spec: { selector: { app: api }, clusterIP: ${ip}, ports: [{ port: 80 }] }\n`;
const gateway = (namespace: string): string =>
  `apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: wp, namespace: ${namespace} }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE, allowedRoutes: { namespaces: { from: All } } }] }\n`;

const world = [
  pod('bank', 'api', '10.0.0.2'),
  pod('shop', 'web', '10.0.0.3'),
  pod('evil', 'api', '10.0.6.6'),
  service('bank', '10.96.0.1', 'infra'),
  service('evil', '10.96.6.6', 'evil'),
  gateway('infra'),
  gateway('evil'),
];
/** The bank refuses the shop's `intruder`, plaintext, and DELETE. */
const guard = [
  istio(
    'AuthorizationPolicy',
    '{ action: DENY, rules: [{ from: [{ source: { principals: ["*/sa/intruder"] } }] }] }',
  ),
  istio(
    'AuthorizationPolicy',
    '{ targetRef: { kind: Service, name: api }, rules: [{ to: [{ operation: { notMethods: [DELETE] } }] }] }',
    { name: 'service' },
  ),
  istio('PeerAuthentication', '{ mtls: { mode: STRICT } }'),
  istio('RequestAuthentication', '{ jwtRules: [{ issuer: a }] }'),
];

const gatewayRef = (kind: string, name: string): string =>
  `targetRefs: [{ group: gateway.networking.k8s.io, kind: ${kind}, name: ${name} }]`;
const scopes = [
  '',
  'selector: {}',
  'selector: { matchLabels: { tier: all } }',
  'selector: { matchLabels: { app: api } }',
  'targetRef: { kind: Service, name: api }',
  gatewayRef('Gateway', 'wp'),
  gatewayRef('GatewayClass', 'weft-waypoint'),
  gatewayRef('GatewayClass', 'istio-waypoint'),
  // These cannot be read.
  'targetRef: { kind: Service, name: api, namespace: bank }',
  'targetRef: { kind: Namespace, name: bank }',
  'selector: { matchLabels: { "*": "*" } }',
  'newer: 1',
];
const contents: readonly [kind: Parameters<typeof istio>[0], content: string][] = [
  ['AuthorizationPolicy', 'action: DENY, rules: [{}]'],
  ['AuthorizationPolicy', 'action: ALLOW, rules: [{}]'],
  ['AuthorizationPolicy', 'action: ALLOW'],
  ['AuthorizationPolicy', 'action: CUSTOM, provider: { name: x }, rules: [{}]'],
  ['PeerAuthentication', 'mtls: { mode: STRICT }'],
  ['PeerAuthentication', 'mtls: { mode: PERMISSIVE }'],
  ['PeerAuthentication', 'mtls: { mode: DISABLE }, portLevelMtls: { "80": { mode: DISABLE } }'],
  ['RequestAuthentication', 'jwtRules: [{ issuer: a, presence: REQUIRED }]'],
];
/** Names that could be taken for those of others. */
const names = ['p', 'service', 'weft-strict-namespace', 'weft-strict-mesh'];

const asked: readonly Asked[] = [
  {},
  { from: 'none' },
  { from: 'shop/intruder' },
  { method: 'DELETE' },
  { headers: { authorization: 'Bearer x' } },
  { path: '/?access_token=x' },
  { isRaw: true },
  { port: 81 },
];
const decisions = (mesh: InForce): unknown => [
  ...asked.map((one) => [atPod(mesh, one), atPod(mesh, one, 'shop', 'web'), atService(mesh, one)]),
  mesh.workload('bank', 'api').policies,
  mesh.workload('shop', 'web').policies,
];

test('objects of another namespace change no decision of the bank, whatever they name, and whether they can be read or not', () => {
  assert.notDeepEqual(decisions(inForce(world)), decisions(inForce([...world, ...guard])));
  for (const base of [world, [...world, ...guard]]) {
    const before = decisions(inForce(base));
    for (const [kind, content] of contents)
      for (const [index, scope] of scopes.entries()) {
        const name = names[index % names.length] ?? 'p';
        const spec = `{ ${[content, scope].filter((part) => part !== '').join(', ')} }`;
        const text = istio(kind, spec, { namespace: 'evil', name });
        assert.deepEqual(decisions(inForce([...base, text])), before, text);
      }
  }
});

test('they do hold for the namespace itself', () => {
  const of = (content: string): InForce =>
    inForce([...world, istio('AuthorizationPolicy', content, { namespace: 'evil' })]);
  assert.equal(atPod(of('{}'), {}, 'evil').allowed, false);
  const waypoint = of(`{ action: DENY, ${gatewayRef('Gateway', 'wp')}, rules: [{}] }`);
  assert.equal(atService(waypoint, {}, 'evil').allowed, false);
  assert.equal(atService(waypoint, {}, 'bank').allowed, true, 'another waypoint of that name');
});

test('a namespace lifts neither a DENY of the root namespace nor the strict mode of the mesh’s operator', () => {
  const root = { namespace: 'weft-system' };
  const settings =
    'apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { mode: strict }\n';
  const mesh = inForce([
    ...world,
    settings,
    istio(
      'AuthorizationPolicy',
      '{ action: DENY, rules: [{ from: [{ source: { namespaces: [shop] } }] }] }',
      root,
    ),
    istio('AuthorizationPolicy', '{ rules: [{}] }', { namespace: 'evil' }),
    istio('PeerAuthentication', '{ mtls: { mode: PERMISSIVE } }', { namespace: 'evil' }),
  ]);
  assert.equal(atPod(mesh, { from: 'shop/web' }, 'evil').allowed, false);
  assert.equal(atPod(mesh, { from: 'none' }, 'evil').allowed, false);
});

test('an ALLOW of a client’s namespace does not allow the client at the bank', () => {
  const mesh = inForce([
    ...world,
    istio('AuthorizationPolicy', '{}'),
    istio('AuthorizationPolicy', '{ rules: [{}] }', { namespace: 'evil' }),
    istio('AuthorizationPolicy', '{ rules: [{}] }', { namespace: 'shop' }),
  ]);
  for (const from of ['evil/api', 'shop/web']) assert.equal(atPod(mesh, { from }).allowed, false, from);
});
