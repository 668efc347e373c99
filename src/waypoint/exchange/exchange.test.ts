import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { until } from '../../base/wait.js';
import { filter, mirrorTo } from '../../../test/support/filters.js';
import { id } from '../../../test/support/mesh.js';
import {
  rawResponder,
  ask,
  backend,
  deadPort,
  eventually,
  httpUpstream,
  meshOf,
  RawClient,
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

test('a request that no rule matches gets 404; consumer routes take precedence over producer routes', async (t) => {
  const a = await httpUpstream(t, echoHandler('a'));
  const b = await httpUpstream(t, echoHandler('b'));
  const producer = route('producer', [{ matches: prefix('/v1'), backends: [backend('api')] }]);
  const consumer = route('consumer', [{ backends: [backend('other')] }], { namespace: 'web' });
  const backends = { api: [a.port], other: [b.port] };
  const plain = await startWaypoint(t, { backends, routes: [producer, consumer] });
  assert.equal((await askEcho(plain.port, { path: '/v1/x' })).name, 'a');
  assert.equal((await ask(plain.port, { path: '/v2' })).status, 404);
  assert.equal(plain.records.at(-1)?.flag, 'NR');
  const identity = id('web').replace('/ns/shop/', '/ns/web/') as ReturnType<typeof id>;
  const fromWeb = await startWaypoint(t, { backends, routes: [producer, consumer], identity });
  assert.equal((await askEcho(fromWeb.port, { path: '/v2' })).name, 'b');
  const none = await startWaypoint(t, { backends });
  assert.equal((await askEcho(none.port, { path: '/v2' })).name, 'a');
});

test('requests are split by weight, and an invalid backend responds to its share with 500', async (t) => {
  const a = await httpUpstream(t, echoHandler('a'));
  const b = await httpUpstream(t, echoHandler('b'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [a.port], other: [b.port] },
    routes: [
      route('r', [
        { matches: prefix('/ab'), backends: [backend('api', 90), backend('other', 10)] },
        {
          matches: prefix('/bad'),
          backends: [
            backend('api', 1),
            { ...backend('x', 1), target: { kind: 'invalid', reason: 'no such' } },
          ],
        },
        { matches: prefix('/gone'), backends: [backend('nowhere')] },
        { matches: prefix('/zero'), backends: [backend('api', 0), backend('other', 0)] },
        { matches: prefix('/zero1'), backends: [backend('api', 0)] },
        { matches: prefix('/none'), backends: [] },
        { matches: prefix('/one'), backends: [backend('api', 0), backend('other', 3)] },
      ]),
    ],
  });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  t.after(() => agent.destroy());
  const count = async (path: string, n: number): Promise<Record<string, number>> => {
    const counts: Record<string, number> = {};
    await Promise.all(
      Array.from({ length: n }, async () => {
        const { status, headers } = await ask(waypoint.port, { path, agent });
        const name = status === 200 ? String(headers['x-upstream']) : String(status);
        counts[name] = (counts[name] ?? 0) + 1;
      }),
    );
    return counts;
  };
  const shares = await count('/ab', 500);
  assert.ok((shares.a ?? 0) > 425 && (shares.a ?? 0) < 475, JSON.stringify(shares));
  assert.equal((shares.a ?? 0) + (shares.b ?? 0), 500);
  const bad = await count('/bad', 200);
  assert.ok((bad['500'] ?? 0) > 60 && (bad.a ?? 0) > 60, JSON.stringify(bad));
  for (const path of ['/gone', '/zero', '/zero1', '/none'])
    assert.deepEqual(await count(path, 3), { '500': 3 }, path);
  assert.deepEqual(await count('/one', 20), { b: 20 });
});

