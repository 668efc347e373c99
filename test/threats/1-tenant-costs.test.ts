/**
 * Row 1 of docs/security.md, costs: a tenant is admin of namespace `evil`. Objects of the tenant do not slow down the configuration or
 * connections of others, in the control plane or in a waypoint.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseManifests } from '../../control/source/parse.js';
import { trafficPolicyStatus } from '../../control/status/traffic-policy.js';
import { compile } from '../../control/compile/compile.js';
import { Publisher } from '../../control/publisher.js';
import { objectKey } from '../../control/objects/object-key.js';
import type { MeshObject, RouteObject } from '../../control/objects/objects.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { RouteRule } from '../../src/model/route.js';
import { RegexTime } from '../../src/policy/regex.js';
import { compileRoutes } from '../../src/waypoint/routes/compile.js';
import { WaypointState } from '../../src/waypoint/state/waypoint-state.js';
import { parseIp } from '../../src/model/address.js';
import { authorize } from '../../src/policy/authorize.js';
import { attributesOf } from '../../src/waypoint/authorization/request-attributes.js';
import { key, policy } from '../support/mesh.js';
import { selfReference, meshOf, route } from '../support/waypoint.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const service: MeshObject = {
  kind: 'Service',
  metadata: { name: 'api', namespace: 'bank' },
  spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 80 }] },
};
const routeObject = (
  kind: 'HTTPRoute' | 'GRPCRoute',
  i: number,
  rules: readonly object[] = [{}],
): RouteObject =>
  ({
    kind,
    metadata: { name: `r${i}`, namespace: 'evil' },
    spec: { parentRefs: [{ group: '', kind: 'Service', name: 'api', namespace: 'bank' }], rules },
  }) as unknown as RouteObject;

/** CPU time of `work`, in ms. */
function spent(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Each expression takes some 7 ms to compile, and 250 ns per character and step to match. */
const costly = (i: number): string => `${i}(.*a){300}`;

test('a route with a thousand costly regular expressions takes the control plane little time, and its condition says that it is not in force', () => {
  const matches = Array.from({ length: 64 }, (_, i) => ({
    headers: Array.from({ length: 16 }, (__, j) => ({
      type: 'RegularExpression',
      name: `x-${j}`,
      value: costly(i * 16 + j),
    })),
  }));
  const compiler = compile([service], settings);
  const one = routeObject('HTTPRoute', 0, [{ matches }]);
  const ms = spent(() => compiler.apply(new Map([[objectKey(one), one]])));
  assert.ok(ms < 1500, `${ms} ms`);
  assert.match(compiler.route(one).invalid?.message ?? '', /regular expression.*steps/);
});

test("a change of a Service is published before the tenant's VirtualServices that name it are recompiled", () => {
  const published: string[][] = [];
  const publisher = new Publisher({
    settings,
    onCompiled: () => undefined,
    onUpdate: (changed) => published.push(changed.flatMap(({ names }) => [...names])),
    onLimit: () => undefined,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  const named = (name: string, namespace: string, host: string): MeshObject =>
    ({
      kind: 'VirtualService',
      metadata: { name, namespace },
      spec: {
        hosts: [host],
        http: [{ route: [{ destination: { host: 'api.bank.svc.cluster.local', port: { number: 80 } } }] }],
      },
    }) as unknown as MeshObject;
  const own = { ...service, metadata: { name: 'own', namespace: 'evil' } } as MeshObject;
  const evil = Array.from({ length: 100 }, (_, i) => named(`large${i}`, 'evil', 'own'));
  const apply = (...objects: MeshObject[]): void =>
    publisher.apply(new Map(objects.map((object) => [objectKey(object), object])));
  apply(service, own, named('api', 'bank', 'api'), ...evil);
  published.length = 0;
  apply({ ...service, spec: { ...service.spec, ports: [{ port: 81 }] } } as MeshObject);
  publisher.stop();
  assert.deepEqual(published.flat().sort(), [
    'VirtualService/bank/api/bank/api/80',
    'VirtualService/bank/api/bank/api/81',
    'bank/api.bank.svc.cluster.local',
  ]);
  assert.equal(publisher.compiler.waiting, evil.length);
});

test('with thousands of routes of one Service, a change of one does not take time quadratic in their number', () => {
  const of = (count: number): number => {
    const objects = Array.from({ length: count }, (_, i) => [
      routeObject('HTTPRoute', i),
      routeObject('GRPCRoute', i),
    ]).flat();
    const compiler = compile([service, ...objects], settings);
    return spent(() => {
      for (let i = 0; i < 3; i++) {
        const changed = routeObject('GRPCRoute', i, []);
        compiler.apply(new Map([[objectKey(changed), changed]]));
      }
    });
  };
  of(100);
  const [few, many] = [of(300), of(1500)];
  assert.ok(many < 12 * few + 200, `${few} ms, ${many} ms`);
});

test('with thousands of TrafficPolicies of the same Services, their conditions do not take time quadratic in their number', () => {
  const names = Array.from({ length: 16 }, (_, i) => `api${i}`);
  const text = names.map(
    (name) => `
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec: { ports: [{ name: http, port: 80 }] }
---`,
  );
  const targets = names.map((name) => `{ group: '', kind: Service, name: ${name} }`).join(', ');
  for (let i = 0; i < 1_000; i++)
    text.push(`
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: p${i}, namespace: shop }
spec: { targetRefs: [${targets}], rateLimits: [{ name: one, requests: 1, per: 1h }] }
---`);
  const { objects } = parseManifests('x', text.join('').replace(/---$/, ''));
  const mesh = compile(objects, settings);
  const policies = objects.filter((one) => one.kind === 'TrafficPolicy');
  assert.equal(policies.length, 1_000);
  const reasons = new Set<string | undefined>();
  const ms = spent(() => {
    for (const one of policies) {
      const { status } = trafficPolicyStatus(one, { mesh, timestamp: '2026-01-01T00:00:00Z' }) ?? {};
      reasons.add((status as typeof one.status)?.conditions?.[0]?.reason);
    }
  });
  assert.deepEqual([...reasons], ['Accepted', 'Conflicted']);
  // It took 50 s.
  assert.ok(ms < 3_000, `${ms} ms`);
});

const path = (value: string): Partial<RouteRule> => ({
  matches: [{ path: { kind: 'regex', value }, headers: [], query: [] }],
});
const request = (text: string) => ({
  method: 'GET',
  path: text,
  authority: 'api',
  scheme: 'http',
  headers: [],
});

test("a tenant's costly routes use at most the tenant's share of a waypoint's time, and slow down no others", () => {
  const state = new WaypointState('n1', key('waypoint'));
  assert.equal(selfReference.kind, 'hostname');
  state.apply({
    mesh: meshOf({ api: [8080] }),
    routes: [
      route('own', [path('/a+')], { namespace: 'shop' }),
      route(
        'costly',
        Array.from({ length: 16 }, (_, i) => path(`/(.*a){${150 + i}}b`)),
        { namespace: 'evil' },
      ),
    ],
  });
  const api = state.view.service(key('api'));
  assert.ok(api);
  const evil = state.routing(api, 80, 'evil')?.match;
  assert.ok(evil);
  const end = performance.now() + 2_000;
  const taken: number[] = [];
  let refused = 0;
  while (performance.now() < end) {
    const text = Array.from({ length: 200 }, () => (Math.random() < 0.5 ? 'a' : 'c')).join('');
    const start = performance.now();
    const found = evil(request(`/${text}`));
    taken.push(performance.now() - start);
    const target = found?.rule.backends[0]?.target;
    if (target?.kind === 'invalid' && target.reason.includes('used up')) refused++;
    if (taken.length % 100 === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    // Requests of others in the meantime.
    assert.equal(state.routing(api, 80, 'bank')?.match(request('/aaa'))?.route.name, 'own');
  }
  assert.ok(refused > 0);
  assert.ok(Math.max(...taken) < 700, `${Math.max(...taken)} ms for one request`);
  assert.ok(
    taken.reduce((sum, one) => sum + one, 0) < 1600,
    `${taken.reduce((sum, one) => sum + one, 0)} ms`,
  );
});

test('a request whose text would take a regular expression too long is refused, and matches no other rule', () => {
  const matcher = compileRoutes(
    [route('r', [path('/(.*a){150}b'), { matches: [{ headers: [], query: [] }] }])],
    new RegexTime(),
  );
  const [short, long] = [matcher?.(request('/aaa')), matcher?.(request(`/${'a'.repeat(8000)}`))];
  assert.equal(short?.label.endsWith('/1'), true);
  const target = long?.rule.backends[0]?.target;
  assert.ok(target?.kind === 'invalid' && /too long/.test(target.reason));
});

test('a path with many possible readings costs nothing if no policy names paths', () => {
  const none = { notMethods: [], paths: [], notPaths: [], hosts: [], notHosts: [], headers: [] };
  const rules = policy('p', 'deny', { destinationPorts: [1], http: { ...none, methods: ['PUT'] } });
  const text = `/${'a;/'.repeat(2600)}%25`;
  const ms = spent(() => {
    for (let i = 0; i < 100; i++) {
      const http = attributesOf(request(text));
      const verdict = authorize([rules], {
        identity: undefined,
        sourceIp: parseIp('10.0.0.1'),
        destinationIp: parseIp('10.0.0.2'),
        destinationPort: 1,
        http,
      });
      assert.ok(verdict.allowed);
    }
  });
  assert.ok(ms < 300, `${ms} ms`);
});

test("adding and removing routes of one namespace does not recompile another namespace's routes", () => {
  const state = new WaypointState('n1', key('waypoint'));
  state.apply({ mesh: meshOf({ api: [8080] }), routes: [route('own', [path('/a')], { namespace: 'shop' })] });
  const api = state.view.service(key('api'));
  assert.ok(api);
  const [own, evil] = [state.routing(api, 80, 'bank'), state.routing(api, 80, 'evil')];
  assert.equal(evil?.match(request('/a'))?.route.name, 'own');
  state.apply({ routes: [route('theirs', [path('/b')], { namespace: 'evil' })] });
  assert.equal(state.routing(api, 80, 'bank'), own);
  assert.equal(state.routing(api, 80, 'evil')?.match(request('/b'))?.route.name, 'theirs');
  state.apply({ removedRoutes: [route('theirs', [], { namespace: 'evil' }).key] });
  assert.equal(state.routing(api, 80, 'evil')?.match(request('/a'))?.route.name, 'own');
  state.apply({ routes: [route('own', [path('/c')], { namespace: 'shop' })] });
  assert.equal(state.routing(api, 80, 'bank')?.match(request('/a')), undefined);
  assert.equal(state.routing(api, 80, 'bank')?.match(request('/c'))?.route.name, 'own');
});
