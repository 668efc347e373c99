import assert from 'node:assert/strict';
import type http2 from 'node:http2';
import { test, type TestContext } from 'node:test';
import {
  ask,
  eventually,
  http2Upstream,
  httpUpstream,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  type TestWaypoint,
} from '../../../test/support/waypoint.js';
import { ask2, connect } from '../../../test/support/http2-client.js';
import { settingsOfApi } from '../../../test/support/retry-policies.js';
import type { RouteRule } from '../../model/route.js';
import { grpcTimeoutMs } from '../http/grpc-timeout.js';
import { Deadlines, deadlinesOf, type Deadline } from './deadlines.js';

const apply = (waypoint: TestWaypoint, settings: Parameters<typeof settingsOfApi>[1]): void =>
  void waypoint.apply({ servicePolicies: [settingsOfApi('t', settings)] });
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const ruleOf = (requestTimeoutMs?: number): RouteRule =>
  ({ matches: [], filters: [], backends: [], requestTimeoutMs }) as RouteRule;

test('a rule’s timeout replaces the policy’s; a consumer’s rule can only shorten it', () => {
  const of = (rule: RouteRule | undefined, ofConsumer: boolean, more = {}, grpcMs?: number): unknown =>
    deadlinesOf({
      rule,
      ofConsumer,
      timeouts: { requestMs: 1_000, dryRun: false, ...more },
      grpcMs,
    }).map(({ kind, ms, isDryRun }) => `${kind} ${ms}${isDryRun ? ' dry' : ''}`);
  assert.deepEqual(of(undefined, false), ['policy 1000']);
  assert.deepEqual(of(ruleOf(), false), ['policy 1000']);
  assert.deepEqual(of(ruleOf(2_000), false), ['rule 2000']);
  assert.deepEqual(of(ruleOf(0), false), []);
  assert.deepEqual(of(ruleOf(0), true), ['policy 1000']);
  assert.deepEqual(of(ruleOf(2_000), true), ['policy 1000', 'rule 2000']);
  assert.deepEqual(of(ruleOf(500), true), ['rule 500', 'policy 1000']);
  assert.deepEqual(of(undefined, false, { requestMs: 0, streamMsMax: 5 }), ['duration 5']);
  assert.deepEqual(of(undefined, false, { dryRun: true }, 300), ['grpc 300', 'policy 1000 dry']);
  assert.deepEqual(of(undefined, false, {}, 0), ['grpc 0', 'policy 1000']);
  assert.deepEqual(of(ruleOf(1e12), false, {}), [`rule ${2 ** 31 - 1}`], 'the limit of a timer');
  assert.deepEqual(
    deadlinesOf({ rule: undefined, ofConsumer: false, timeouts: undefined, grpcMs: undefined }),
    [],
  );
});

test('deadlines expire in their order; dry ones end nothing', async () => {
  const expired: string[] = [];
  const now = performance.now();
  const all: Deadline[] = [
    { kind: 'policy', ms: -5, isDryRun: true },
    { kind: 'duration', ms: 10, isDryRun: true },
    { kind: 'grpc', ms: 20, isDryRun: false },
    { kind: 'rule', ms: 30, isDryRun: false },
  ];
  const deadlines: Deadlines = new Deadlines(all, now, ({ kind, isDryRun }) => {
    expired.push(kind);
    if (!isDryRun) deadlines.end();
  });
  // The sum and the difference of fractions may be a little more.
  assert.ok(deadlines.leftMs(now) < 20.01 && deadlines.leftMs(now + 1_000) === 0);
  deadlines.start();
  await eventually(() => expired.length >= 3, 'those until the first that is enforced');
  await sleep(30);
  assert.deepEqual(expired, ['policy', 'duration', 'grpc']);
});

test('deadlines that are over when the process comes to them expire in their order', () => {
  const expired: string[] = [];
  const all = (['policy', 'duration', 'grpc'] as const).map((kind, i) => ({ kind, ms: i, isDryRun: i < 2 }));
  new Deadlines(all, performance.now() - 100, ({ kind }) => void expired.push(kind)).start();
  assert.deepEqual(expired, ['policy', 'duration', 'grpc']);
});

