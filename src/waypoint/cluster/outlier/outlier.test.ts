/** Outlier detection through a waypoint, between real clients and endpoints that fail. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import type net from 'node:net';
import { test, type TestContext } from 'node:test';
import { outlierPolicy } from '../../../../test/support/outliers.js';
import {
  ask,
  backend,
  deadPort,
  eventually,
  http2Upstream,
  httpUpstream,
  meshOf,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../../test/support/waypoint.js';
import { key, uid } from '../../../../test/support/mesh.js';
import type { OutlierDetection } from '../../../discovery/gen/weft.js';
import { statusOfGrpcHead } from '../../http/grpc.js';

type Respond = (request: http.IncomingMessage, response: http.ServerResponse) => void;
const ok: Respond = (_request, response) => void response.end('ok');
const failing =
  (status: number): Respond =>
  (_request, response) =>
    void response.writeHead(status).end();

/** A waypoint before one endpoint that is healthy and others. */
async function waypointWith(
  t: TestContext,
  others: readonly number[],
  config: Partial<OutlierDetection> = {},
  options: Partial<WaypointOptions> = {},
): Promise<TestWaypoint & { readonly healthy: number }> {
  const { port: healthy } = await httpUpstream(t, ok);
  const waypoint = await startWaypoint(t, { backends: { api: [healthy, ...others] }, ...options });
  waypoint.apply({ servicePolicies: [outlierPolicy(config)] });
  return { ...waypoint, healthy };
}

/** The statuses of so many requests; 0: the response was aborted. */
async function statuses(port: number, count: number): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < count; i++)
    found.push(
      await ask(port).then(
        ({ status }) => status,
        () => 0,
      ),
    );
  return found;
}

const isFailure = (status: number): boolean => status === 0 || status >= 500;

test('an endpoint that responds 500 gets no more requests after so many', async (t) => {
  const bad = await httpUpstream(t, failing(500));
  const waypoint = await waypointWith(t, [bad.port]);
  assert.equal((await statuses(waypoint.port, 60)).filter(isFailure).length, 5);
  assert.deepEqual(waypoint.outliers, [`${bad.port} ejected consecutive_5xx`]);
  assert.deepEqual(waypoint.actions, ['outlier-detection did TrafficPolicy shop/api']);
  const acted = waypoint.records.filter(({ actions }) => actions.length > 0);
  assert.deepEqual(
    acted.map(({ status, actions }) => [status, actions[0]?.feature, actions[0]?.mode]),
    [[500, 'outlier-detection', 'did']],
  );
  const { endpoints } = waypoint.clusters.dump()[0] as { endpoints: Record<string, unknown>[] };
  const shown = endpoints.find(({ port }) => port === bad.port);
  assert.deepEqual([shown?.state, shown?.ejectedBecause], ['ejected', 'consecutive_5xx']);
});

test('endpoints that refuse, hang, or reset in the head or in the body are ejected as local failures', async (t) => {
  const resetting = await rawUpstream(t, (socket) => socket.once('data', () => socket.resetAndDestroy()));
  const inBody = await rawUpstream(t, (socket) =>
    socket.on('data', () => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc');
      setTimeout(() => socket.resetAndDestroy(), 10);
    }),
  );
  const hanging = await rawUpstream(t, () => undefined);
  const slow = [route('r', [{ backendRequestTimeoutMs: 300 }])];
  for (const [what, port, options] of [
    ['refuses', await deadPort(), {}],
    ['hangs', hanging, { routes: slow }],
    ['resets', resetting, {}],
  ] as const) {
    const waypoint = await waypointWith(
      t,
      [port],
      { consecutive5xx: 0, consecutiveLocalFailures: 3 },
      options,
    );
    await statuses(waypoint.port, 40);
    assert.deepEqual(waypoint.outliers, [`${port} ejected consecutive_local_origin_failure`], what);
    const before = waypoint.clusters.dump();
    await statuses(waypoint.port, 20);
    const countsOf = (dump: object[]) =>
      (dump[0] as { endpoints: { port: number; counts: object }[] }).endpoints.find(
        (one) => one.port === port,
      )?.counts;
    assert.deepEqual(countsOf(waypoint.clusters.dump()), countsOf(before), `${what}: no more requests`);
  }
  // The head of each response was a success, so failures are not in a row: Envoy counts it so, too.
  const partial = await waypointWith(t, [inBody], {
    failurePercent: 50,
    failurePercentHostsMin: 1,
    failurePercentRequestsMin: 4,
    intervalMs: 400,
  });
  // On a busy machine few requests fall into one interval.
  for (let i = 0; i < 10 && partial.outliers.length === 0; i++) await statuses(partial.port, 60);
  await eventually(() => partial.outliers.length > 0, 'the endpoint that resets in bodies is ejected');
  assert.deepEqual(partial.outliers, [`${inBody} ejected failure_percentage`]);
});