test('filters of the rule and of the backend change the request and the response', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    response.setHeader('x-old', 'secret');
    response.setHeader('set-cookie', ['a=1', 'b=2']);
    echoHandler('a')(request, response);
  });
  const change = (kind: 'requestHeaders' | 'responseHeaders', name: string) =>
    filter(kind, {
      set: [{ name, value: 'set' }],
      add: [
        { name: 'x-list', value: name },
        { name: 'set-cookie', value: `${name}=1` },
      ],
      remove: ['x-old'],
    });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [
      route('r', [
        {
          matches: prefix('/a'),
          filters: [
            change('requestHeaders', 'x-rule'),
            change('responseHeaders', 'x-rule'),
            filter('rewrite', { hostname: 'other.test', path: { kind: 'prefix', value: '/b' } }),
          ],
          backends: [
            backend('api', 1, {
              filters: [change('requestHeaders', 'x-backend'), change('responseHeaders', 'x-backend')],
            }),
          ],
        },
        {
          matches: prefix('/moved'),
          filters: [filter('redirect', { hostname: 'x.test', statusCode: 308 })],
          backends: [],
        },
      ]),
    ],
  });
  const answer = await ask(waypoint.port, {
    path: '/a/c?d=e',
    headers: { 'X-Old': '1', 'X-RULE': 'mine', 'x-list': 'mine', host: 'api.shop' },
  });
  const { url, headers } = JSON.parse(answer.body) as { url: string; headers: Record<string, string> };
  assert.equal(url, '/b/c?d=e');
  assert.equal(headers.host, 'other.test');
  assert.deepEqual([headers['x-rule'], headers['x-backend'], headers['x-old']], ['set', 'set', undefined]);
  assert.equal(headers['x-list'], 'mine,x-rule,x-backend');
  assert.deepEqual(
    [answer.headers['x-rule'], answer.headers['x-backend'], answer.headers['x-old']],
    ['set', 'set', undefined],
  );
  assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2', 'x-backend=1', 'x-rule=1']);
  const moved = await ask(waypoint.port, { path: '/moved/x?y', method: 'POST', body: 'z' });
  assert.deepEqual([moved.status, moved.headers.location], [308, 'http://x.test/moved/x?y']);
});

test('a mirror gets a copy with its body, and does not delay the request', async (t) => {
  const seen: string[] = [];
  const main = await httpUpstream(t, echoHandler('main'));
  const copy = await httpUpstream(t, (request) => {
    const parts: Buffer[] = [];
    request.on('error', () => undefined);
    request.on('data', (part: Buffer) => parts.push(part));
    // The mirror never responds.
    request.on('end', () => seen.push(`${request.method} ${request.url} ${Buffer.concat(parts).toString()}`));
  });
  const mirror = (numerator: number, name = 'copy') => mirrorTo(backend(name).target, numerator, 100);
  const dead = await deadPort();
  const waypoint = await startWaypoint(t, {
    backends: { api: [main.port], copy: [copy.port], dead: [dead], flaky: [dead, main.port] },
    limits: { mirrorIdleMsMax: 500 },
    routes: [
      route('r', [
        { matches: prefix('/all'), filters: [mirror(100)] },
        { matches: prefix('/half'), filters: [mirror(50)] },
        { matches: prefix('/none'), filters: [mirror(0), mirror(100, 'dead'), mirror(100, 'nowhere')] },
        { matches: prefix('/flaky'), filters: [mirror(100)], backends: [backend('flaky')] },
      ]),
    ],
  });
  assert.equal((await askEcho(waypoint.port, { path: '/all', method: 'POST', body: 'abc' })).body, 'abc');
  await eventually(() => seen.length === 1, 'the copy');
  assert.deepEqual(seen, ['POST /all abc']);
  const big = 'x'.repeat(200_000);
  assert.equal((await askEcho(waypoint.port, { path: '/all', method: 'PUT', body: big })).body, big);
  await eventually(() => seen[1] === `PUT /all ${big}`, 'the copy of a large body');
  await Promise.all(Array.from({ length: 200 }, () => askEcho(waypoint.port, { path: '/half' })));
  await eventually(() => seen.length > 60, 'copies of half of the requests');
  await sleep(50);
  assert.ok(seen.length < 142, `${seen.length}`);
  for (let i = 0; i < 10; i++) await askEcho(waypoint.port, { path: '/none' });
  assert.ok(!seen.some((one) => one.includes('/none')));
  // The first attempt may fail: the copy is sent with the attempt that does not.
  for (let i = 0; i < 8; i++) await askEcho(waypoint.port, { path: '/flaky', method: 'POST', body: 'f' });
  await eventually(() => seen.filter((one) => one === 'POST /flaky f').length === 8, 'all copies');
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
  const open = (): Promise<number> =>
    new Promise((resolve) => copy.server.getConnections((_e, n) => resolve(n)));
  await until('copies without a response are canceled', 30_000, async () => (await open()) === 0);
});

