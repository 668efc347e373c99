import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { id, key, policy, anyRequest } from '../../../test/support/mesh.js';
import {
  rawResponder,
  ask,
  backend,
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
import type { HttpMatch } from '../../model/policy.js';
import type { RouteRule } from '../../model/route.js';

const http_ = (more: Partial<HttpMatch>): HttpMatch => ({ ...anyRequest, ...more });
const prefix = (value: string): RouteRule['matches'] => [
  { path: { kind: 'prefix', value }, headers: [], query: [] },
];
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('without a rule that matches there is no such thing; a consumer’s routes come before the producer’s', async (t) => {
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

test('weights hold, and a backend that is none answers its share by 500', async (t) => {
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

test('filters of the rule and of the backend change request and answer', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    response.setHeader('x-old', 'secret');
    response.setHeader('set-cookie', ['a=1', 'b=2']);
    echoHandler('a')(request, response);
  });
  const change = (kind: 'request-headers' | 'response-headers', name: string) => ({
    kind,
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
            change('request-headers', 'x-rule'),
            change('response-headers', 'x-rule'),
            { kind: 'rewrite', hostname: 'other.test', path: { kind: 'prefix', value: '/b' } },
          ],
          backends: [
            backend('api', 1, {
              filters: [change('request-headers', 'x-backend'), change('response-headers', 'x-backend')],
            }),
          ],
        },
        {
          matches: prefix('/moved'),
          filters: [{ kind: 'redirect', hostname: 'x.test', statusCode: 308 }],
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

test('a policy judges what the client asked, not what a rule makes of it, at each attempt', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const backends = { api: [good.port] };
  const deny = (match: Partial<HttpMatch>, more = {}) => policy('p', 'deny', { http: http_(match) }, more);
  const rewriting = route('r', [
    {
      filters: [
        { kind: 'request-headers', set: [{ name: 'x-role', value: 'user' }], add: [], remove: ['x-bad'] },
        { kind: 'rewrite', hostname: 'inner', path: { kind: 'prefix', value: '/inner' } },
      ],
    },
  ]);
  const asked = { path: '/admin/x', headers: { 'x-role': 'admin', 'x-bad': '1', host: 'Outer.test:80' } };
  const denied: Partial<HttpMatch>[] = [
    { paths: [{ kind: 'prefix', value: '/admin' }] },
    { hosts: [{ kind: 'exact', value: 'outer.test' }] },
    { headers: [{ name: 'x-role', values: [{ kind: 'exact', value: 'admin' }], negated: false }] },
    { headers: [{ name: 'x-bad', values: [{ kind: 'presence' }], negated: false }] },
    { headers: [{ name: 'host', values: [{ kind: 'prefix', value: 'outer.test' }], negated: false }] },
    { notHosts: [{ kind: 'exact', value: 'inner' }] },
  ];
  for (const match of denied) {
    for (const more of [{}, { services: [key('api')] }]) {
      const waypoint = await startWaypoint(t, {
        backends,
        routes: [rewriting],
        policies: [deny(match, more)],
      });
      assert.equal((await ask(waypoint.port, asked)).status, 403, JSON.stringify([match, more]));
      assert.equal(waypoint.records[0]?.flag, 'RBAC');
    }
  }
  // What the client says of its own certificate is nothing that a policy is told.
  const spoofed = await startWaypoint(t, {
    backends,
    policies: [
      policy(
        'q',
        'allow',
        {
          http: http_({
            headers: [{ name: 'x-forwarded-client-cert', values: [{ kind: 'presence' }], negated: false }],
          }),
        },
        { services: [key('api')] },
      ),
    ],
  });
  assert.equal(
    (await ask(spoofed.port, { headers: { 'x-forwarded-client-cert': 'URI=spiffe://evil' } })).status,
    403,
  );
  // A second attempt, after others have asked for something else, is judged by its own path.
  const later = await startWaypoint(t, {
    backends: { api: [1, good.port] },
    policies: [deny({ paths: [{ kind: 'prefix', value: '/admin' }] })],
    dial: (dial) => async (endpoint, client) => {
      if (endpoint.target.port !== 1) return dial(endpoint, client);
      await sleep(50);
      throw new Error('not there');
    },
  });
  const all = await Promise.all(
    Array.from({ length: 40 }, (_, i) => ask(later.port, { path: i % 2 === 0 ? '/public' : '/admin' })),
  );
  assert.deepEqual(
    all.map(({ status }) => status),
    all.map((_, i) => (i % 2 === 0 ? 200 : 403)),
  );
  assert.ok(later.records.some(({ attempts }) => attempts > 1));
});

test('a mirror gets a copy with its body, and holds nobody up', async (t) => {
  const seen: string[] = [];
  const main = await httpUpstream(t, echoHandler('main'));
  const copy = await httpUpstream(t, (request) => {
    const parts: Buffer[] = [];
    request.on('error', () => undefined);
    request.on('data', (part: Buffer) => parts.push(part));
    // Never answered.
    request.on('end', () => seen.push(`${request.method} ${request.url} ${Buffer.concat(parts).toString()}`));
  });
  const mirror = (numerator: number, name = 'copy') =>
    ({ kind: 'mirror', backend: backend(name).target, numerator, denominator: 100 }) as const;
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
  await sleep(50);
  assert.ok(seen.length > 60 && seen.length < 142, `${seen.length}`);
  const before = seen.length;
  for (let i = 0; i < 10; i++) await askEcho(waypoint.port, { path: '/none' });
  assert.equal(seen.length, before);
  // The first connection may fail: the copy goes with the one that does not.
  for (let i = 0; i < 8; i++) await askEcho(waypoint.port, { path: '/flaky', method: 'POST', body: 'f' });
  await eventually(() => seen.filter((one) => one === 'POST /flaky f').length === 8, 'all copies');
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange');
  const open = (): Promise<number> =>
    new Promise((resolve) => copy.server.getConnections((_e, n) => resolve(n)));
  for (let i = 0; i < 200 && (await open()) > 0; i++) await sleep(20);
  assert.equal(await open(), 0, 'those that nobody answers are given up');
});

test('a session stays at its endpoint, by cookie or by header, as long as that is one', async (t) => {
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
  // Its endpoint goes away: another takes the session over.
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

interface Attempt {
  readonly method: string;
  readonly body: string;
  readonly ms: number;
}
test('retries: the codes, the methods and the number that the rule says, with its pause and the whole body', async (t) => {
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
  assert.deepEqual(await run('/default', 1, 'PUT', 'x'.repeat(300 << 10)), [503, 1], 'too large to be kept');
  assert.deepEqual(await run('/reset', 2), [200, 3]);
  assert.deepEqual(await run('/reset', 1, 'POST', 'a'), [503, 1]);
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange');
});

test('timeouts: of the request as a whole, and of one attempt', async (t) => {
  let hits = 0;
  let cancelled = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    hits++;
    response.on('close', () => {
      if (!response.writableFinished) cancelled++;
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
        { matches: prefix('/retried'), backendRequestTimeoutMs: 100, retry: { codes: [], attempts: 1 } },
        { matches: prefix('/attempt'), backendRequestTimeoutMs: 100 },
        { requestTimeoutMs: 100 },
      ]),
    ],
  });
  assert.equal((await ask(waypoint.port, { path: '/whole' })).status, 504);
  assert.equal(waypoint.records.at(-1)?.flag, 'UT');
  assert.equal((await ask(waypoint.port, { path: '/attempt' })).status, 504);
  hits = 0;
  assert.deepEqual([(await ask(waypoint.port, { path: '/retried' })).status, hits], [200, 2]);
  await assert.rejects(ask(waypoint.port, { path: '/body' }), 'half an answer is none');
  assert.equal((await ask(waypoint.port, { path: '/fine' })).status, 200);
  await sleep(150);
  assert.equal((await ask(waypoint.port, { path: '/fine' })).status, 200);
  await eventually(() => cancelled === 4 && waypoint.context.exchanges.size === 0, 'upstreams are told');
});

test('a connection that is refused is tried elsewhere, whatever the method; the endpoint is left alone for a while', async (t) => {
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

test('a connection that its endpoint had closed is tried anew; what may have been done is not done again', async (t) => {
  let seen = 0;
  const port = await rawUpstream(t, (socket) => {
    let n = 0;
    socket.on('data', () => {
      seen++;
      // The second request of each connection gets no answer.
      if (++n === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else socket.destroy();
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  assert.equal((await ask(waypoint.port)).status, 200);
  await eventually(() => waypoint.pool.size === 1, 'a connection is kept');
  assert.equal((await ask(waypoint.port)).status, 200, 'a GET goes again, over a new connection');
  assert.equal(seen, 3);
  seen = 0;
  const { status } = await ask(waypoint.port, { method: 'POST', body: 'x' });
  assert.deepEqual([status, seen], [503, 1]);
  assert.equal((await ask(waypoint.port, { method: 'POST', body: 'x' })).status, 200);
});

test('an endpoint that goes takes no more requests, and those under way are answered', async (t) => {
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

test('a client that leaves takes its request with it, at whatever point', async (t) => {
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
    // Whose request is whole may end its half and wait: only a reset says that it does not.
    for (const how of text.startsWith('POST')
      ? (['destroy', 'resetAndDestroy'] as const)
      : (['resetAndDestroy'] as const)) {
      const client = await RawClient.open(waypoint.port);
      client.write(text);
      await eventually(() => waypoint.pool.size === 1, 'it is under way');
      await sleep(20);
      client.socket[how]();
      expected++;
      await eventually(
        () => closed === expected && waypoint.pool.size === 0 && waypoint.context.exchanges.size === 0,
        `${how} ${text.slice(0, 12)}`,
      );
      assert.equal(waypoint.records.at(-1)?.flag, 'DC');
    }
  }
});

test('an answer that comes ahead of the request’s end ends the request', async (t) => {
  const port = await rawResponder(t, 'HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno');
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  const client = await RawClient.open(waypoint.port);
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc');
  assert.equal(await client.untilClosed(), 'end');
  assert.match(client.text, /^HTTP\/1\.1 413 [^]*no$/);
  await eventually(
    () => waypoint.context.exchanges.size === 0 && waypoint.pool.size === 0,
    'nothing is left',
  );
});

test('bytes that are not HTTP are carried as they are where nobody has said otherwise', async (t) => {
  const port = await rawUpstream(t, (socket) => {
    socket.on('data', (bytes: Buffer) => socket.write(bytes.toString().toLowerCase()));
    socket.on('end', () => socket.end(':end'));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, limits: { detectTimeoutMsMax: 200 } });
  for (const text of ['\x16\x03\x01TLS', 'EHLO X\r\n', 'GET KEY\r\n', 'QUIT', 'PING\r\n']) {
    for (const endsAtOnce of [false, true]) {
      const client = await RawClient.open(waypoint.port);
      client.write(text);
      if (!endsAtOnce) await client.until((got) => got === text.toLowerCase(), text);
      client.socket.end();
      await client.untilClosed();
      assert.equal(client.text, `${text.toLowerCase()}:end`, `${text} ${endsAtOnce}`);
    }
  }
  await eventually(() => waypoint.context.connections.size === 0, 'no connection is left');
  const declared = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http1' });
  const client = await RawClient.open(declared.port);
  client.write('EHLO X\r\n\r\n');
  await client.untilClosed();
  assert.match(client.text, /^HTTP\/1\.1 400 /);
  // A policy that asks for more than bytes tell refuses them.
  const judged = await startWaypoint(t, {
    backends: { api: [port] },
    policies: [policy('p', 'deny', { http: http_({ methods: ['DELETE'] }) })],
  });
  const refused = await RawClient.open(judged.port);
  refused.write('EHLO X\r\n');
  await refused.untilClosed();
  assert.equal(refused.text, '');
});

test('the time of an attempt bounds its whole answer: one that goes on longer is broken off, and looks so', async (t) => {
  const drips = await httpUpstream(t, (_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('.'), 20);
    response.on('close', () => clearInterval(timer));
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [drips.port] },
    routes: [route('r', [{ backendRequestTimeoutMs: 150 }])],
  });
  await assert.rejects(ask(waypoint.port));
  await eventually(() => waypoint.records.length === 1, 'its record');
  assert.equal(waypoint.records[0]?.flag, 'UT');
  assert.equal(waypoint.records[0]?.status, 200);
});

test('a forwarded list that the client began goes on with its address; nobody begins one', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, { backends: { api: [good.port] } });
  const began = await askEcho(waypoint.port, { headers: { forwarded: 'for=192.0.2.1' } });
  assert.equal(began.headers['forwarded'], 'for=192.0.2.1, for=127.0.0.1');
  assert.equal((await askEcho(waypoint.port)).headers['forwarded'], undefined);
});

test('what a rule makes of a request is judged too: its author may have no say in what the endpoint allows', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const backends = { api: [good.port] };
  const identity = id('web').replace('/ns/shop/', '/ns/evil/') as ReturnType<typeof id>;
  const onlyPublic = policy('p', 'allow', {
    http: http_({ methods: ['GET'], paths: [{ kind: 'prefix', value: '/public' }] }),
  });
  const rewriting = route(
    'r',
    [
      {
        matches: prefix('/public'),
        filters: [{ kind: 'rewrite', path: { kind: 'prefix', value: '/admin' } }],
      },
    ],
    { namespace: 'evil' },
  );
  const rewritten = await startWaypoint(t, {
    backends,
    identity,
    policies: [onlyPublic],
    routes: [rewriting],
  });
  assert.equal((await ask(rewritten.port, { path: '/public/x' })).status, 403);
  const asItIs = await startWaypoint(t, { backends, identity, policies: [onlyPublic] });
  assert.equal((await ask(asItIs.port, { path: '/public/x' })).status, 200);
});

test('a Service’s policy holds for its pods by whatever Service or route a request comes to them', async (t) => {
  const admin = await httpUpstream(t, echoHandler('admin'));
  const api = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [api.port], admin: [admin.port] },
    policies: [policy('p', 'deny', { http: http_({ methods: ['POST'] }) }, { services: [key('admin')] })],
    routes: [route('r', [{ backends: [backend('admin')] }], { namespace: 'shop' })],
  });
  assert.equal((await ask(waypoint.port)).status, 200);
  assert.equal((await ask(waypoint.port, { method: 'POST', body: 'x' })).status, 403);
  assert.equal(waypoint.records.at(-1)?.policy, 'shop/p');
});

test('nobody but the waypoint names the client: neither a rule nor a trailer', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [good.port] },
    identity: id('web'),
    routes: [
      route('r', [
        {
          filters: [
            {
              kind: 'request-headers',
              set: [{ name: 'x-forwarded-client-cert', value: 'URI=spiffe://evil' }],
              add: [{ name: 'x-forwarded-client-cert', value: 'URI=spiffe://worse' }],
              remove: [],
            },
          ],
        },
      ]),
    ],
  });
  const { headers } = await askEcho(waypoint.port);
  assert.equal(headers['x-forwarded-client-cert'], `URI=${id('web')}`);
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  client.socket.write(
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-forwarded-client-cert: URI=spiffe://evil\r\n\r\n',
  );
  await eventually(() => client.text.includes('HTTP/1.1 400'), 'it is refused');
});