test('what the waypoint or a client caused never counts', async (t) => {
  let [arrived, gone] = [0, 0];
  const { port: slow } = await httpUpstream(t, (request) => {
    arrived++;
    request.on('close', () => gone++);
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [slow] },
    routes: [route('r', [{ requestTimeoutMs: 500 }])],
  });
  waypoint.apply({ servicePolicies: [outlierPolicy({ consecutive5xx: 1, consecutiveLocalFailures: 1 })] });
  for (let i = 0; i < 5; i++) {
    const client = await RawClient.open(waypoint.port);
    client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await eventually(() => arrived === i + 1, 'the request is at the endpoint');
    client.socket.resetAndDestroy();
  }
  await eventually(() => gone === 5, 'the requests are canceled');
  // A client that does not send its whole body lets the time of its request run out.
  for (let i = 0; i < 5; i++) {
    const client = await RawClient.open(waypoint.port);
    client.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc');
    await client.until((text) => text.includes(' 504 '));
    client.socket.destroy();
  }
  assert.deepEqual(waypoint.outliers, []);
  assert.equal((await ask(waypoint.port)).status, 504);
  assert.equal(waypoint.outliers.length, 1, 'the endpoint’s own timeout does count');
});

test('gRPC statuses in the head count by the HTTP statuses that stand for them; those in trailers do not', async (t) => {
  assert.deepEqual(
    ['0', '2', '5', '13', '14', '4', '99', 'x'].map((text) =>
      statusOfGrpcHead({ status: 200, headers: ['grpc-status', text] }),
    ),
    [200, 500, 404, 500, 503, 504, 500, 500],
  );
  const status = { value: '5' };
  const upstream = await http2Upstream(t, (stream, headers) => {
    stream.resume();
    if (headers[':path'] !== '/trailers')
      return stream.respond(
        { 'content-type': 'application/grpc', 'grpc-status': status.value },
        { endStream: true },
      );
    stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '13' }));
    stream.end('x');
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'grpc' });
  waypoint.apply({ servicePolicies: [outlierPolicy({ consecutive5xx: 2 })] });
  const { connect } = await import('node:http2');
  const session = connect(`http://127.0.0.1:${waypoint.port}`);
  t.after(() => session.destroy());
  const call = (path: string, more: Readonly<Record<string, string>> = {}): Promise<void> =>
    new Promise((resolve, reject) => {
      const stream = session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...more,
      });
      stream.on('error', reject);
      stream.resume().on('close', resolve);
      stream.end();
    });
  for (let i = 0; i < 4; i++) await call('/head');
  for (let i = 0; i < 4; i++) await call('/trailers');
  status.value = '4';
  for (let i = 0; i < 4; i++) await call('/head', { 'grpc-timeout': '1S' });
  assert.deepEqual(waypoint.outliers, [], 'the client has set the deadline');
  status.value = '14';
  for (let i = 0; i < 2; i++) await call('/head');
  assert.deepEqual(waypoint.outliers, [`${upstream.port} ejected consecutive_5xx`]);
});

test('an ejected endpoint returns, and its next ejection is longer', async (t) => {
  const bad = await httpUpstream(t, failing(503));
  const waypoint = await waypointWith(t, [bad.port], {
    consecutive5xx: 0,
    consecutiveGatewayErrors: 2,
    // An interval without an ejection makes the next one shorter.
    intervalMs: 1_000,
    baseEjectionMs: 1_000,
  });
  const turns: number[] = [];
  for (let turn = 0; turn < 2; turn++) {
    await eventually(() => waypoint.outliers.length >= 2 * turn, 'it is back');
    let beganMs = 0;
    while (waypoint.outliers.length === 2 * turn) {
      beganMs = performance.now();
      await ask(waypoint.port);
    }
    await eventually(() => waypoint.outliers.length === 2 * turn + 2, 'it returns');
    turns.push(performance.now() - beganMs);
  }
  assert.match(waypoint.outliers.join(), /^(\d+ ejected consecutive_gateway_failure,\d+ returned,?){2}$/);
  const [first = 0, second = 0] = turns;
  assert.ok(first >= 990 && second >= 1_990, `${first} ${second}`);
});

