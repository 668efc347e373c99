/** Global rate limits through waypoints: with Weft's own service on a real Redis, and with a gRPC service of the mesh. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { filter } from '../../../test/support/filters.js';
import { id, identity, key } from '../../../test/support/mesh.js';
import { clientOf, globalLimitsOf, startRateLimiter } from '../../../test/support/rate-limiter.js';
import { startRedis } from '../../../test/support/redis.js';
import {
  ask,
  echoHandler,
  eventually,
  httpUpstream,
  RawClient,
  startWaypoint,
  type TestWaypoint,
} from '../../../test/support/waypoint.js';
import {
  RateLimitResponse_Code as Code,
  RateLimitServiceService,
  type RateLimitRequest,
  type RateLimitResponse,
} from '../../discovery/gen/ratelimit.js';
import type { GlobalRateLimitFilter } from '../../discovery/gen/weft.js';
import { encodeTarget } from '../../discovery/codec/backend-target.js';
import type { RouteFilter } from '../../model/route.js';
import { MeshRateLimitService } from '../rate-limit/global/mesh-service.js';
import { compileFilter } from './chain.js';

const name = 'TrafficPolicy shop/api per-user';
const limitOf = (fields: Partial<GlobalRateLimitFilter>): RouteFilter =>
  filter('globalRateLimit', { name, requests: 2, perMs: 3_600_000, timeoutMs: 1_000, ...fields });
const user = { kind: 'header', name: 'x-user' };
const target = { kind: 'service', service: key('limiter'), port: 80 } as const;
const ofMesh = { target: encodeTarget(target), domain: 'shop' };

interface Replica {
  readonly waypoint: TestWaypoint;
  readonly events: string[];
  readonly counts: () => unknown;
  set(...filters: RouteFilter[]): void;
  status(headers?: Record<string, string>): Promise<number>;
}
/** A waypoint with the filters. `port`: of Weft's own service; `limiter`: of the one in the mesh. */
async function replica(
  t: TestContext,
  filters: RouteFilter[],
  { port, limiter }: { readonly port?: number; readonly limiter?: number },
): Promise<Replica> {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const { limits, events } = globalLimitsOf(
    t,
    port === undefined ? undefined : () => clientOf(t, port, identity('shop', 'waypoint')),
    () => new MeshRateLimitService(() => waypoint.context, target),
  );
  const waypoint: TestWaypoint = await startWaypoint(t, {
    backends: { api: [upstream.port], ...(limiter === undefined ? {} : { limiter: [limiter] }) },
    globalRateLimits: limits,
    identity: id('web'),
  });
  const set = (...next: RouteFilter[]): void =>
    void waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: next }] });
  set(...filters);
  return {
    waypoint,
    events,
    counts: () => [...limits].map(({ counts }) => counts),
    set,
    status: async (headers = {}) => (await ask(waypoint.port, { headers })).status,
  };
}