test('a session stays at its endpoint, by cookie or by header, as long as the endpoint exists', async (t) => {
  const upstreams = await Promise.all(['0', '1', '2', '3'].map((name) => httpUpstream(t, echoHandler(name))));
  const ports = upstreams.map(({ port }) => port);
  const rule = (kind: 'cookie' | 'header', more = {}): Partial<RouteRule> => ({
    matches: prefix(`/${kind}`),
    sessionPersistence: { kind, name: 'X-Sess', permanent: false, ...more },
    backends: [backend('api')],
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: ports },
    routes: [route('r', [rule('cookie', { permanent: true, absoluteTimeoutMs: 60_000 }), rule('header')])],
  });
  const first = await ask(waypoint.port, { path: '/cookie' });
  const [cookie = ''] = first.headers['set-cookie'] ?? [];
  assert.match(cookie, /^X-Sess=[\w-]{22}\.(\w+)\.\1; Path=\/; HttpOnly; Max-Age=60$/);
  const token = cookie.split(';')[0] ?? '';
  const name = String(first.headers['x-upstream']);
  for (let i = 0; i < 20; i++) {
    const again = await ask(waypoint.port, { path: '/cookie', headers: { cookie: `other=1; ${token}` } });
    assert.equal(again.headers['x-upstream'], name);
    assert.equal(again.headers['set-cookie'], undefined);
  }
  const byHeader = await ask(waypoint.port, { path: '/header' });
  for (let i = 0; i < 10; i++) {
    const again = await ask(waypoint.port, {
      path: '/header',
      headers: { 'x-sess': byHeader.headers['x-sess'] },
    });
    assert.equal(again.headers['x-upstream'], byHeader.headers['x-upstream']);
  }
  const forged = await ask(waypoint.port, { path: '/cookie', headers: { cookie: 'X-Sess=forged' } });
  assert.equal(forged.status, 200);
  assert.ok(forged.headers['set-cookie']);
  // The session's endpoint is removed: another one takes over the session.
  const gone = Number(name);
  const left = ports.map((port, i) => (i === gone ? 1 : port));
  const mesh = meshOf({ api: left });
  waypoint.apply({
    mesh: {
      workloads: (mesh.workloads ?? []).map((one, i) => (i === gone ? { ...one, healthy: false } : one)),
    },
  });
  const moved = await ask(waypoint.port, { path: '/cookie', headers: { cookie: token } });
  assert.notEqual(moved.headers['x-upstream'], name);
  assert.ok(moved.headers['set-cookie']);
});

test('a request is canceled when its client disconnects, at any point', async (t) => {
  let closed = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    response.on('close', () => closed++);
    request.resume();
    if (request.url === '/begun') response.write('some');
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [route('r', [{ retry: { codes: [503], attempts: 3 } }])],
  });
  let expected = 0;
  for (const text of [
    'GET /silent HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET /begun HTTP/1.1\r\nHost: a\r\n\r\n',
    'POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc',
  ]) {
    // After a complete request, a client may close its half and wait: only a reset shows that it does not wait.
    for (const how of text.startsWith('POST')
      ? (['destroy', 'resetAndDestroy'] as const)
      : (['resetAndDestroy'] as const)) {
      const client = await RawClient.open(waypoint.port);
      client.write(text);
      await eventually(() => waypoint.clusters.connections === 1, 'it is under way');
      await sleep(20);
      client.socket[how]();
      expected++;
      await eventually(
        () =>
          closed === expected && waypoint.clusters.connections === 0 && waypoint.context.exchanges.size === 0,
        `${how} ${text.slice(0, 12)}`,
      );
      assert.equal(waypoint.records.at(-1)?.flag, 'DC');
    }
  }
});

test('a response before the request’s end ends the request', async (t) => {
  const port = await rawResponder(t, 'HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno');
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  const client = await RawClient.open(waypoint.port);
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc');
  assert.equal(await client.untilClosed(), 'end');
  assert.match(client.text, /^HTTP\/1\.1 413 [^]*no$/);
  await eventually(
    () => waypoint.context.exchanges.size === 0 && waypoint.clusters.connections === 0,
    'no exchange is left',
  );
});

test('a client’s Forwarded list is extended by its address; without one no list is added', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, { backends: { api: [good.port] } });
  const began = await askEcho(waypoint.port, { headers: { forwarded: 'for=192.0.2.1' } });
  assert.equal(began.headers['forwarded'], 'for=192.0.2.1, for=127.0.0.1');
  assert.equal((await askEcho(waypoint.port)).headers['forwarded'], undefined);
});