test('the policy’s request timeout ends the request, and says so', async (t) => {
  let canceled = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    response.on('close', () => (canceled += response.writableFinished ? 0 : 1));
    if (request.url === '/body') response.write('half');
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  apply(waypoint, { timeouts: { requestMs: 1_000 } });
  assert.equal((await ask(waypoint.port)).status, 504);
  await assert.rejects(ask(waypoint.port, { path: '/body' }));
  await eventually(() => canceled === 2 && waypoint.records.length === 2, 'the endpoint’s side ends');
  for (const { flag, actions } of waypoint.records) {
    assert.equal(flag, 'UT');
    assert.deepEqual(actions, [{ feature: 'timeout', mode: 'did', policy: 'TrafficPolicy shop/t' }]);
  }
  assert.equal(waypoint.records[0]?.code, 'WEFT_REQUEST_TIMEOUT');
  assert.deepEqual(waypoint.upstreamEvents, ['timeout', 'timeout']);
});

test('in dry run a timeout is counted, and the request goes on', async (t) => {
  const upstream = await httpUpstream(
    t,
    (_request, response) => void setTimeout(() => response.end('late'), 90),
  );
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  apply(waypoint, { timeouts: { requestMs: 30, streamMsMax: 50, dryRun: true } });
  assert.equal((await ask(waypoint.port)).body, 'late');
  assert.deepEqual(waypoint.actions, [
    'timeout would TrafficPolicy shop/t',
    'timeout would TrafficPolicy shop/t',
  ]);
  assert.deepEqual([waypoint.records[0]?.flag, waypoint.upstreamEvents.length], [undefined, 0]);
});

test('the greatest duration ends a response that still moves, and an upgraded connection', async (t) => {
  const drips = await httpUpstream(t, (_request, response) => {
    const timer = setInterval(() => response.write('.'), 10);
    response.on('close', () => clearInterval(timer));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [drips.port] } });
  apply(waypoint, { timeouts: { streamMsMax: 1_000 } });
  await assert.rejects(ask(waypoint.port));
  await eventually(() => waypoint.records.length === 1, 'its record');
  assert.deepEqual([waypoint.records[0]?.flag, waypoint.records[0]?.status], ['DT', 200]);
  assert.deepEqual(waypoint.upstreamEvents, ['maxDurationReached']);

  const socket = await rawUpstream(t, (one) => {
    one.once('data', () => {
      one.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n');
      one.on('data', (bytes: Buffer) => one.write(bytes));
    });
  });
  const upgraded = await startWaypoint(t, {
    backends: { api: [socket] },
    routes: [route('r', [{ requestTimeoutMs: 1_000 }])],
  });
  apply(upgraded, { timeouts: { streamMsMax: 2_000 } });
  const startMs = performance.now();
  const client = await RawClient.open(upgraded.port);
  t.after(() => client.socket.destroy());
  client.write('GET / HTTP/1.1\r\nhost: api\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
  await client.until((text) => text.includes('101'));
  const ticks = setInterval(() => client.socket.writable && client.write('tick'), 20);
  t.after(() => clearInterval(ticks));
  await client.untilClosed();
  assert.ok(performance.now() - startMs > 1_500, 'the request’s timeout does not concern it');
  await eventually(() => upgraded.records.length === 1, 'its record');
  assert.equal(upgraded.records[0]?.flag, 'DT');
});

const grpc = { ':method': 'POST', ':path': '/a.B/C', 'content-type': 'application/grpc' };

/** An endpoint that records each `grpc-timeout`, and responds as the test says. */
async function grpcUpstream(
  t: TestContext,
  respond: (stream: http2.ServerHttp2Stream, attempt: number) => void,
): Promise<{ port: number; got: (string | undefined)[] }> {
  const got: (string | undefined)[] = [];
  const { port } = await http2Upstream(t, (stream, headers) => {
    got.push(headers['grpc-timeout'] as string | undefined);
    respond(stream, got.length);
  });
  return { port, got };
}
const respondWith = (stream: http2.ServerHttp2Stream, status: string): void =>
  stream.respond({ 'content-type': 'application/grpc', 'grpc-status': status }, { endStream: true });

