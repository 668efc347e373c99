import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../../src/model/address.js';
import { parseTrustDomain, spiffeIdOf } from '../../../src/model/identity.js';
import { authorize } from '../../../src/policy/authorize.js';
import { decodeAuthorization, encodeAuthorization } from '../../../src/discovery/codec/policy.js';
import { compiled, settings, shop, stateOf, type CompiledMesh } from '../../../test/support/smi.js';
import { compile, Compiler } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import { parseManifests } from '../../source/parse.js';

const target = (
  rules: string,
  { name = 't', namespace = 'shop', destination = '', sources = '' } = {},
): string => `
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  destination: { kind: ServiceAccount, name: api${destination} }
  rules: [${rules}]
  sources: [${sources === '' ? '{ kind: ServiceAccount, name: web, namespace: shop }' : sources}]
`;
const group = (matches: string): string => `---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: g, namespace: shop }
spec: { matches: [${matches}] }
`;
const ports = (list: string): string => `---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: { name: p, namespace: shop }
spec: { matches: { ports: [${list}] } }
`;
const tcp = '{ kind: TCPRoute, name: p }';
const http = '{ kind: HTTPRouteGroup, name: g }';

interface Request {
  readonly account?: string;
  readonly port?: number;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
}
/** Whether a pod accepts a request, or a connection without `path`. */
function allows(
  mesh: CompiledMesh,
  pod: string,
  { account = 'shop/web', port = 8080, ...request }: Request,
): boolean {
  const keys = new Set(mesh.listed.get(pod));
  const policies = mesh.policies
    .filter(({ key, scope }) => scope !== 'workload' || keys.has(key))
    // As clients of the control plane decode them.
    .map((policy) => decodeAuthorization(encodeAuthorization(policy)))
    .map((decoded) => {
      assert.ok(decoded.ok, JSON.stringify(decoded));
      return decoded.value;
    });
  const [namespace = '', serviceAccount = ''] = account.split('/');
  const { path, method = 'GET', headers = {} } = request;
  return authorize(policies, {
    identity: spiffeIdOf({ trustDomain: parseTrustDomain('cluster.local'), namespace, serviceAccount }),
    sourceIp: parseIp('10.0.0.9'),
    destinationIp: parseIp('10.0.0.2'),
    destinationPort: port,
    ...(path === undefined
      ? {}
      : { http: { method, host: 'api', paths: [path], header: (name) => headers[name] } }),
  }).allowed;
}

test('without a TrafficTarget everything is allowed; with one, only what it names, to pods of its account alone', () => {
  assert.equal(allows(compiled(''), 'api-1', {}), true);
  const mesh = compiled(target(tcp) + ports('8080'));
  assert.equal(allows(mesh, 'api-1', {}), true);
  assert.equal(allows(mesh, 'api-1', { port: 9090 }), false);
  assert.equal(allows(mesh, 'api-1', { account: 'shop/other' }), false);
  assert.equal(allows(mesh, 'api-1', { account: 'other/web' }), false);
  assert.equal(allows(mesh, 'web-1', { account: 'other/x' }), true);
  assert.deepEqual(mesh.listed.get('api-1'), ['shop/TrafficTarget:t']);
});

test('a TCPRoute without ports allows all ports', () => {
  assert.equal(allows(compiled(target(tcp) + ports('')), 'api-1', { port: 1 }), true);
});

test('an HTTPRouteGroup allows its requests, on every port, and no connection whose requests nobody has read', () => {
  const mesh = compiled(
    target(http) +
      group(
        `{ name: m, pathRegex: /metrics, methods: [GET] }, { name: r, pathRegex: '/users/[0-9]+$' }, { name: h, headers: { x-role: 'admin|root' } }`,
      ),
  );
  assert.equal(allows(mesh, 'api-1', { path: '/metrics' }), true);
  assert.equal(allows(mesh, 'api-1', { path: '/metrics/x' }), true);
  assert.equal(allows(mesh, 'api-1', { path: '/metrics', method: 'POST' }), false);
  assert.equal(allows(mesh, 'api-1', { path: '/a/metrics' }), false);
  assert.equal(allows(mesh, 'api-1', { path: '/users/12' }), true);
  assert.equal(allows(mesh, 'api-1', { path: '/users/x' }), false);
  assert.equal(allows(mesh, 'api-1', { path: '/users/12/x' }), false);
  assert.equal(allows(mesh, 'api-1', { path: '/x', headers: { 'x-role': 'root' } }), true);
  assert.equal(allows(mesh, 'api-1', { path: '/x', headers: { 'x-role': 'rooty' } }), false);
  assert.equal(allows(mesh, 'api-1', {}), false);
});

