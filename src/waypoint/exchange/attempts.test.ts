import assert from 'node:assert/strict';
import type http from 'node:http';
import { test } from 'node:test';
import {
  ask,
  deadPort,
  eventually,
  httpUpstream,
  meshOf,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  echoHandler,
  askEcho,
} from '../../../test/support/waypoint.js';
import type { RouteRule } from '../../model/route.js';

const prefix = (value: string): RouteRule['matches'] => [
  { path: { kind: 'prefix', value }, headers: [], query: [] },
];
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
interface Attempt {
  readonly method: string;
  readonly body: string;
  readonly ms: number;
}

test('retries: by the rule’s codes, methods and number, with its backoff and the whole body', async (t) => {
  let attempts: Attempt[] = [];
  let failures = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    const parts: Buffer[] = [];
    request.on('error', () => undefined);
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      attempts.push({
        method: request.method ?? '',
        body: Buffer.concat(parts).toString(),
        ms: performance.now(),
      });
      if (attempts.length <= failures) {
        if (request.url?.startsWith('/reset') === true) return void request.socket.resetAndDestroy();
        response.statusCode = request.url?.includes('500') === true ? 500 : 503;
      }
      response.end('x'.repeat(attempts.length));
    });
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [
      route('r', [
        { matches: prefix('/none') },
        { matches: prefix('/zero'), retry: { codes: [503], attempts: 0 } },
        { matches: prefix('/default'), retry: { codes: [503] } },
        { matches: prefix('/three'), retry: { codes: [503], attempts: 3, backoffMs: 60 } },
        {
          matches: [{ path: { kind: 'prefix', value: '/post' }, method: 'POST', headers: [], query: [] }],
          retry: { codes: [503], attempts: 2 },
        },
        { matches: prefix('/reset'), retry: { codes: [], attempts: 2 } },
      ]),
    ],
  });
  const run = async (
    path: string,
    failing: number,
    method = 'GET',
    body?: string,
  ): Promise<[number, number]> => {
    attempts = [];
    failures = failing;
    const { status } = await ask(waypoint.port, { path, method, ...(body === undefined ? {} : { body }) });
    return [status, attempts.length];
  };
  assert.deepEqual(await run('/none', 1), [503, 1]);
  assert.deepEqual(await run('/zero', 1), [503, 1]);
  assert.deepEqual(await run('/default', 2), [200, 3]);
  assert.deepEqual(await run('/default', 5), [503, 3]);
  assert.equal(waypoint.records.at(-1)?.flag, 'URX');
  assert.equal(waypoint.records.at(-1)?.attempts, 3);
  assert.deepEqual(await run('/default/500', 1), [500, 1], 'a code that is not named');
  assert.deepEqual(await run('/three', 3), [200, 4]);
  const gaps = attempts.slice(1).map(({ ms }, i) => ms - (attempts[i]?.ms ?? 0));
  assert.ok(
    gaps.every((gap, i) => gap >= 60 * 2 ** i - 2),
    `${gaps.join()}`,
  );
  assert.deepEqual(await run('/default', 1, 'POST', 'a'), [200, 2], 'the rule names the status');
  assert.deepEqual(await run('/default/500', 1, 'POST', 'a'), [500, 1]);
  assert.deepEqual(await run('/none', 1, 'PATCH', 'a'), [503, 1]);
  assert.deepEqual(await run('/default', 1, 'PUT', 'body'), [200, 2]);
  assert.deepEqual(
    attempts.map(({ body }) => body),
    ['body', 'body'],
  );
  assert.deepEqual(await run('/post', 2, 'POST', 'p'), [200, 3]);
  const large = 'x'.repeat(60 << 10);
  assert.deepEqual(await run('/default', 1, 'PUT', large), [200, 2]);
  assert.ok(attempts.every(({ body }) => body === large));
  assert.deepEqual(
    await run('/default', 1, 'PUT', 'x'.repeat(300 << 10)),
    [503, 1],
    'too large for the buffer',
  );
  assert.deepEqual(await run('/reset', 2), [200, 3]);
  assert.deepEqual(await run('/reset', 1, 'POST', 'a'), [503, 1]);
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
});

test('timeouts of the whole request and of one attempt', async (t) => {
  let hits = 0;
  let canceled = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    hits++;
    response.on('close', () => {
      if (!response.writableFinished) canceled++;
    });
    if (request.url === '/retried' && hits > 1) return void response.end('ok');
    if (request.url === '/body') {
      response.write('some');
      return;
    }
    if (request.url === '/fine') response.end('ok');
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [
      route('r', [
        { matches: prefix('/retried'), backendRequestTimeoutMs: 1_000, retry: { codes: [], attempts: 1 } },
        { matches: prefix('/attempt'), backendRequestTimeoutMs: 100 },
        { requestTimeoutMs: 1_000 },
      ]),
    ],
  });
  assert.equal((await ask(waypoint.port, { path: '/whole' })).status, 504);
  assert.equal(waypoint.records.at(-1)?.flag, 'UT');
  assert.equal((await ask(waypoint.port, { path: '/attempt' })).status, 504);
  hits = 0;
  assert.deepEqual([(await ask(waypoint.port, { path: '/retried' })).status, hits], [200, 2]);
  await assert.rejects(ask(waypoint.port, { path: '/body' }), 'half a response is incomplete');
  assert.equal((await ask(waypoint.port, { path: '/fine' })).status, 200);
  await sleep(1_100);
  assert.equal((await ask(waypoint.port, { path: '/fine' })).status, 200);
  await eventually(() => canceled === 4 && waypoint.context.exchanges.size === 0, 'upstreams are canceled');
});

