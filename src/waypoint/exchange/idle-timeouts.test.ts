import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test, type TestContext } from 'node:test';
import {
  eventually,
  http2Upstream,
  httpUpstream,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  type TestWaypoint,
} from '../../../test/support/waypoint.js';
import { IdleClock, idleTimeoutsOf, type RequestPhase } from './idle-timeouts.js';
import { clocksOf, defaultLimits } from '../limits.js';

function open(t: TestContext, port: number, headers: http2.OutgoingHttpHeaders): http2.ClientHttp2Stream {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  const stream = session.request(
    { ':method': 'POST', ':path': '/', ':authority': 'api.shop', ...headers },
    { endStream: false },
  );
  stream.on('error', () => undefined);
  return stream;
}
const grpcHeaders = { 'content-type': 'application/grpc', te: 'trailers' };

/** Checks the idle timeouts as the waypoint's timer does, at a time in the future. */
function later(waypoint: TestWaypoint, ms: number): void {
  for (const exchange of waypoint.context.exchanges) exchange.checkIdle(performance.now() + ms);
}

test('which timeout applies, by the phase of the request', () => {
  const limits = {
    ...defaultLimits,
    bodyIdleMsMax: 60_000,
    streamIdleMsMax: 300_000,
    openIdleMsMax: 3600_000,
  };
  const sending: RequestPhase = { awaitsBody: true, isPaused: false, hasBegun: false, isGrpc: false };
  const at = (ms: number, phase: Partial<RequestPhase>, rule = {}): string | undefined =>
    new IdleClock(0).overdue(
      ms,
      { ...sending, ...phase },
      idleTimeoutsOf(limits, undefined, { matches: [], filters: [], backends: [], ...rule }, false),
    );
  assert.equal(at(60_000, {}), undefined);
  assert.equal(at(60_001, {}), 'body');
  assert.equal(at(60_001, { isPaused: true }), undefined, 'a client that is not read is not late');
  assert.equal(at(60_001, { isGrpc: true }), undefined, 'messages are no slow upload');
  const waiting = { awaitsBody: false };
  assert.equal(at(300_000, waiting), undefined);
  assert.equal(at(300_001, waiting), 'stream');
  const begun = { awaitsBody: false, hasBegun: true };
  assert.equal(at(3600_000, begun), undefined);
  assert.equal(at(3600_001, begun), 'stream');
  assert.equal(at(3600_001, { isGrpc: true }), 'stream');
  const rule = (bodyIdleMs: number, streamIdleMs: number): object => ({
    idleTimeouts: { bodyIdleMs, streamIdleMs },
  });
  assert.equal(at(11, {}, rule(10, 5_000)), 'body');
  assert.equal(at(5_001, begun, rule(10, 5_000)), 'stream');
  assert.equal(at(5_001, waiting, rule(10, 5_000)), 'stream');
  for (const phase of [{}, waiting, begun, { isGrpc: true }])
    assert.equal(at(1e12, phase, rule(0, 0)), undefined, '0 switches a clock off');

  const clock = new IdleClock(0);
  const timeouts = idleTimeoutsOf(limits, undefined, undefined, false);
  clock.moved(50_000);
  assert.equal(clock.overdue(60_001, sending, timeouts), 'body', 'what the endpoint sends is no body');
  clock.bodyMoved(60_001);
  assert.equal(clock.overdue(120_001, sending, timeouts), undefined);
});

test('a client that only receives keeps its stream as long as the endpoint sends', async (t) => {
  const upstream = await http2Upstream(t, (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    const timer = setInterval(() => stream.write('tick'), 20);
    stream.on('close', () => clearInterval(timer));
    stream.resume();
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    limits: { bodyIdleMsMax: 1_500, streamIdleMsMax: 1_500, openIdleMsMax: 1_500 },
  });
  const receive = async (headers: http2.OutgoingHttpHeaders): Promise<void> => {
    const [stream, endMs] = [open(t, waypoint.port, headers), performance.now() + 4_000];
    stream.write('one word');
    let ticks = 0;
    stream.on('data', (bytes: Buffer) => (ticks += bytes.length / 4));
    const isLate = (): boolean => performance.now() > endMs && ticks > 30;
    await eventually(() => isLate() || stream.closed, 'many ticks');
    assert.ok(!stream.closed, `reset (${stream.rstCode}) after ${ticks}`);
    stream.close();
  };
  await Promise.all([receive(grpcHeaders), receive({})]);
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
});