test('ejections survive configuration changes ten times a second, and endpoints that come and go', async (t) => {
  const bad = await httpUpstream(t, failing(500));
  const waypoint = await waypointWith(t, [bad.port], {
    intervalMs: 100,
    baseEjectionMs: 60_000,
    consecutive5xx: 3,
  });
  await statuses(waypoint.port, 30);
  assert.equal(waypoint.outliers.length, 1);
  const cluster = waypoint.clusters.ofService(key('api'), 80);
  let failures = 0;
  for (let i = 0; i < 15; i++) {
    const isGone = i % 3 === 0;
    waypoint.apply({
      mesh: isGone ? { removed: [uid('api-1')] } : meshOf({ api: [waypoint.healthy, bad.port] }),
      servicePolicies: [outlierPolicy({ intervalMs: 100 + i, baseEjectionMs: 60_000, consecutive5xx: 3 })],
    });
    failures += (await statuses(waypoint.port, 5)).filter(isFailure).length;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(failures, 0);
  assert.deepEqual(waypoint.outliers.length, 1, waypoint.outliers.join());
  assert.equal(cluster?.endpoints.filter(({ health }) => health.isOutlier).length, 1);
});

test('dry run counts and does not eject', async (t) => {
  const bad = await httpUpstream(t, failing(500));
  const waypoint = await waypointWith(t, [bad.port], { dryRun: true });
  const failures = (await statuses(waypoint.port, 60)).filter(isFailure).length;
  assert.ok(failures > 10, `${failures}`);
  assert.deepEqual(waypoint.outliers, [`${bad.port} would consecutive_5xx`]);
  assert.deepEqual(waypoint.actions, ['outlier-detection would TrafficPolicy shop/api']);
  waypoint.apply({ servicePolicies: [outlierPolicy()] });
  assert.equal((await statuses(waypoint.port, 20)).filter(isFailure).length, 0, 'enforced from now on');
  waypoint.apply({ removedServicePolicies: [`${key('api')}:80`] });
  assert.ok((await statuses(waypoint.port, 40)).some(isFailure), 'without the policy nothing is ejected');
});

test('changes of the wall clock have no effect', async (t) => {
  const bad = await httpUpstream(t, failing(500));
  const waypoint = await waypointWith(t, [bad.port], { intervalMs: 100, baseEjectionMs: 5_000 });
  const { now } = Date;
  t.after(() => (Date.now = now));
  await statuses(waypoint.port, 30);
  for (const jump of [86_400_000, -86_400_000]) {
    Date.now = () => now() + jump;
    await new Promise((resolve) => setTimeout(resolve, 110));
    assert.equal(waypoint.outliers.length, 1, 'it is still ejected');
  }
  await eventually(() => waypoint.outliers.length === 2, 'it returns');
});

test('TCP: endpoints to which connections fail are ejected', async (t) => {
  const dead = await deadPort();
  const echo = await rawUpstream(t, (socket: net.Socket) => void socket.pipe(socket));
  const waypoint = await startWaypoint(t, { backends: { api: [echo, dead] }, protocol: 'tcp' });
  waypoint.apply({ servicePolicies: [outlierPolicy({ consecutiveLocalFailures: 2 })] });
  for (let i = 0; i < 20; i++) {
    const client = await RawClient.open(waypoint.port);
    client.write('hello');
    await client.until((text) => text === 'hello');
    client.socket.destroy();
  }
  assert.deepEqual(waypoint.outliers, [`${dead} ejected consecutive_local_origin_failure`]);
});

test('retries on other endpoints hide failures, which count nonetheless', async (t) => {
  const bad = await httpUpstream(t, failing(503));
  const waypoint = await waypointWith(
    t,
    [bad.port],
    {},
    {
      routes: [
        route('r', [{ backends: [backend('api')], retry: { codes: [503], attempts: 2, backoffMs: 1 } }]),
      ],
    },
  );
  assert.ok((await statuses(waypoint.port, 40)).every((status) => status === 200));
  assert.deepEqual(waypoint.outliers, [`${bad.port} ejected consecutive_5xx`]);
});