test('a change of policies ends what is under way and now forbidden, and nothing else', async (t) => {
  const drips = await httpUpstream(t, (_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('.'), 20);
    response.on('close', () => clearInterval(timer));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [drips.port] } });
  const one = ask(waypoint.port, { path: '/forbidden' }).catch((error: Error) => error.message);
  const two = new Promise<string>((resolve) => {
    http.get({ port: waypoint.port, path: '/fine', host: '127.0.0.1' }, (response) => {
      response.resume();
      response.once('error', () => resolve('broken'));
      setTimeout(() => {
        resolve('goes on');
        response.destroy();
      }, 600);
    });
  });
  await eventually(() => waypoint.context.exchanges.size === 2, 'both are under way');
  await sleep(100);
  const deny = policy('late', 'deny', {
    http: http_({ paths: [{ kind: 'prefix', value: '/forbidden' }] }),
  });
  waypoint.apply({ mesh: { policies: [deny] } });
  assert.notEqual(typeof (await one), 'object');
  assert.equal(waypoint.records[0]?.flag, 'RBAC');
  assert.equal(await two, 'goes on');
});

test('a client that leaves while its bytes are to be carried leaves nothing behind', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [good.port] },
    protocol: 'tcp',
    dial: (dial) => async (endpoint, client) => {
      await sleep(150);
      return dial(endpoint, client);
    },
  });
  const client = await RawClient.open(waypoint.port);
  await eventually(() => waypoint.context.connections.size === 1, 'it is taken');
  client.socket.resetAndDestroy();
  await eventually(() => waypoint.context.connections.size === 0, 'nothing is left of it');
});

test('while a retry waits its client is not read: an upload keeps no memory, and goes on with the next attempt', async (t) => {
  const total = 64 << 20;
  const got: number[] = [];
  const server = await httpUpstream(t, (request, response) => {
    const attempt = got.push(0) - 1;
    // The first attempt is answered at its head, the second when all of the body is there.
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
  // What is not with the client any more is in the sockets' buffers.
  assert.ok(
    client.socket.writableLength > total / 2,
    `${client.socket.writableLength} bytes wait at the client`,
  );
  await client.until((text) => text.includes('503'), 'the answer');
  assert.deepEqual(got, [0, total]);
  // A third attempt was due, and nobody had the body any more.
  assert.deepEqual(waypoint.limitsReached, ['retry-buffer']);
});
