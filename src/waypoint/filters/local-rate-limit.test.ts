/** Local rate limits through a waypoint. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { filter, noMore } from '../../../test/support/filters.js';
import { ask2, connect } from '../../../test/support/http2-client.js';
import { anyRequest, id, key, policy } from '../../../test/support/mesh.js';
import {
  ask,
  echoHandler,
  httpUpstream,
  route,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import type { LocalRateLimitFilter } from '../../discovery/gen/weft.js';
import type { RouteFilter } from '../../model/route.js';
import { RateLimits } from '../rate-limit/rate-limits.js';
import { localRateLimit } from './local-rate-limit.js';

const name = 'TrafficPolicy shop/api per-user';
const limitOf = (fields: Partial<LocalRateLimitFilter>): RouteFilter =>
  filter('localRateLimit', { name, requests: 2, perMs: 60_000, burst: 2, ...fields });
const user = { kind: 'header', name: 'x-user' };

interface Scene {
  readonly waypoint: TestWaypoint;
  readonly rateLimits: RateLimits;
  readonly arrived: string[];
  clockMs: number;
  set(...filters: RouteFilter[]): void;
  status(headers?: Record<string, string>, path?: string): Promise<number>;
}
async function scene(
  t: TestContext,
  filters: RouteFilter[],
  more: Partial<WaypointOptions> = {},
): Promise<Scene> {
  const arrived: string[] = [];
  const echo = echoHandler('api');
  const upstream = await httpUpstream(t, (request, response) => {
    arrived.push(request.url ?? '');
    echo(request, response);
  });
  const made: { clockMs: number } = { clockMs: 1e9 };
  const rateLimits = RateLimits.inMemory(() => made.clockMs * 1e6);
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    rateLimits,
    identity: id('web'),
    ...more,
  });
  const set = (...next: RouteFilter[]): void =>
    void waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: next }] });
  set(...filters);
  const status = async (headers = {}, path = '/'): Promise<number> =>
    (await ask(waypoint.port, { path, headers })).status;
  return Object.assign(made, { waypoint, rateLimits, arrived, set, status });
}

test('requests beyond the limit get 429 with its headers, and do not reach an endpoint', async (t) => {
  const one = await scene(t, [limitOf({ requests: 100, perMs: 200_000, burst: 2 })]);
  assert.deepEqual([await one.status(), await one.status()], [200, 200]);
  const { status, headers, body } = await ask(one.waypoint.port, {});
  assert.deepEqual([status, body], [429, '']);
  assert.equal(headers['retry-after'], '2');
  assert.equal(headers['ratelimit'], '"per-user";r=0;t=2');
  assert.equal(headers['ratelimit-policy'], '"per-user";q=100;w=200');
  assert.equal(one.arrived.length, 2);
  const record = one.waypoint.records.at(-1);
  assert.deepEqual([record?.flag, record?.code], ['RL', 'WEFT_RATE_LIMITED']);
  assert.deepEqual(record?.actions, [{ feature: 'local-rate-limit', mode: 'did', policy: name }]);
  assert.deepEqual(one.waypoint.actions, [`local-rate-limit did ${name}`]);
  one.clockMs += 2_001;
  assert.deepEqual([await one.status(), await one.status()], [200, 429]);
  assert.deepEqual(
    [...one.rateLimits].map(({ policy: of, buckets }) => [of, buckets.counts]),
    [[name, { enabled: 5, ok: 3, rateLimited: 2, enforced: 2 }]],
  );
});

test('each combination of values has a bucket; a request without one of them is not limited', async (t) => {
  const { status } = await scene(t, [limitOf({ burst: 1, keys: [user, { kind: 'path', name: '' }] })]);
  const users = ['ann', 'bob', ''];
  for (const expected of [200, 429])
    for (const path of ['/a', '/b'])
      for (const one of users)
        assert.equal(await status({ 'x-user': one }, path), expected, `${one} ${path}`);
  for (let i = 0; i < 3; i++) assert.equal(await status({}, '/a'), 200);
});

test('the limit is for the requests that match, by what the client sent', async (t) => {
  const matches = [
    { pathKind: 'prefix', path: '/old', method: '', headers: [], query: [], unreadable: false, ...noMore },
  ];
  const rewrite = filter('rewrite', { path: { kind: 'full', value: '/new' } });
  const { status, arrived } = await scene(t, [limitOf({ burst: 1, matches })], {
    routes: [route('r', [{ name: 'main', filters: [rewrite] }])],
  });
  assert.deepEqual(
    [await status({}, '/old'), await status({}, '/old/a'), await status({}, '/x')],
    [200, 429, 200],
  );
  assert.deepEqual(arrived, ['/new', '/new']);
});

test('the rule that matched is a key', async (t) => {
  const { status } = await scene(t, [limitOf({ burst: 1, keys: [{ kind: 'route', name: '' }] })], {
    routes: [
      route('r', [
        { matches: [{ path: { kind: 'prefix', value: '/a' }, headers: [], query: [] }] },
        { matches: [{ path: { kind: 'prefix', value: '/b' }, headers: [], query: [] }] },
      ]),
    ],
  });
  assert.deepEqual(
    [
      await status({}, '/a/1'),
      await status({}, '/a/2'),
      await status({}, '/b'),
      await status({}, '/b'),
      await status({}, '/c'),
    ],
    [200, 429, 200, 429, 404],
  );
});

test('in dry run all is counted and nothing is refused', async (t) => {
  const { status, waypoint, rateLimits } = await scene(t, [limitOf({ burst: 1, dryRun: true })]);
  for (let i = 0; i < 3; i++) assert.equal(await status(), 200);
  assert.deepEqual(waypoint.actions, Array(2).fill(`local-rate-limit would ${name}`));
  assert.deepEqual(
    waypoint.records.map(({ audited }) => audited),
    [[], [name], [name]],
  );
  const [limit] = rateLimits;
  assert.deepEqual(limit?.buckets.counts, { enabled: 3, ok: 1, rateLimited: 2, enforced: 0 });
});

test('of several limits all must allow; a token of an earlier limit is not given back', async (t) => {
  const other = limitOf({ name: 'TrafficPolicy shop/api all', burst: 3 });
  const { status, waypoint } = await scene(t, [limitOf({ burst: 2, keys: [user] }), other]);
  assert.deepEqual(
    [await status({ 'x-user': 'a' }), await status({ 'x-user': 'b' }), await status()],
    [200, 200, 200],
  );
  assert.equal(await status({ 'x-user': 'a' }), 429, 'by the second limit');
  assert.equal(waypoint.records.at(-1)?.actions[0]?.policy, 'TrafficPolicy shop/api all');
  assert.equal(waypoint.records.at(-1)?.policy, 'TrafficPolicy shop/api all');
  assert.equal(await status({ 'x-user': 'a' }), 429, 'by the first: its token is gone');
  assert.equal(waypoint.records.at(-1)?.actions[0]?.policy, name);
});

test('a denied request takes no token', async (t) => {
  const { status, waypoint, rateLimits } = await scene(t, [limitOf({ burst: 1 })], {
    policies: [policy('deny', 'deny', { http: anyRequest }, { services: [key('api')] })],
  });
  assert.equal(await status(), 403);
  assert.equal(waypoint.actions.length, 0);
  assert.equal([...rateLimits].length, 0);
});

test('gRPC clients get UNAVAILABLE', async (t) => {
  const { waypoint } = await scene(t, [limitOf({ burst: 1 })], { protocol: 'http2' });
  await ask(waypoint.port, {}).catch(() => undefined);
  const session = connect(t, waypoint.port);
  const asked = () =>
    ask2(session, { ':method': 'POST', ':path': '/a.B/C', 'content-type': 'application/grpc' });
  await asked().catch(() => undefined);
  const { headers } = await asked();
  assert.deepEqual([headers[':status'], headers['grpc-status'], headers['retry-after']], [200, '14', '30']);
});

test('buckets survive changes of configuration 10 times a second, of the limit itself as well', async (t) => {
  const one = await scene(t, [limitOf({ burst: 5 })]);
  let allowed = 0;
  for (let i = 0; i < 30; i++) {
    one.set(
      ...(i % 3 === 0 ? [limitOf({ name: 'TrafficPolicy shop/api new', burst: 1_000 })] : []),
      limitOf({ burst: 5, dryRun: false }),
    );
    if ((await one.status()) === 200) allowed++;
  }
  assert.equal(allowed, 5);
  one.set();
  assert.equal(await one.status(), 200);
  one.set(limitOf({ burst: 5 }));
  assert.equal(await one.status(), 429, 'also while the limit was absent');
  one.set(limitOf({ requests: 1_000, perMs: 1_000, burst: 1 }));
  assert.equal(await one.status(), 429, 'empty by the new limit, too');
  one.clockMs += 2;
  assert.equal(await one.status(), 200, 'a faster limit counts at once');
});

test('a limit that cannot be compiled refuses all requests', async (t) => {
  const one = await scene(t, [limitOf({ requests: 0 })]);
  assert.equal(await one.status(), 500);
  for (const bad of [
    { perMs: 0 },
    { burst: 0 },
    { keys: [{ kind: 'color', name: '' }] },
    {
      matches: [
        { pathKind: '?', path: '', method: '', headers: [], query: [], unreadable: false, ...noMore },
      ],
    },
  ])
    assert.throws(() => localRateLimit.compile(limitOf(bad).value as LocalRateLimitFilter));
});

test('a flood of invented values does not change what others may do', async (t) => {
  const one = await scene(t, [limitOf({ requests: 1, perMs: 3_600_000, burst: 1, keys: [user] })]);
  assert.equal(await one.status({ 'x-user': 'ann' }), 200);
  for (let i = 0; i < 300; i++) await one.status({ 'x-user': `invented-${i}` });
  assert.equal(await one.status({ 'x-user': 'ann' }), 429);
  assert.equal(await one.status({ 'x-user': 'bob' }), 200);
});
