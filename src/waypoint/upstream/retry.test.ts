import assert from 'node:assert/strict';
import type http from 'node:http';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import {
  ask,
  backend,
  deadPort,
  eventually,
  httpUpstream,
  rawUpstream,
  route,
  startWaypoint,
  echoHandler,
  askEcho,
} from '../../../test/support/waypoint.js';
import { key } from '../../../test/support/mesh.js';
import type { RouteRule } from '../../model/route.js';
import { breakerLimitsOf } from '../cluster/breaker/limits.js';
import { defaultPolicy } from '../cluster/policy.js';

const matching = (method: string): RouteRule['matches'] => [{ method, headers: [], query: [] }];

/** Responds to the first request of each connection, and closes the connection after it has read the second. */
async function closingUnderTheSecond(t: TestContext): Promise<{ readonly port: number; seen(): number }> {
  let seen = 0;
  const port = await rawUpstream(t, (socket) => {
    let isFirst = true;
    let text = '';
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      if (!/\r\n\r\n/.test(text) || (text.startsWith('POST') && !text.endsWith('order'))) return;
      text = '';
      seen++;
      if (!isFirst) return void socket.destroy();
      isFirst = false;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  return { port, seen: () => seen };
}

test('a POST on a reused connection that closes is not retried, whatever its rule matches', async (t) => {
  const rules: Partial<RouteRule>[] = [
    { matches: matching('POST') },
    { matches: matching('POST'), retry: { codes: [503], attempts: 3 } },
    { retry: { codes: [503], attempts: 3 } },
  ];
  for (const rule of rules) {
    const upstream = await closingUnderTheSecond(t);
    const waypoint = await startWaypoint(t, {
      backends: { api: [upstream.port] },
      routes: [route('r', [rule, {}])],
    });
    const post = { method: 'POST', body: 'order' };
    assert.equal((await ask(waypoint.port, post)).status, 200);
    await eventually(() => waypoint.clusters.connections === 1, 'the connection is kept');
    assert.equal((await ask(waypoint.port, post)).status, 503);
    assert.equal(upstream.seen(), 2, JSON.stringify(rule));
    assert.equal(waypoint.records.at(-1)?.attempts, 1);
  }
});

test('a POST is retried if its rule names the status of the response', async (t) => {
  let seen = 0;
  const flaky = await httpUpstream(t, (request, response) => {
    request.resume();
    request.on('end', () => {
      response.statusCode = ++seen === 1 ? 503 : 200;
      response.end();
    });
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [flaky.port] },
    routes: [route('r', [{ retry: { codes: [503], attempts: 1 } }])],
  });
  assert.equal((await ask(waypoint.port, { method: 'POST', body: 'order' })).status, 200);
  assert.equal(seen, 2);
});

test('with one endpoint, attempts and backoff apply to a refused connection', async (t) => {
  const port = await deadPort();
  const dialedMs: number[] = [];
  let server: net.Server | undefined;
  t.after(() => server?.close());
  const waypoint = await startWaypoint(t, {
    backends: { api: [port] },
    routes: [
      route('r', [
        { matches: matching('POST'), retry: { codes: [], attempts: 3, backoffMs: 40 } },
        { matches: matching('PUT'), retry: { codes: [], attempts: 1, backoffMs: 1 } },
        {},
      ]),
    ],
    dial: (dial) => async (endpoint, client) => {
      dialedMs.push(performance.now());
      if (dialedMs.length === 3) {
        // The endpoint starts to listen while the request is retried.
        server = net.createServer((socket) => {
          socket.on('error', () => undefined);
          socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
        });
        await new Promise<void>((resolve) => server?.listen(port, '127.0.0.1', resolve));
      }
      return dial(endpoint, client);
    },
  });
  // Without a rule only other endpoints are tried, and there are none.
  assert.equal((await ask(waypoint.port)).status, 503);
  assert.equal(dialedMs.length, 1);
  dialedMs.length = 0;
  assert.equal((await ask(waypoint.port, { method: 'PUT', body: 'x' })).status, 503);
  assert.equal(dialedMs.length, 2);
  assert.equal(waypoint.records.at(-1)?.flag, 'URX');
  dialedMs.length = 0;
  assert.equal((await ask(waypoint.port, { method: 'POST', body: 'x' })).status, 200);
  assert.equal(dialedMs.length, 3);
  const gaps = dialedMs.slice(1).map((at, i) => at - (dialedMs[i] ?? 0));
  assert.ok((gaps[0] ?? 0) >= 38 && (gaps[1] ?? 0) >= 78, gaps.join());
});

test('a retry after a status goes to an endpoint that has not failed', async (t) => {
  let failed = 0;
  const bad = await httpUpstream(t, (_request, response) => {
    failed++;
    response.writeHead(503).end();
  });
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [bad.port, good.port] },
    routes: [route('r', [{ retry: { codes: [503], attempts: 1, backoffMs: 1 } }])],
  });
  for (let i = 0; i < 40; i++) assert.equal((await askEcho(waypoint.port)).name, 'good');
  assert.ok(failed > 5 && failed < 40, `${failed}`);
});

