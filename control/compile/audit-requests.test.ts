/** Audit mode of what waypoints decide about requests: tokens, decisions of services, and rates. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import {
  enforced,
  mesh,
  namespace,
  objectsOf,
  policies,
  policiesOf,
  settings,
} from '../../test/support/policy-mode.js';
import { objectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import { readObject } from '../source/validate.js';
import { compile } from './compile.js';

const audit = namespace('weft.dev/policy-mode: audit');
const pod = `---
apiVersion: v1
kind: Pod
metadata: { name: api, namespace: shop, labels: { app: api } }
spec: { nodeName: a, serviceAccountName: api }
status: { podIPs: [{ ip: 10.1.1.1 }] }
`;

const served = `---
apiVersion: v1
kind: Service
metadata: { name: echo, namespace: shop, labels: { weft.dev/waypoint: waypoint, weft.dev/waypoint-namespace: infra } }
spec: { clusterIP: 10.96.0.20, selector: { app: api }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: infra }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE, allowedRoutes: { namespaces: { from: All } } }] }
`;
const issuer = (name: string): string => `{ issuer: ${name}, jwks: { uri: 'https://keys.test/${name}' } }`;
const tokens = (name: string, target: string, ns = 'shop', jwt = `issuers: [${issuer(name)}]`): string => `---
apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: ${name}, namespace: ${ns} }
spec: { targetRefs: [${target}], jwt: { ${jwt} } }
`;
const toService = `{ group: '', kind: Service, name: echo }`;
const toGateway = `{ group: gateway.networking.k8s.io, kind: Gateway, name: waypoint }`;
const traffic = (name: string, target: string, ns = 'shop'): string => `---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: ${name}, namespace: ${ns} }
spec:
  targetRefs: [${target}]
  rateLimits: [{ name: all, requests: 1, per: 1m }]
  externalAuthorization: [{ name: ask, service: { name: decide, port: 9000 } }]
  faults: [{ name: slow, abort: { percent: '100', httpStatus: 500 } }]
`;
const requests = (name: string, issuers: string, ns = 'shop', more = ''): string => `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: ${name}, namespace: ${ns}${more} }
spec: { jwtRules: [${issuers}] }
`;

/** `<kind> <policy>` of the filters of the Service's port that act, and of those in dry run. */
function filtersOf(text: string): { acting: string[]; tried: string[] } {
  const acting: string[] = [];
  const tried: string[] = [];
  for (const one of compile(objectsOf(text), settings).all())
    if (one.kind === 'servicePolicy')
      for (const { $case, value } of one.value.filters ?? [])
        ('dryRun' in value && value.dryRun ? tried : acting).push(
          `${$case} ${'name' in value ? value.name : ''}`,
        );
  return { acting: acting.sort(), tried: tried.sort() };
}
const all = served + pod + tokens('jwt', toService) + traffic('limits', toService);

test('in a namespace in audit mode its tokens, decisions and rates are in dry run, and faults act', () => {
  const restricting = [
    'externalAuthorization TrafficPolicy shop/limits ask',
    'jwt AuthenticationPolicy shop/jwt',
    'localRateLimit TrafficPolicy shop/limits all',
  ];
  const faults = ['fault TrafficPolicy shop/limits slow'];
  assert.deepEqual(filtersOf(all), { acting: [...restricting, ...faults].sort(), tried: [] });
  for (const more of [audit, mesh('policyMode: audit')])
    assert.deepEqual(filtersOf(all + more), { acting: faults, tried: restricting }, more);
  for (const more of [namespace('weft.dev/policy-mode: audit', 'infra'), mesh('policyMode: enforce')])
    assert.deepEqual(filtersOf(all + more).tried, [], more);
});

test('policies of another namespace’s Gateway stay in force for a Service whose namespace is in audit mode, those that its own would replace, too', () => {
  const ofGateway = tokens('ours', toGateway, 'infra') + traffic('theirs', toGateway, 'infra');
  const { acting, tried } = filtersOf(all + ofGateway + audit);
  for (const one of [
    'jwt AuthenticationPolicy infra/ours',
    'localRateLimit TrafficPolicy infra/theirs all',
    'externalAuthorization TrafficPolicy infra/theirs ask',
  ])
    assert.ok(acting.includes(one), one);
  assert.ok(tried.includes('jwt AuthenticationPolicy shop/jwt'));
  const ofInfra = filtersOf(served + ofGateway + namespace('weft.dev/policy-mode: audit', 'infra'));
  assert.deepEqual(ofInfra.acting, ['fault TrafficPolicy infra/theirs slow']);
});

/** Policies of the pods about tokens. */
const guards = (text: string): AuthorizationPolicy[] =>
  policies(text).filter(
    ({ key }) => key.includes('AuthenticationPolicy/') || key.includes('RequestAuthentication'),
  );

test('what pods refuse without a validated token is recorded in audit mode, and enforced for the policy of another namespace’s Gateway', () => {
  const text = all + tokens('ours', toGateway, 'infra');
  assert.deepEqual(enforced(guards(text)), ['shop/AuthenticationPolicy/shop/jwt@echo']);
  assert.deepEqual(enforced(guards(text + audit)), ['shop/AuthenticationPolicy/infra/ours@echo']);
  const tried = guards(text + audit).filter(({ dryRun }) => dryRun);
  assert.deepEqual(
    tried.map(({ key }) => key),
    ['shop/AuthenticationPolicy/shop/jwt@echo'],
  );
  const referenced = (text: string): readonly string[] =>
    [...compile(objectsOf(text), settings).all()].flatMap((one) =>
      one.kind === 'workload' ? one.value.policies.filter((key) => key.includes('@echo')) : [],
    );
  assert.equal(referenced(text + audit).length, 2);
});

