/** Injected faults through a waypoint. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { filter, noMore } from '../../../test/support/filters.js';
import { ask2, connect } from '../../../test/support/http2-client.js';
import { anyRequest, id, key, policy } from '../../../test/support/mesh.js';
import {
  ask,
  backend,
  echoHandler,
  eventually,
  httpUpstream,
  RawClient,
  route,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import type { FaultFilter } from '../../discovery/gen/weft.js';
import type { RouteFilter } from '../../model/route.js';
import { fault } from './fault.js';
import { InjectedFaults } from './injected-faults.js';

const name = 'TrafficPolicy shop/api slow';
const always = 1_000_000;
const faultOf = (fields: Partial<FaultFilter>): RouteFilter =>
  filter('fault', { name, activeMax: 100, delayPpm: always, abortPpm: always, ...fields });
const http = (value: number): FaultFilter['abort'] => ({ $case: 'httpStatus', value });

interface Scene {
  readonly waypoint: TestWaypoint;
  readonly arrived: string[];
  set(...filters: RouteFilter[]): void;
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
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    identity: id('web'),
    ...more,
  });
  const set = (...next: RouteFilter[]): void =>
    void waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: next }] });
  set(...filters);
  return { waypoint, arrived, set };
}
const countsOf = ({ context }: TestWaypoint) => context.faults.of(name);
const timed = async <T>(work: () => Promise<T>): Promise<[T, number]> => {
  const startMs = performance.now();
  return [await work(), performance.now() - startMs];
};

test('a delayed request reaches its endpoint later', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ delayMs: 100 })]);
  const [{ status, body }, ms] = await timed(() => ask(waypoint.port, { method: 'POST', body: 'abc' }));
  assert.equal(status, 200);
  assert.equal((JSON.parse(body) as { body: string }).body, 'abc');
  assert.ok(ms >= 99, `${ms}`);
  const record = waypoint.records.at(-1);
  assert.deepEqual([record?.flag, record?.code], ['DI', undefined]);
  assert.deepEqual(record?.actions, [{ feature: 'fault-delay', mode: 'did', policy: name }]);
  assert.deepEqual(countsOf(waypoint), { delays: 1, aborts: 0, overflows: 0, active: 0 });
});

test('an aborted request gets the status, and reaches no endpoint: no retry, no failure of one', async (t) => {
  const { waypoint, arrived } = await scene(t, [faultOf({ abort: http(503) })], {
    routes: [route('r', [{ retry: { codes: [503], attempts: 3, backoffMs: 1 } }])],
  });
  const { status } = await ask(waypoint.port, {});
  assert.equal(status, 503);
  assert.deepEqual(arrived, []);
  const record = waypoint.records.at(-1);
  assert.deepEqual(
    [record?.flag, record?.code, record?.attempts, record?.endpoint],
    ['FI', 'WEFT_FAULT_INJECTED', 0, undefined],
  );
  assert.deepEqual(waypoint.actions, [`fault-abort did ${name}`]);
  assert.deepEqual(countsOf(waypoint), { delays: 0, aborts: 1, overflows: 0, active: 0 });
});

test('a request may be delayed and then aborted', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ delayMs: 50, abort: http(418) })]);
  const [{ status }, ms] = await timed(() => ask(waypoint.port, {}));
  assert.equal(status, 418);
  assert.ok(ms >= 49);
  assert.equal(waypoint.records.at(-1)?.flag, 'FI');
  assert.deepEqual(waypoint.actions, [`fault-delay did ${name}`, `fault-abort did ${name}`]);
});

test('gRPC requests get the gRPC status; others the HTTP status that says the same', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ abort: { $case: 'grpcStatus', value: 8 } })]);
  const session = connect(t, waypoint.port);
  const grpc = await ask2(session, {
    ':method': 'POST',
    ':path': '/a.B/C',
    'content-type': 'application/grpc',
  });
  assert.deepEqual([grpc.status, grpc.headers['grpc-status']], [200, '8']);
  assert.equal((await ask2(session, { ':path': '/' })).status, 429);
  assert.equal((await ask(waypoint.port, {})).status, 429);
});

test('an HTTP status becomes the gRPC status that gRPC maps it to', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ abort: http(503) })]);
  const grpc = await ask2(connect(t, waypoint.port), {
    ':method': 'POST',
    ':path': '/a.B/C',
    'content-type': 'application/grpc',
  });
  assert.deepEqual([grpc.status, grpc.headers['grpc-status']], [200, '14']);
});

test('a reset ends the connection of HTTP/1, and the stream of HTTP/2', async (t) => {
  const { waypoint, arrived } = await scene(t, [faultOf({ abort: { $case: 'reset', value: true } })], {
    routes: [route('r', [{ backends: [backend('api')] }])],
  });
  const client = await RawClient.open(waypoint.port);
  client.write('GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n');
  await client.untilClosed();
  assert.equal(client.text, '');
  const session = connect(t, waypoint.port);
  await assert.rejects(ask2(session, { ':path': '/' }), /INTERNAL_ERROR|reset 2/);
  await assert.rejects(ask2(session, { ':method': 'POST', ':path': '/' }, 'body'), /INTERNAL_ERROR|reset 2/);
  assert.ok(!session.closed, 'the connection goes on');
  await eventually(() => waypoint.context.exchanges.size === 0, 'no request is left');
  assert.deepEqual(arrived, []);
  const record = waypoint.records.at(-1);
  assert.deepEqual([record?.status, record?.flag, record?.code], [0, 'FI', 'WEFT_FAULT_INJECTED']);
});

test('percentages are shares of requests', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ abort: http(503), abortPpm: 250_000 })]);
  let aborted = 0;
  for (let i = 0; i < 400; i++) if ((await ask(waypoint.port, {})).status === 503) aborted++;
  // Six standard deviations.
  assert.ok(aborted > 48 && aborted < 152, `${aborted}`);
});

test('faults are for the requests that match', async (t) => {
  const matches = [
    {
      pathKind: 'prefix',
      path: '/a',
      method: '',
      headers: [{ kind: 'exact', name: 'x', value: '1' }],
      query: [],
      unreadable: false,
      ...noMore,
    },
  ];
  const { waypoint } = await scene(t, [faultOf({ matches, abort: http(503) })]);
  const status = async (path: string, headers = {}): Promise<number> =>
    (await ask(waypoint.port, { path, headers })).status;
  assert.deepEqual(
    [await status('/a', { x: '1' }), await status('/a'), await status('/b', { x: '1' })],
    [503, 200, 200],
  );
});

test('an expired fault is off, without an update', async (t) => {
  const untilMs = Date.now() + 2_000;
  const { waypoint } = await scene(t, [faultOf({ abort: http(503), untilMs })]);
  assert.equal((await ask(waypoint.port, {})).status, 503);
  await eventually(() => Date.now() > untilMs, 'the time is over');
  assert.equal((await ask(waypoint.port, {})).status, 200);
  assert.equal(waypoint.actions.length, 1);
});

test('at most so many requests are delayed at once; further ones get no fault', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ delayMs: 1_500, activeMax: 2, abort: http(503) })]);
  const asked = [0, 1].map(() => ask(waypoint.port, {}));
  await eventually(() => countsOf(waypoint).active === 2, 'two are delayed');
  assert.equal((await ask(waypoint.port, {})).status, 200);
  assert.deepEqual(
    (await Promise.all(asked)).map(({ status }) => status),
    [503, 503],
  );
  assert.deepEqual(countsOf(waypoint), { delays: 2, aborts: 2, overflows: 1, active: 0 });
});

test('the delay ends with the request: the client leaves, or the request’s timeout expires', async (t) => {
  const { waypoint, arrived } = await scene(t, [faultOf({ delayMs: 60_000 })], {
    routes: [route('r', [{ requestTimeoutMs: 1_500 }])],
  });
  const client = await RawClient.open(waypoint.port);
  client.write('GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n');
  await eventually(() => countsOf(waypoint).active === 1, 'it is delayed');
  client.socket.resetAndDestroy();
  await eventually(() => countsOf(waypoint).active === 0, 'the delay is cancelled');
  assert.equal(waypoint.records.at(-1)?.flag, 'DC');
  assert.equal((await ask(waypoint.port, {})).status, 504);
  assert.equal(waypoint.records.at(-1)?.flag, 'UT');
  await eventually(() => countsOf(waypoint).active === 0, 'the delay is cancelled');
  assert.deepEqual(arrived, []);
});

test('delays go on through changes of configuration, and count for the next one', async (t) => {
  const { waypoint, set } = await scene(t, [faultOf({ delayMs: 1_500, activeMax: 1 })]);
  const asked = ask(waypoint.port, {});
  await eventually(() => countsOf(waypoint).active === 1, 'it is delayed');
  set(faultOf({ delayMs: 10_000, activeMax: 1 }));
  assert.equal((await ask(waypoint.port, {})).status, 200);
  assert.equal(countsOf(waypoint).overflows, 1);
  set();
  assert.equal((await asked).status, 200);
  assert.equal(countsOf(waypoint).active, 0);
});

test('in dry run all is counted as an action, and nothing is injected', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ delayMs: 60_000, abort: http(503), dryRun: true })]);
  assert.equal((await ask(waypoint.port, {})).status, 200);
  assert.deepEqual(waypoint.actions, [`fault-delay would ${name}`, `fault-abort would ${name}`]);
  assert.equal(waypoint.records.at(-1)?.flag, undefined);
  assert.deepEqual(countsOf(waypoint), { delays: 0, aborts: 0, overflows: 0, active: 0 });
});

test('a denied request gets 403 at once; headers of clients control no fault', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ delayMs: 60_000 })], {
    policies: [
      policy('deny', 'deny', { http: { ...anyRequest, methods: ['POST'] } }, { services: [key('api')] }),
    ],
  });
  assert.equal((await ask(waypoint.port, { method: 'POST' })).status, 403);
  const other = await scene(t, [faultOf({ delayMs: 1, abortPpm: 0 })]);
  const headers = {
    'x-envoy-fault-delay-request': '60000',
    'x-envoy-fault-abort-request': '503',
    'x-envoy-fault-abort-request-percentage': '100',
    'x-envoy-fault-throughput-response': '1',
  };
  assert.equal((await ask(other.waypoint.port, { headers })).status, 200);
});

test('a fault that cannot be compiled refuses all requests', async (t) => {
  const { waypoint } = await scene(t, [faultOf({ abort: http(99) })]);
  assert.equal((await ask(waypoint.port, {})).status, 500);
  for (const bad of [
    { abort: http(600) },
    { abort: { $case: 'grpcStatus', value: 17 } as const },
    { delayMs: 2 ** 31 },
    {
      matches: [
        { pathKind: '?', path: '', method: '', headers: [], query: [], unreadable: false, ...noMore },
      ],
    },
  ])
    assert.throws(() => fault.compile(faultOf(bad).value as FaultFilter));
});

test('counts are bounded, and those of a policy that delays requests stay', () => {
  const faults = new InjectedFaults();
  faults.of('busy').active = 1;
  for (let i = 0; i < 5_000; i++) faults.of(`p-${i}`);
  assert.equal([...faults].length, 2_000);
  assert.equal(faults.of('busy').active, 1);
});