test('an upload that pauses after its response has begun goes on', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    response.write('begun ');
    let got = '';
    request.on('data', (bytes: Buffer) => (got += bytes.toString()));
    request.on('end', () => response.end(got));
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    limits: { bodyIdleMsMax: 60 },
  });
  const client = await RawClient.open(waypoint.port);
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabc');
  await client.until((text) => text.includes('begun'), 'the beginning of the response');
  await new Promise((resolve) => setTimeout(resolve, 250));
  later(waypoint, 3_000_000);
  client.write('def');
  await client.untilClosed();
  assert.match(client.text, /^HTTP\/1\.1 200 [^]*abcdef/);
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
  assert.equal(waypoint.records[0]?.flag, undefined);
});

test('a quiet gRPC watch and a quiet WebSocket outlive the timeouts of a request', async (t) => {
  const silent = await http2Upstream(t, (stream) => void stream.resume());
  const watch = await startWaypoint(t, { backends: { api: [silent.port] }, protocol: 'grpc' });
  const stream = open(t, watch.port, grpcHeaders);
  stream.write('watch');
  await eventually(() => watch.context.exchanges.size === 1, 'the watch is under way');
  later(watch, 3_590_000);
  assert.equal(watch.context.exchanges.size, 1);
  later(watch, 3_610_000);
  assert.equal(watch.context.exchanges.size, 0);
  assert.deepEqual([watch.records[0]?.grpcStatus, watch.records[0]?.code], ['14', 'WEFT_REQUEST_TIMEOUT']);

  const upgrading = await rawUpstream(t, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi');
      socket.on('data', (bytes: Buffer) => socket.write(bytes));
    });
  });
  const forever = route('r', [{ idleTimeouts: { streamIdleMs: 0 } }]);
  for (const routes of [[], [forever]]) {
    const waypoint = await startWaypoint(t, {
      backends: { api: [upgrading] },
      protocol: 'http1',
      routes,
    });
    const client = await RawClient.open(waypoint.port);
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await client.until((text) => text.endsWith('hi'), 'the upgrade');
    later(waypoint, routes.length === 0 ? 3_590_000 : 1e12);
    client.write('still here');
    await client.until((text) => text.endsWith('still here'), 'an echo');
    later(waypoint, 3_610_000);
    assert.equal(waypoint.context.exchanges.size, routes.length, 'the default is an hour');
    client.socket.resetAndDestroy();
  }
});

test('a rule’s timeouts replace the waypoint’s', async (t) => {
  let asked = 0;
  const silent = await rawUpstream(t, (socket) => void socket.once('data', () => asked++));
  const path = (value: string) => [{ path: { kind: 'exact', value } as const, headers: [], query: [] }];
  const waypoint = await startWaypoint(t, {
    backends: { api: [silent] },
    protocol: 'http1',
    routes: [
      route('r', [
        { matches: path('/short'), idleTimeouts: { bodyIdleMs: 1_000, streamIdleMs: 2_000 } },
        { matches: path('/off'), idleTimeouts: { bodyIdleMs: 0, streamIdleMs: 0 } },
        { matches: path('/default') },
      ]),
    ],
  });
  const after = async (at: string, head: string, ms: number): Promise<number | undefined> => {
    const client = await RawClient.open(waypoint.port);
    const [done, before] = [waypoint.records.length, asked];
    client.write(`POST ${at} HTTP/1.1\r\nHost: a\r\n${head}\r\n\r\n`);
    await eventually(() => asked > before, 'the endpoint has the request');
    later(waypoint, ms);
    const status = waypoint.records[done]?.status;
    client.socket.resetAndDestroy();
    await eventually(
      () => waypoint.context.exchanges.size === 0 && waypoint.clusters.connections === 0,
      'it is over',
    );
    return status;
  };
  const [body, none] = ['Content-Length: 5', 'Content-Length: 0'];
  assert.equal(await after('/short', body, 900), undefined);
  assert.equal(await after('/short', body, 1_100), 408);
  assert.equal(await after('/short', none, 1_900), undefined);
  assert.equal(await after('/short', none, 2_100), 504);
  assert.equal(await after('/off', body, 1e12), undefined);
  assert.equal(await after('/off', none, 1e12), undefined);
  assert.equal(await after('/default', body, 59_000), undefined);
  assert.equal(await after('/default', body, 61_000), 408);
  assert.equal(await after('/default', none, 299_000), undefined);
  assert.equal(await after('/default', none, 301_000), 504);
});