test('with a TCPRoute and an HTTPRouteGroup a request has to meet both', () => {
  const mesh = compiled(
    target(`${tcp}, ${http}`) + ports('8080') + group('{ name: m, pathRegex: /metrics }'),
  );
  assert.equal(allows(mesh, 'api-1', { path: '/metrics' }), true);
  assert.equal(allows(mesh, 'api-1', { path: '/metrics', port: 9090 }), false);
  assert.equal(allows(mesh, 'api-1', { path: '/x' }), false);
  assert.equal(allows(mesh, 'api-1', {}), false);
});

test('a rule may name single matches of a group', () => {
  const mesh = compiled(
    target('{ kind: HTTPRouteGroup, name: g, matches: [m] }') +
      group(`{ name: m, pathRegex: /m }, { name: all, pathRegex: '.*', methods: ['*'] }`),
  );
  assert.equal(allows(mesh, 'api-1', { path: '/m' }), true);
  assert.equal(allows(mesh, 'api-1', { path: '/x' }), false);
  const whole = compiled(target(http) + group(`{ name: all, pathRegex: '.*', methods: ['*'] }`));
  assert.equal(allows(whole, 'api-1', { path: '/x', method: 'PUT' }), true);
  assert.equal(allows(whole, 'api-1', {}), false);
});

test('TrafficTargets of one account add up', () => {
  const other = target(tcp, { name: 'u', sources: '{ kind: ServiceAccount, name: job, namespace: other }' });
  const mesh = compiled(`${target(tcp)}---${other}${ports('8080')}`);
  assert.equal(allows(mesh, 'api-1', {}), true);
  assert.equal(allows(mesh, 'api-1', { account: 'other/job' }), true);
  assert.equal(allows(mesh, 'api-1', { account: 'shop/job' }), false);
});

test('what a rule names and what does not exist, or cannot be read, allows nothing', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [target(http), /HTTPRouteGroup shop\/g does not exist, so it allows nothing/],
    [target(http) + group(`{ name: a, pathRegex: '(' }`), /HTTPRouteGroup shop\/g cannot be read/],
    [target(http) + group(`{ name: a, pathRegex: '\\Q/x' }`), /HTTPRouteGroup shop\/g cannot be read/],
    [target(http) + group(`{ name: a, path: /x }`), /HTTPRouteGroup shop\/g cannot be read/],
    [target('{ kind: HTTPRouteGroup, name: g, matches: [x] }') + group('{ name: a }'), /has no match x/],
    [target(tcp), /TCPRoute shop\/p does not exist, so it allows nothing/],
    [target(tcp) + ports('0'), /TCPRoute shop\/p cannot be read/],
    [`${target(`${tcp}, ${http}`)}${group('{ name: a }')}`, /TCPRoute shop\/p does not exist/],
    [target(''), /rules: there are none/],
    [
      target(tcp, { sources: '{ kind: Group, name: web }' }) + ports(''),
      /sources\[0\].kind: only ServiceAccount/,
    ],
  ];
  for (const [manifests, message] of cases) {
    const mesh = compiled(manifests);
    assert.equal(allows(mesh, 'api-1', { path: '/x' }), false, manifests);
    assert.equal(allows(mesh, 'web-1', {}), true, manifests);
    assert.match(mesh.accepted('TrafficTarget', 't'), message);
  }
});

test('a UDPRoute alone allows no connection, and beside other rules it changes nothing', () => {
  const udp = '{ kind: UDPRoute, name: p }';
  assert.equal(allows(compiled(target(udp)), 'api-1', {}), false);
  const mesh = compiled(target(`${udp}, ${tcp}`) + ports('8080'));
  assert.equal(allows(mesh, 'api-1', {}), true);
  assert.equal(allows(mesh, 'api-1', { port: 1 }), false);
});

test('the first versions have the fields beside the metadata, and the port at the destination', () => {
  const old = `
apiVersion: access.smi-spec.io/v1alpha1
kind: TrafficTarget
metadata: { name: t, namespace: shop }
destination: { kind: ServiceAccount, name: api, namespace: shop, port: 8080 }
specs: [{ kind: HTTPRouteGroup, name: g, matches: [m] }]
sources: [{ kind: ServiceAccount, name: web, namespace: shop }]
---
apiVersion: specs.smi-spec.io/v1alpha1
kind: HTTPRouteGroup
metadata: { name: g, namespace: shop }
matches: [{ name: m, pathRegex: /metrics, methods: [GET] }]
`;
  const second =
    target('{ kind: HTTPRouteGroup, name: g, matches: [m] }', { destination: ', port: 8080' }).replace(
      'v1alpha3',
      'v1alpha2',
    ) + old.slice(old.indexOf('---')).replace('v1alpha1', 'v1alpha2');
  for (const mesh of [compiled(old), compiled(second)]) {
    assert.equal(allows(mesh, 'api-1', { path: '/metrics' }), true);
    assert.equal(allows(mesh, 'api-1', { path: '/metrics', port: 9090 }), false);
    assert.equal(allows(mesh, 'api-1', { path: '/x' }), false);
  }
  const route = ports('')
    .replace('v1alpha4', 'v1alpha1')
    .replace(/spec:.*/, '');
  assert.equal(allows(compiled(target(tcp) + route), 'api-1', { port: 1 }), true);
});