test('a refused connection is retried at another endpoint, whatever the method; the endpoint is ejected', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [await deadPort(), good.port, await deadPort()] },
  });
  for (let i = 0; i < 30; i++)
    assert.equal((await askEcho(waypoint.port, { method: 'POST', body: `${i}` })).body, `${i}`);
  assert.ok(waypoint.records.every(({ attempts }) => attempts <= 3));
  const dead = await startWaypoint(t, { backends: { api: [await deadPort(), await deadPort()] } });
  const { status, body } = await ask(dead.port, { method: 'POST', body: 'x' });
  assert.deepEqual([status, body], [503, '']);
  const nobody = await startWaypoint(t, { backends: { api: [] } });
  assert.equal((await ask(nobody.port)).status, 503);
  assert.equal(nobody.records[0]?.flag, 'UH');
});

test('a request on a stale connection is retried; one that may have been executed is not', async (t) => {
  let seen = 0;
  const port = await rawUpstream(t, (socket) => {
    let n = 0;
    socket.on('data', () => {
      seen++;
      // The second request of each connection gets no response.
      if (++n === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else socket.destroy();
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  assert.equal((await ask(waypoint.port)).status, 200);
  await eventually(() => waypoint.clusters.connections === 1, 'a connection is kept');
  assert.equal((await ask(waypoint.port)).status, 200, 'a GET is retried over a new connection');
  assert.equal(seen, 3);
  seen = 0;
  const { status } = await ask(waypoint.port, { method: 'POST', body: 'x' });
  assert.deepEqual([status, seen], [503, 1]);
  assert.equal((await ask(waypoint.port, { method: 'POST', body: 'x' })).status, 200);
});

test('a removed endpoint gets no more requests, and those under way are completed', async (t) => {
  const held: http.ServerResponse[] = [];
  const leaving = await httpUpstream(t, (_request, response) => void held.push(response));
  const staying = await httpUpstream(t, echoHandler('staying'));
  const waypoint = await startWaypoint(t, { backends: { api: [leaving.port] } });
  const underWay = ask(waypoint.port);
  await eventually(() => held.length === 1, 'it is under way');
  const { workloads = [] } = meshOf({ api: [leaving.port, staying.port] });
  waypoint.apply({ mesh: { workloads: workloads.map((one, i) => ({ ...one, healthy: i === 1 })) } });
  for (let i = 0; i < 20; i++) assert.equal((await askEcho(waypoint.port)).name, 'staying');
  held[0]?.end('late');
  assert.equal((await underWay).body, 'late');
  assert.equal(held.length, 1);
});

test('the attempt’s timeout bounds the whole response: a longer one is visibly aborted', async (t) => {
  const drips = await httpUpstream(t, (_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('.'), 20);
    response.on('close', () => clearInterval(timer));
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [drips.port] },
    routes: [route('r', [{ backendRequestTimeoutMs: 1_000 }])],
  });
  await assert.rejects(ask(waypoint.port));
  await eventually(() => waypoint.records.length === 1, 'its record');
  assert.equal(waypoint.records[0]?.flag, 'UT');
  assert.equal(waypoint.records[0]?.status, 200);
});

test('the client is paused during a backoff: an upload costs no memory and goes on with the next attempt', async (t) => {
  const total = 64 << 20;
  const got: number[] = [];
  const server = await httpUpstream(t, (request, response) => {
    const attempt = got.push(0) - 1;
    // The first attempt gets a response after its head, the second after the whole body.
    if (attempt === 0) return void response.writeHead(503).end();
    request.on('data', (bytes: Buffer) => (got[attempt] = (got[attempt] ?? 0) + bytes.length));
    request.on('end', () => response.writeHead(503).end());
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [server.port] },
    routes: [route('r', [{ retry: { codes: [503], attempts: 5, backoffMs: 1_500 } }])],
  });
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  client.write(`PUT / HTTP/1.1\r\nhost: api\r\ncontent-length: ${total}\r\n\r\n`);
  await eventually(() => got.length === 1, 'the first attempt is there');
  await sleep(100);
  client.write(Buffer.alloc(total));
  await sleep(700);
  assert.equal(got.length, 1, 'the retry still waits');
  // Bytes that left the client are in the sockets' buffers.
  assert.ok(
    client.socket.writableLength > total / 2,
    `${client.socket.writableLength} bytes wait at the client`,
  );
  await client.until((text) => text.includes('503'), 'the response');
  assert.deepEqual(got, [0, total]);
  // A third attempt was due, but the body was no longer buffered.
  assert.deepEqual(waypoint.limitsReached, ['retry-buffer']);
});