/** Sends requests until one has the status. */
async function untilStatus(status: number, send: () => Promise<number> | undefined): Promise<void> {
  const end = performance.now() + 15_000;
  while ((await send()) !== status) {
    assert.ok(performance.now() < end, `no ${status} in 15 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

interface FakeService {
  readonly port: number;
  readonly asked: RateLimitRequest[];
  mode: 'respond' | 'hang' | 'fail';
}
/** A service that grants all or nothing, as Envoy's: it counts hits that it refuses, and knows no hits of a descriptor. */
async function fakeService(t: TestContext, limit: number): Promise<FakeService> {
  const used = new Map<string, number>();
  const fake: { mode: FakeService['mode']; asked: RateLimitRequest[] } = { mode: 'respond', asked: [] };
  const server = new Server();
  server.addService(RateLimitServiceService, {
    shouldRateLimit: (
      { request }: ServerUnaryCall<RateLimitRequest, RateLimitResponse>,
      respond: sendUnaryData<RateLimitResponse>,
    ) => {
      fake.asked.push(request);
      if (fake.mode === 'hang') return;
      if (fake.mode === 'fail') return respond({ code: 13, details: 'no' });
      const of = JSON.stringify(request.descriptors[0]?.entries);
      const now = (used.get(of) ?? 0) + (request.hitsAddend || 1);
      used.set(of, now);
      const code = now <= limit ? Code.OK : Code.OVER_LIMIT;
      const status = {
        code,
        currentLimit: { requestsPerUnit: limit, unit: 3, name: '' },
        limitRemaining: Math.max(0, limit - now),
        durationUntilReset: { seconds: 600, nanos: 0 },
        quota: undefined,
      };
      respond(null, { overallCode: code, statuses: [status] });
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  t.after(() => server.forceShutdown());
  return Object.assign(fake, { port });
}

test('two replicas share one limit per user; beyond it requests get 429, and the service is not asked', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection, batches } = redis.counters(t);
  await eventually(() => connection.isUp, 'connected');
  const { port } = await startRateLimiter(t, counters);
  const filters = [limitOf({ requests: 10, keys: [user] })];
  const replicas = [await replica(t, filters, { port }), await replica(t, filters, { port })];
  const statuses: number[] = [];
  for (let i = 0; i < 50; i++)
    for (const one of replicas) statuses.push(await one.status({ 'x-user': 'ann' }));
  assert.equal(statuses.filter((status) => status === 200).length, 10);
  assert.equal(statuses.filter((status) => status === 429).length, 90);
  const calls = batches.length;
  const { waypoint, counts } = replicas[0] as Replica;
  const { headers } = await ask(waypoint.port, { headers: { 'x-user': 'ann' } });
  assert.match(headers['retry-after'] ?? '', /^\d+$/);
  assert.match(String(headers['ratelimit']), /^"per-user";r=0;t=\d+$/);
  assert.equal(headers['ratelimit-policy'], '"per-user";q=10;w=3600');
  assert.equal(batches.length, calls);
  const record = waypoint.records.at(-1);
  assert.deepEqual([record?.flag, record?.code], ['RL', 'WEFT_RATE_LIMITED']);
  assert.deepEqual(record?.actions, [{ feature: 'global-rate-limit', mode: 'did', policy: name }]);
  // Another user, and a request without the header.
  assert.equal(await replicas[1]?.status({ 'x-user': 'bob' }), 200);
  assert.equal(await replicas[1]?.status(), 200);
  const [{ ok, overLimit, error }] = counts() as [{ ok: number; overLimit: number; error: number }];
  assert.equal(ok + overLimit, 51);
  assert.equal(error, 0);
});

test('dry run counts and does not act, and does not wait for the service', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection } = redis.counters(t);
  await eventually(() => connection.isUp, 'connected');
  const { port } = await startRateLimiter(t, counters);
  const one = await replica(t, [limitOf({ dryRun: true })], { port });
  for (let i = 0; i < 5; i++) {
    assert.equal(await one.status(), 200);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  assert.deepEqual(one.waypoint.actions, Array(3).fill(`global-rate-limit would ${name}`));
  redis.signal('SIGSTOP');
  t.after(() => redis.signal('SIGCONT'));
  one.set(
    limitOf({
      dryRun: true,
      failClosed: true,
      timeoutMs: 60_000,
      name: 'TrafficPolicy shop/api other',
    }),
  );
  const began = performance.now();
  assert.equal(await one.status(), 200);
  assert.ok(performance.now() - began < 30_000);
});

test('Redis hangs: requests wait once, then fail open or closed, and recover', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection } = redis.counters(t);
  await eventually(() => connection.isUp, 'connected');
  const { port } = await startRateLimiter(t, counters);
  const timeoutMs = 1_000;
  const open = await replica(t, [limitOf({ requests: 1_000, keys: [user], timeoutMs })], { port });
  const closed = await replica(t, [limitOf({ requests: 1_000, keys: [user], failClosed: true, timeoutMs })], {
    port,
  });
  for (const one of [open, closed]) await untilStatus(200, () => one.status({ 'x-user': 'a' }));
  redis.signal('SIGSTOP');
  const began = performance.now();
  for (let i = 0; i < 20; i++) {
    assert.equal(await open.status({ 'x-user': `b${i}` }), 200);
    assert.equal(await closed.status({ 'x-user': `b${i}` }), 503);
  }
  const ms = performance.now() - began;
  assert.ok(ms < 20 * timeoutMs, `40 requests took ${ms} ms`);
  const record = closed.waypoint.records.at(-1);
  assert.deepEqual([record?.flag, record?.code], ['RLSE', 'WEFT_RATE_LIMIT_SERVICE']);
  redis.signal('SIGCONT');
  await untilStatus(200, () => closed.status({ 'x-user': 'c' }));
});

test('a service of the mesh counts: descriptors, exactness, failure and recovery', async (t) => {
  const fake = await fakeService(t, 20);
  const filters = [
    limitOf({ requests: 20, keys: [user, { kind: 'client-address', name: '' }], service: ofMesh }),
  ];
  const replicas = [
    await replica(t, filters, { limiter: fake.port }),
    await replica(t, filters, { limiter: fake.port }),
  ];
  const statuses: number[] = [];
  for (let i = 0; i < 30; i++)
    for (const one of replicas) statuses.push(await one.status({ 'x-user': 'Ann' }));
  assert.equal(statuses.filter((status) => status === 200).length, 20);
  const [first] = fake.asked;
  assert.equal(first?.domain, 'shop');
  assert.deepEqual(first?.descriptors[0]?.entries, [
    { key: 'generic_key', value: 'per-user' },
    { key: 'x-user', value: 'Ann' },
    { key: 'remote_address', value: '127.0.0.1' },
  ]);
  assert.deepEqual(first?.descriptors[0]?.limit, { requestsPerUnit: 20, unit: 3 });
  fake.mode = 'fail';
  assert.equal(await replicas[0]?.status({ 'x-user': 'new' }), 200, 'fails open');
  replicas[1]?.set(
    limitOf({ requests: 20, keys: [user], failClosed: true, timeoutMs: 1_000, service: ofMesh }),
  );
  fake.mode = 'hang';
  const began = performance.now();
  for (let i = 0; i < 20; i++) assert.equal(await replicas[1]?.status({ 'x-user': `h${i}` }), 503);
  assert.ok(performance.now() - began < 10_000, 'half of what it takes if each request waits');
  fake.mode = 'respond';
  await untilStatus(200, () => replicas[1]?.status({ 'x-user': 'after' }));
});

test('the configuration changes ten times a second under load: the limit holds', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection } = redis.counters(t);
  await eventually(() => connection.isUp, 'connected');
  const { port } = await startRateLimiter(t, counters);
  const one = await replica(t, [limitOf({ requests: 50, timeoutMs: 30_000 })], { port });
  let changes = 0;
  const timer = setInterval(() => one.set(limitOf({ requests: 50, timeoutMs: 30_000 + changes++ })), 50);
  t.after(() => clearInterval(timer));
  const statuses: number[] = [];
  const end = performance.now() + 1_000;
  while (performance.now() < end || changes <= 5 || statuses.length <= 100)
    statuses.push(...(await Promise.all(Array.from({ length: 5 }, () => one.status()))));
  assert.equal(statuses.filter((status) => status === 200).length, 50);
  assert.ok(statuses.every((status) => status === 200 || status === 429));
});

test('a request that ends while it waits takes no hit', async (t) => {
  const fake = await fakeService(t, 20);
  fake.mode = 'hang';
  const one = await replica(t, [limitOf({ service: ofMesh, timeoutMs: 5_000 })], { limiter: fake.port });
  const client = await RawClient.open(one.waypoint.port);
  client.write('GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n');
  await eventually(() => fake.asked.length === 1, 'the service is asked');
  client.socket.resetAndDestroy();
  await eventually(() => one.waypoint.records.length === 1, 'the request has ended');
  assert.deepEqual(one.counts(), [{ ok: 0, overLimit: 0, error: 0, failureModeAllowed: 0 }]);
});

test('what cannot be a global limit is refused', () => {
  for (const fields of [
    { perMs: 10_000 },
    { requests: 0 },
    { timeoutMs: 0 },
    { keys: [{ kind: 'moon', name: '' }] },
  ])
    assert.throws(() => compileFilter(limitOf(fields)), JSON.stringify(fields));
  const invalid = { target: encodeTarget({ kind: 'invalid', reason: 'no such Service' }), domain: '' };
  assert.throws(() => compileFilter(limitOf({ service: invalid })), /no such Service/);
});
