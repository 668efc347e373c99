import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../../../src/model/route.js';
import { compiled, shop, settings, stateOf } from '../../../test/support/smi.js';
import { compile, Compiler } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import { parseManifests } from '../../source/parse.js';
import { weightsOf } from './weights.js';

const split = (
  spec: string,
  { name = 's', version = 'v1alpha4', namespace = 'shop', more = '' } = {},
): string => `
apiVersion: split.smi-spec.io/${version}
kind: TrafficSplit
metadata: { name: ${name}, namespace: ${namespace}${more} }
spec: { ${spec} }
`;
const group = (matches: string, name = 'g'): string => `---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: ${name}, namespace: shop }
spec: { matches: [${matches}] }
`;
const canary = 'service: web, backends: [{ service: web-v1, weight: 90 }, { service: web-v2, weight: 10 }]';

/** `http 80: headers x-a=.* -> web-v1*90 web-v2*10` */
function described(routes: readonly Route[]): string[] {
  return routes.flatMap(({ kind, parents, rules }) =>
    rules.map(({ matches, backends }) => {
      const conditions = matches.map(({ path, method, headers }) =>
        [path?.value, method, ...headers.map(({ name, value }) => `${name}=${value}`)]
          .filter((one) => one !== undefined)
          .join(' '),
      );
      const targets = backends.map(({ target, weight }) =>
        target.kind === 'service'
          ? `${target.service.split('/')[1]?.split('.')[0]}:${target.port}*${weight}`
          : `error (${target.reason})`,
      );
      return `${kind} ${parents[0]?.port}${conditions.map((one) => ` [${one}]`).join('')} -> ${targets.join(' ')}`;
    }),
  );
}
const routed = (manifests: string): string[] => described(compiled(manifests).routes);

test('a split of HTTP and of TCP ports: a backend without the port gets nothing of it', () => {
  const mesh = compiled(split(canary));
  assert.deepEqual(described(mesh.routes), [
    'http 80 -> web-v1:80*90 web-v2:80*10',
    'tcp 5432 -> web-v1:5432*90',
  ]);
  assert.deepEqual(
    mesh.routes.map(({ key }) => key),
    ['HTTPRoute/shop/TrafficSplit:s:80', 'TCPRoute/shop/TrafficSplit:s:5432'],
  );
  assert.match(
    mesh.accepted('TrafficSplit', 's'),
    /^False: .*backends\[1\]: Service shop\/web-v2 has no TCP port 5432, so it gets nothing/,
  );
});

test('each published version is read; weights of the first one are quantities', () => {
  for (const version of ['v1alpha1', 'v1alpha2', 'v1alpha3', 'v1alpha4'])
    assert.equal(routed(split(canary, { version }))[0], 'http 80 -> web-v1:80*90 web-v2:80*10', version);
  const quantities = canary.replace('90', '500m').replace('10', '1500m');
  assert.equal(routed(split(quantities, { version: 'v1alpha1' }))[0], 'http 80 -> web-v1:80*1 web-v2:80*3');
});

test('weights keep their proportions', () => {
  const weights = (...given: (string | number)[]): readonly number[] =>
    weightsOf(given.map((weight) => ({ service: 'x', weight })));
  assert.deepEqual(weights(90, 10), [90, 10]);
  assert.deepEqual(weights('10m', '100m', '1500m'), [1, 10, 150]);
  assert.deepEqual(weights('0.5', 1), [1, 2]);
  assert.deepEqual(weights('1k', '1'), [1000, 1]);
  assert.deepEqual(weights(0, 0), [0, 0]);
  assert.deepEqual(weights(4_000_000, 1), [1_000_000, 1]);
  for (const wrong of [-1, 0.5, '-1', 'x', '', '1Ki', '1e3'])
    assert.throws(() => weights(wrong), /is no weight/, String(wrong));
});

test('the requests that match go to the backends, all others to the root Service', () => {
  const matches = `{ name: a, headers: { user-agent: '.*Firefox.*' } }, { name: b, pathRegex: /api, methods: [GET, HEAD] }`;
  const spec =
    'service: web, matches: [{ kind: HTTPRouteGroup, name: g }], backends: [{ service: web-v1, weight: 0 }, { service: web-v2, weight: 100 }]';
  assert.deepEqual(routed(split(spec) + group(matches)), [
    'http 80 [user-agent=.*Firefox.*] [(?:/api)[\\s\\S]* GET] [(?:/api)[\\s\\S]* HEAD] -> web-v1:80*0 web-v2:80*100',
    'http 80 -> web:80*1',
  ]);
});