test('grpc-timeout ends the call with DEADLINE_EXCEEDED where a policy is; without one it is passed on', async (t) => {
  const { port, got } = await grpcUpstream(t, () => undefined);
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http2' });
  const client = connect(t, waypoint.port);
  apply(waypoint, { timeouts: { requestMs: 5_000 } });
  const timed = await ask2(client, { ...grpc, 'grpc-timeout': '1000m' });
  assert.deepEqual([timed.status, timed.headers['grpc-status']], [200, '4']);
  assert.deepEqual([waypoint.records[0]?.flag, waypoint.records[0]?.grpcStatus], ['UT', '4']);
  assert.deepEqual(waypoint.records[0]?.actions, [], 'it was the client’s own time');
  // It is over before it reaches an endpoint.
  assert.equal((await ask2(client, { ...grpc, 'grpc-timeout': '0n' })).headers['grpc-status'], '4');
  assert.equal(got.length, 1);
  // The policy's timeout is earlier.
  apply(waypoint, { timeouts: { requestMs: 1_000 } });
  const ofPolicy = await ask2(client, { ...grpc, 'grpc-timeout': '9S' });
  assert.equal(ofPolicy.headers['grpc-status'], '14');
  const leftMs = grpcTimeoutMs(got[1] ?? '') ?? Infinity;
  assert.ok(leftMs > 0 && leftMs <= 1_000, got[1]);
  // Not gRPC.
  const plain = await ask2(client, { ':path': '/', 'grpc-timeout': '1m' });
  assert.equal(plain.status, 504);
  assert.equal(got[2], '1m');
});

test('an invalid grpc-timeout is ignored and passed on; so is each without a policy', async (t) => {
  const { port, got } = await grpcUpstream(t, (stream) => respondWith(stream, '0'));
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http2' });
  const client = connect(t, waypoint.port);
  const values = ['1', '-1m', '123456789S', '5x'];
  for (const policy of [false, true]) {
    got.length = 0;
    if (policy) apply(waypoint, { timeouts: { requestMs: 5_000 } });
    for (const value of policy ? values : [...values, '10S'])
      assert.equal((await ask2(client, { ...grpc, 'grpc-timeout': value })).headers['grpc-status'], '0');
    assert.deepEqual(got, policy ? values : [...values, '10S']);
  }
});

test('each attempt is sent with the time that is left', async (t) => {
  const { port, got } = await grpcUpstream(t, (stream, attempt) => {
    setTimeout(() => respondWith(stream, attempt < 3 ? '14' : '0'), 50);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http2' });
  const client = connect(t, waypoint.port);
  apply(waypoint, { retry: { grpcCodes: [14], unsafeMethods: ['POST'] } });
  const { headers } = await ask2(client, { ...grpc, 'grpc-timeout': '10S' });
  assert.equal(headers['grpc-status'], '0');
  const left = got.map((value) => grpcTimeoutMs(value ?? '') ?? NaN);
  assert.equal(left.length, 3);
  assert.ok((left[0] ?? NaN) <= 10_000 && (left[0] ?? NaN) > 9_000, got.join());
  assert.ok(
    (left[1] ?? NaN) <= (left[0] ?? NaN) - 49 && (left[2] ?? NaN) <= (left[1] ?? NaN) - 49,
    got.join(),
  );
  // At most the time of a try, which ends the attempt.
  got.length = 0;
  apply(waypoint, { retry: { grpcCodes: [14], unsafeMethods: ['POST'], perTryTimeoutMs: 2_000 } });
  await ask2(client, { ...grpc, 'grpc-timeout': '10S' });
  assert.equal(got[0], '2000000u');
});

test('what clients say about timeouts of the waypoint changes nothing', async (t) => {
  const upstream = await httpUpstream(
    t,
    (_request, response) => void setTimeout(() => response.end('ok'), 60),
  );
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  apply(waypoint, { timeouts: { requestMs: 5_000 }, retry: { conditionKind: ['5xx'] } });
  const headers = {
    'x-envoy-upstream-rq-timeout-ms': '1',
    'x-envoy-upstream-rq-per-try-timeout-ms': '1',
    'x-envoy-expected-rq-timeout-ms': '1',
  };
  assert.equal((await ask(waypoint.port, { headers })).status, 200);
});