test('a retry after a reset goes to an endpoint that has not failed', async (t) => {
  const bad = await httpUpstream(t, (request) => void request.socket.resetAndDestroy());
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [bad.port, good.port] },
    routes: [route('r', [{ retry: { codes: [], attempts: 1, backoffMs: 1 } }])],
  });
  for (let i = 0; i < 40; i++) assert.equal((await askEcho(waypoint.port)).name, 'good');
});

test('failures of one outage eject an endpoint once, also if HTTP/2 requests share the failed connection', async (t) => {
  for (const protocol of ['http1', 'http2'] as const) {
    const up = await httpUpstream(t, echoHandler('up'));
    let isDown = true;
    const waypoint = await startWaypoint(t, {
      backends: { api: [up.port], other: [up.port] },
      routes: [route('r', [{ backends: [backend('other')] }])],
      protocol,
      dial: (dial) => async (endpoint, client) =>
        isDown
          ? dial({ ...endpoint, target: { ...endpoint.target, port: 1 } }, client)
          : dial(endpoint, client),
    });
    const all = await Promise.all(Array.from({ length: 7 }, () => ask(waypoint.port)));
    assert.ok(all.every(({ status }) => status === 503));
    const endpoint = waypoint.records[0]?.endpoint;
    assert.ok(endpoint);
    assert.equal(endpoint.health.failures, 1, protocol);
    assert.ok(endpoint.health.ejectedUntilMs - performance.now() <= 500);
    isDown = false;
  }
});

test('a retry beyond the budget of the cluster is not sent; the failed attempt’s response is the client’s', async (t) => {
  let seen = 0;
  const upstream = await httpUpstream(t, (_request, response) => {
    seen++;
    response.writeHead(503).end('overloaded');
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [route('r', [{ retry: { codes: [503], attempts: 2, backoffMs: 1 } }])],
  });
  const cluster = waypoint.clusters.ofService(key('api'), 80);
  const asked = async (): Promise<unknown[]> => {
    seen = 0;
    const { status, body } = await ask(waypoint.port);
    const { flag, why } = waypoint.records.at(-1) ?? {};
    return [status, body, seen, flag, why];
  };
  assert.deepEqual(await asked(), [503, 'overloaded', 3, 'URX', undefined]);
  cluster?.configure({ ...defaultPolicy, retryBudget: { percent: 20, retriesMin: 0 } });
  assert.deepEqual(await asked(), [503, 'overloaded', 1, 'UO', 'not sent again: retry budget used up']);
  cluster?.configure({ ...defaultPolicy, retryBudget: { percent: 100, retriesMin: 0 } });
  assert.deepEqual(
    await asked(),
    [503, 'overloaded', 3, 'URX', undefined],
    'one at a time is within the budget',
  );
  assert.deepEqual(waypoint.limitsReached, ['retry-budget']);
  const counts = cluster?.endpoints[0]?.counts;
  assert.deepEqual([counts?.error, counts?.success], [7, 0]);
});

test('requests beyond the limit of the cluster are refused at once, and those that end make room', async (t) => {
  const responses: http.ServerResponse[] = [];
  const upstream = await httpUpstream(t, (_request, response) => void responses.push(response));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const cluster = waypoint.clusters.ofService(key('api'), 80);
  cluster?.configure({ ...defaultPolicy, breaker: breakerLimitsOf({ requestsMax: 2 }) });
  const two = [ask(waypoint.port), ask(waypoint.port)];
  await eventually(() => responses.length === 2, 'two are under way');
  assert.equal((await ask(waypoint.port)).status, 503);
  const { flag, code } = waypoint.records.at(-1) ?? {};
  assert.deepEqual([flag, code], ['UO', 'WEFT_REQUESTS_FULL']);
  assert.deepEqual(waypoint.limitsReached, ['cluster-requests']);
  for (const response of responses) response.end();
  await Promise.all(two);
  assert.equal(cluster?.active, 0);
  const next = ask(waypoint.port);
  await eventually(() => responses.length === 3, 'there is room again');
  responses[2]?.end();
  assert.equal((await next).status, 200);
});

test('a request without a response in time counts as a timeout of its endpoint, whichever timeout it was', async (t) => {
  const upstream = await httpUpstream(t, () => undefined);
  for (const rule of [{ requestTimeoutMs: 500 }, { backendRequestTimeoutMs: 500 }]) {
    const waypoint = await startWaypoint(t, {
      backends: { api: [upstream.port] },
      routes: [route('r', [rule])],
    });
    assert.equal((await ask(waypoint.port)).status, 504);
    const { counts, active } = waypoint.clusters.ofService(key('api'), 80)?.endpoints[0] ?? {};
    assert.deepEqual([counts?.timeout, counts?.reset, active], [1, 0, 0]);
  }
});