test('the timeouts of the command line; 0 disables one, also the head timeout', async (t) => {
  assert.deepEqual(clocksOf({}), {});
  const off = clocksOf({
    requestHeadTimeoutMs: 0,
    requestBodyIdleTimeoutMs: 0,
    streamIdleTimeoutMs: 0,
    connectionIdleTimeoutMs: 0,
  });
  assert.deepEqual(off, {
    headTimeoutMsMax: 0,
    bodyIdleMsMax: 0,
    streamIdleMsMax: 0,
    openIdleMsMax: 0,
    idleConnectionMsMax: 0,
  });
  const upstream = await httpUpstream(t, (request, response) => {
    request.resume();
    request.on('end', () => response.end('ok'));
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    protocol: 'http1',
    limits: off,
  });
  const client = await RawClient.open(waypoint.port);
  const slowly = async (count: number): Promise<void> => {
    for (const part of ['POST / HT', 'TP/1.1\r\nHost: a\r\nContent-', 'Length: 2\r\n\r\nx', 'x']) {
      await new Promise((resolve) => setTimeout(resolve, 30));
      later(waypoint, 1e12);
      client.write(part);
    }
    await client.until((text) => text.split('ok').length > count, 'the response');
  };
  await slowly(1);
  await slowly(2);
  client.socket.resetAndDestroy();
  const session = http2.connect(`http://127.0.0.1:${waypoint.port}`);
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  const stream = session.request({ ':path': '/', ':authority': 'api.shop' });
  const status = await new Promise((resolve) =>
    stream.on('response', (headers) => resolve(headers[':status'])),
  );
  assert.equal(status, 200);
});

test('a rule in another namespace than the Service’s shortens the waypoint’s timeouts, but does not lengthen them', () => {
  const waypoint = { ...defaultLimits, bodyIdleMsMax: 60_000, streamIdleMsMax: 300_000, openIdleMsMax: 0 };
  const asked = (streamIdleMs: number, bodyIdleMs: number) =>
    idleTimeoutsOf(
      waypoint,
      undefined,
      { matches: [], filters: [], backends: [], idleTimeouts: { streamIdleMs, bodyIdleMs } },
      true,
    );
  const own = { bodyIdleMs: 60_000, streamIdleMs: 300_000, openIdleMs: 0 };
  assert.deepEqual(asked(0, 0), own);
  assert.deepEqual(asked(300_001, 60_001), { ...own, openIdleMs: 300_001 });
  assert.deepEqual(asked(1_000, 2_000), { bodyIdleMs: 2_000, streamIdleMs: 1_000, openIdleMs: 1_000 });
});

test('settings of a Service’s port replace the waypoint’s timeouts, and a rule’s replace both', () => {
  const limits = { ...defaultLimits, bodyIdleMsMax: 60_000, streamIdleMsMax: 300_000, openIdleMsMax: 0 };
  const rule = { matches: [], filters: [], backends: [], idleTimeouts: { streamIdleMs: 7 } };
  const policy = { streamIdleMs: 5, bodyIdleMs: 0 };
  assert.deepEqual(idleTimeoutsOf(limits, policy, undefined, false), {
    bodyIdleMs: 0,
    streamIdleMs: 5,
    openIdleMs: 5,
  });
  assert.deepEqual(idleTimeoutsOf(limits, policy, rule, false), {
    bodyIdleMs: 0,
    streamIdleMs: 7,
    openIdleMs: 7,
  });
  // A consumer's rule does not lengthen what the Service's owner has set.
  assert.equal(idleTimeoutsOf(limits, policy, rule, true).streamIdleMs, 5);
});