test('several groups are merged; the list of maps of the published CRD is read, too', () => {
  const spec =
    'service: web, matches: [{ kind: HTTPRouteGroup, name: g }, { kind: HTTPRouteGroup, name: h }], backends: [{ service: web-v2, weight: 1 }]';
  const groups = group('{ name: a, headers: [{ x-a: b }] }') + group('{ name: a, headers: { x-c: d } }', 'h');
  assert.equal(routed(split(spec) + groups)[0], 'http 80 [x-a=b] [x-c=d] -> web-v2:80*1');
});

test('a split with matches and one without at the same root: the rest is split by the other', () => {
  const spec =
    'service: web, matches: [{ kind: HTTPRouteGroup, name: g }], backends: [{ service: web-v2, weight: 1 }]';
  assert.deepEqual(
    routed(`${split(spec)}${group('{ name: a, headers: { x-a: b } }')}---${split(canary, { name: 't' })}`),
    ['http 80 [x-a=b] -> web-v2:80*1', 'http 80 -> web-v1:80*90 web-v2:80*10', 'tcp 5432 -> web-v1:5432*90'],
  );
});

test('of two splits without matches the older is in force, and the other says so', () => {
  const age = (day: number): string => `, creationTimestamp: '2026-01-0${day}T00:00:00Z'`;
  const mesh = compiled(
    `${split(canary, { name: 'young', more: age(2) })}---${split('service: web, backends: [{ service: web-v2, weight: 1 }]', { name: 'old', more: age(1) })}`,
  );
  assert.equal(described(mesh.routes)[0], 'http 80 -> web-v2:80*1');
  assert.match(mesh.accepted('TrafficSplit', 'young'), /port 80 belongs to the older TrafficSplit shop\/old/);
});