test('an unreadable TrafficTarget allows nothing to its account; if the account is unreadable, nothing in its namespace', () => {
  const known = compiled(target(tcp).replace('rules:', 'rule:') + ports(''));
  assert.equal(allows(known, 'api-1', {}), false);
  assert.equal(allows(known, 'web-1', {}), true);
  const version = compiled(target(tcp).replace('v1alpha3', 'v1alpha4') + ports(''));
  assert.equal(allows(version, 'api-1', {}), false);
  for (const wrong of [
    target(tcp).replace('name: api', 'nam: api'),
    target(tcp).replace('kind: ServiceAccount, name: api', 'kind: Group, name: api'),
  ]) {
    const mesh = compiled(wrong + ports(''));
    assert.equal(allows(mesh, 'api-1', {}), false);
    assert.equal(allows(mesh, 'web-1', {}), false);
  }
});

test("another namespace's TrafficTarget changes nothing for pods of this one, by whatever it names", () => {
  for (const foreign of [
    target(tcp, { namespace: 'evil', destination: ', namespace: shop' }),
    target(tcp, { namespace: 'evil' }),
    target(tcp, { namespace: 'evil', destination: ', nam: x' }),
  ]) {
    const mesh = compiled(foreign + ports(''));
    assert.equal(
      allows({ ...mesh, policies: mesh.policies.filter(({ namespace }) => namespace === 'shop') }, 'api-1', {
        account: 'x/y',
      }),
      true,
    );
    assert.deepEqual(mesh.listed.get('api-1'), []);
    assert.ok(mesh.policies.every(({ namespace, scope }) => namespace === 'evil' && scope !== 'global'));
  }
  const mesh = compiled(target(tcp, { namespace: 'evil', destination: ', namespace: shop' }) + ports(''));
  assert.match(
    mesh.accepted('TrafficTarget', 't'),
    /protects only pods of its own namespace, evil; it has no effect/,
  );
});

test("another namespace's HTTPRouteGroup and TCPRoute are not used", () => {
  const mesh = compiled(
    `${target(`${tcp}, ${http}`)}${(ports('') + group('{ name: a }')).replaceAll('namespace: shop', 'namespace: evil')}`,
  );
  assert.equal(allows(mesh, 'api-1', { path: '/x' }), false);
});

test('a TrafficTarget and an AccessPolicy of one name are two policies', () => {
  const policy = `---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: t, namespace: shop }
spec: { action: DENY, selector: { matchLabels: { app: api } }, rules: [{ to: [{ ports: [22] }] }] }
`;
  const mesh = compiled(target(tcp) + ports('') + policy);
  assert.equal(mesh.policies.length, 2);
  assert.equal(allows(mesh, 'api-1', { port: 22 }), false);
  assert.equal(allows(mesh, 'api-1', { port: 23 }), true);
});

test('changes one by one give what all objects at once give', () => {
  const { objects } = parseManifests(
    'x',
    `${shop}---${target(`${tcp}, ${http}`)}${ports('8080')}${group('{ name: a }')}---${target(tcp, { name: 'u' })}`,
  );
  const text = (compiler: Compiler): string => {
    const { policies, listed } = stateOf(compiler);
    return JSON.stringify([
      [...policies].sort((a, b) => (a.key < b.key ? -1 : 1)),
      [...listed].sort(),
      [...compiler.problems()].sort(),
    ]);
  };
  const compiler = new Compiler(settings);
  for (const object of [...objects].reverse()) compiler.apply(new Map([[objectKey(object), object]]));
  assert.equal(text(compiler), text(compile(objects, settings)));
  for (const object of objects) {
    compiler.apply(new Map([[objectKey(object), undefined]]));
    assert.equal(
      text(compiler),
      text(
        compile(
          objects.filter((one) => one !== object),
          settings,
        ),
      ),
      objectKey(object),
    );
    compiler.apply(new Map([[objectKey(object), object]]));
  }
});

test('the status of objects that do what they say names no exceptions', () => {
  const mesh = compiled(
    `${target(`${tcp}, ${http}`, { destination: ', namespace: shop' })}${ports('')}${group(`{ name: a, pathRegex: /metrics, headers: { x-a: '.*b.*' } }`)}`,
  );
  for (const [kind, name] of [
    ['TrafficTarget', 't'],
    ['HTTPRouteGroup', 'g'],
    ['SmiTCPRoute', 'p'],
  ] as const)
    assert.equal(mesh.accepted(kind, name), 'True: in force');
  assert.match(
    compiled(group('{ name: a, headers: { x-a: b } }')).accepted('HTTPRouteGroup', 'g'),
    /^True: in force, except: matches\[\]\.headers: [^:]*the whole value$/,
  );
  assert.match(compiled(ports('80')).accepted('SmiTCPRoute', 'p'), /ports of the pods/);
});