test('pods reference the policies about tokens that are in force after a label changes, like after a restart', () => {
  const text = all + tokens('ours', toGateway, 'infra') + namespace('x: y');
  const compiler = compile(objectsOf(text), settings);
  for (const [name, labels] of [
    ['shop', 'weft.dev/policy-mode: audit'],
    ['infra', 'weft.dev/policy-mode: audit'],
    ['shop', 'x: y'],
    ['infra', 'x: y'],
  ] as const) {
    const [object] = objectsOf(namespace(labels, name));
    assert.ok(object);
    compiler.apply(new Map([[objectKey(object), object]]));
    const anew = compile([...compiler.objects()], settings);
    assert.deepEqual(new Set(compiler.all()), new Set(anew.all()), `${name} ${labels}`);
  }
});

test('an AuthenticationPolicy or RequestAuthentication that cannot be read stays closed in audit mode', () => {
  const targetRefs = [{ group: '', kind: 'Service', name: 'echo' }];
  for (const [kind, spec] of [
    ['AuthenticationPolicy', { targetRefs, jwt: { issuers: 1 } }],
    ['RequestAuthentication', { jwtRules: 1 }],
  ] as const) {
    const metadata = { name: 'jwt', namespace: 'shop', annotations: { 'weft.dev/policy-mode': 'audit' } };
    const read = readObject({ kind, metadata, spec } as unknown as MeshObject);
    assert.ok(read.object && read.problem);
    const resources = compile([...objectsOf(served + pod + audit), read.object], settings).all();
    assert.equal(enforced(policiesOf(resources)).length, 1, kind);
  }
});

const a = `{ issuer: a, jwksUri: 'https://keys.test/a' }`;
const b = `{ issuer: b, jwksUri: 'https://keys.test/b', presence: REQUIRED }`;

test('a RequestAuthentication is in audit mode by its annotation, its namespace or the mesh', () => {
  const plain = served + pod + requests('r', a);
  assert.deepEqual(filtersOf(plain).acting, ['jwt RequestAuthentication shop/r']);
  assert.equal(guards(plain).filter(({ dryRun }) => !dryRun).length, 1);
  for (const text of [
    served + pod + requests('r', a, 'shop', `, annotations: { weft.dev/policy-mode: audit }`),
    plain + audit,
    plain + mesh('policyMode: audit'),
  ]) {
    assert.deepEqual(filtersOf(text), { acting: [], tried: ['jwt RequestAuthentication shop/r'] });
    assert.deepEqual(enforced(guards(text)), []);
    assert.equal(guards(text).length, 1);
  }
});

test('beside a RequestAuthentication of the mesh one in audit mode demands nothing, and tokens of its issuers stay valid', () => {
  const text = served + pod + requests('ours', a, 'weft-system') + requests('r', b) + audit;
  const filters = [...compile(objectsOf(text), settings).all()].flatMap((one) =>
    one.kind === 'servicePolicy'
      ? (one.value.filters ?? []).flatMap(({ $case, value }) => ($case === 'jwt' ? [value] : []))
      : [],
  );
  assert.deepEqual(
    filters.map(({ dryRun, required, issuers }) => ({
      dryRun,
      required,
      issuers: issuers.map((one) => one.issuer),
    })),
    [
      { dryRun: false, required: false, issuers: ['b', 'a'] },
      { dryRun: true, required: true, issuers: ['b', 'a'] },
    ],
  );
});

test('a Service without a waypoint whose decisions are in audit mode is not closed', () => {
  const text = served.replace(/, labels: \{[^}]*\}/, '') + pod + traffic('limits', toService);
  const refused = (more: string): boolean =>
    [...compile(objectsOf(text + more), settings).all()].some(
      (one) => one.kind === 'service' && one.value.waypoint !== undefined,
    );
  assert.equal(refused(''), true);
  assert.equal(refused(audit), false);
});

test('the decisions that a route of a namespace in audit mode asks for are recorded, those of other namespaces’ routes are enforced', () => {
  const route = (ns: string): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: ${ns} }
spec:
  parentRefs: [{ group: '', kind: Service, name: echo, namespace: shop }]
  rules:
    - filters: [{ type: ExternalAuth, externalAuth: { protocol: GRPC, backendRef: { name: decide, port: 9000 }, grpc: {} } }]
      backendRefs: [{ name: echo, namespace: shop, port: 80 }]
`;
  const tried = (text: string): string[] =>
    [...compile(objectsOf(text), settings).all()].flatMap((one) =>
      one.kind === 'route'
        ? one.value.rules.flatMap(({ filters }) =>
            filters.flatMap(({ $case, value }) =>
              $case === 'externalAuthorization' && value.dryRun ? [one.value.namespace] : [],
            ),
          )
        : [],
    );
  const text = served + pod + route('shop') + route('other') + namespace('x: y');
  assert.deepEqual(tried(text), []);
  assert.deepEqual(tried(text + audit), ['shop']);
  const compiler = compile(objectsOf(text), settings);
  const [object] = objectsOf(audit);
  assert.ok(object);
  const { updated } = compiler.apply(new Map([[objectKey(object), object]]));
  assert.ok(updated.some((one) => one.kind === 'route' && one.value.namespace === 'shop'));
});