test('a missing group matches no request; an unreadable one closes the requests that it may match', () => {
  const spec =
    'service: web, matches: [{ kind: HTTPRouteGroup, name: g }], backends: [{ service: web-v2, weight: 1 }]';
  const missing = compiled(split(spec));
  assert.deepEqual(missing.routes, []);
  assert.match(
    missing.accepted('TrafficSplit', 's'),
    /HTTPRouteGroup shop\/g does not exist, so it matches no request/,
  );
  const unreadable = compiled(split(spec) + group(`{ name: a, pathRegex: '(' }`));
  assert.match(
    described(unreadable.routes)[0] ?? '',
    /^http 80 -> error \(matches\[0\]: HTTPRouteGroup shop\/g cannot be read/,
  );
});

test('without a backend that has the port, requests are refused', () => {
  const mesh = compiled(split('service: web, backends: [{ service: none, weight: 1 }]'));
  assert.match(described(mesh.routes)[0] ?? '', /^http 80 -> error \(no backend/);
  assert.match(mesh.accepted('TrafficSplit', 's'), /there is no Service shop\/none, so it gets nothing/);
});

test('an unreadable split closes the ports of its root Service', () => {
  for (const wrong of [
    'service: web, backends: [{ service: web-v1, weight: x }]',
    'service: web, backend: []',
    'service: web, backends: {}',
  ])
    assert.deepEqual(
      described(compiled(split(wrong)).routes).map((one) => one.replace(/error.*/, 'error')),
      ['http 80 -> error', 'tcp 5432 -> error'],
      wrong,
    );
  assert.match(
    described(compiled(split(canary, { version: 'v9' })).routes)[0] ?? '',
    /error \(apiVersion: version v9/,
  );
});

test("another namespace's split does nothing, and neither does one that names another namespace's Service", () => {
  const foreign = split(canary.replaceAll('service: web', 'service: web'), { namespace: 'evil' });
  const mesh = compiled(foreign);
  assert.deepEqual(mesh.routes, []);
  assert.match(mesh.accepted('TrafficSplit', 's'), /there is no Service evil\/web/);
  const named = compiled(
    split(canary.replace('service: web,', 'service: web.shop.svc.cluster.local,'), { namespace: 'evil' }),
  );
  assert.deepEqual(named.routes, []);
  assert.match(
    named.accepted('TrafficSplit', 's'),
    /it has to be a Service of namespace evil; the object has no effect/,
  );
  const away = compiled(
    split(
      'service: web, backends: [{ service: web-v1, weight: 1 }, { service: x.evil.svc.cluster.local, weight: 1 }]',
    ),
  );
  assert.equal(described(away.routes)[0], 'http 80 -> web-v1:80*1');
});

test('the root Service by its complete name', () => {
  for (const name of [
    'web.shop',
    'web.shop.svc',
    'web.shop.svc.cluster.local',
    'web.shop.svc.cluster.local.',
  ])
    assert.equal(
      routed(split(canary.replace('service: web,', `service: ${name},`)))[0],
      'http 80 -> web-v1:80*90 web-v2:80*10',
      name,
    );
});

test('a route of the Gateway API takes its ports from a split, which says so', () => {
  const route = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: shop }
spec: { parentRefs: [{ group: '', kind: Service, name: web, port: 80 }], rules: [{ backendRefs: [{ name: web-v1, port: 80 }] }] }
`;
  const mesh = compiled(split(canary) + route);
  assert.deepEqual(described(mesh.routes), ['http 80 [/] -> web-v1:80*1', 'tcp 5432 -> web-v1:5432*90']);
  assert.match(mesh.accepted('TrafficSplit', 's'), /^False: port 80 belongs to HTTPRoute shop\/r/);
});

test('a split and a Gateway API route of one name are two routes', () => {
  const route = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: s, namespace: shop }
spec: { parentRefs: [{ group: '', kind: Service, name: web-v1 }], rules: [{ backendRefs: [{ name: web-v1, port: 80 }] }] }
`;
  const keys = compiled(split(canary) + route).routes.map(({ key }) => key);
  assert.equal(new Set(keys).size, 3);
});

const virtualService = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: v, namespace: shop }
spec: { hosts: [web], http: [{ route: [{ destination: { host: web-v1, port: { number: 80 } } }] }] }
`;
test('a VirtualService precedes a TrafficSplit at the ports that it has rules for, and both statuses say so', () => {
  const { accepted, routes, compiler } = compiled(split(canary) + virtualService);
  const lacking = 'backends[1]: Service shop/web-v2 has no TCP port 5432, so it gets nothing';
  assert.equal(accepted('TrafficSplit', 's'), `False: port 80 belongs to VirtualService shop/v; ${lacking}`);
  assert.equal(
    accepted('VirtualService', 'v'),
    'True: in force, except: TrafficSplit shop/s is not in force at its ports of Service shop/web: VirtualServices precede TrafficSplits',
  );
  assert.deepEqual(routes.map(({ key }) => key).sort(), [
    'TCPRoute/shop/TrafficSplit:s:5432',
    'VirtualService/shop/v/shop/web/80',
  ]);
  // Whichever goes, the other is all that there is.
  const [object] = compiler.ofKind('TrafficSplit');
  const [winner] = compiler.ofKind('VirtualService');
  assert.ok(object && winner);
  assert.equal(compiler.problemOf(object)?.reason, 'Conflicted');
  compiler.apply(new Map([[objectKey(object), undefined]]));
  assert.deepEqual(compiler.remarksOf(winner), []);
  compiler.apply(new Map([[objectKey(object), object]]));
  compiler.apply(new Map([[objectKey(winner), undefined]]));
  assert.deepEqual(compiler.problemOf(object), { reason: 'PartiallyInvalid', message: lacking });
});

test('changes one by one give what all objects at once give', () => {
  const manifests = `${shop}---${split(canary)}---${split('service: web, matches: [{ kind: HTTPRouteGroup, name: g }], backends: [{ service: web-v2, weight: 1 }]', { name: 't' })}${group('{ name: a, headers: { x-a: b } }')}---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: { name: r, namespace: shop }
spec: { parentRefs: [{ group: '', kind: Service, name: web, port: 5432 }], rules: [{ backendRefs: [{ name: web-v1, port: 5432 }] }] }
`;
  const { objects } = parseManifests('x', manifests);
  const text = (compiler: Compiler): string =>
    JSON.stringify(described([...stateOf(compiler).routes].sort((a, b) => (a.key < b.key ? -1 : 1))));
  const problems = (compiler: Compiler): string => JSON.stringify([...compiler.problems()].sort());
  const compiler = new Compiler(settings);
  for (const object of [...objects].reverse()) compiler.apply(new Map([[objectKey(object), object]]));
  const whole = compile(objects, settings);
  assert.equal(text(compiler), text(whole));
  assert.equal(problems(compiler), problems(whole));
  for (const object of objects) {
    compiler.apply(new Map([[objectKey(object), undefined]]));
    const without = compile(
      objects.filter((one) => one !== object),
      settings,
    );
    assert.equal(text(compiler), text(without), objectKey(object));
    assert.equal(problems(compiler), problems(without), objectKey(object));
    compiler.apply(new Map([[objectKey(object), object]]));
  }
});
