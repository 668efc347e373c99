import assert from 'node:assert/strict';
import type http from 'node:http';
import http2 from 'node:http2';
import { test } from 'node:test';
import { key } from '../../../test/support/mesh.js';
import { outlierPolicy } from '../../../test/support/outliers.js';
import {
  ask,
  backend,
  deadPort,
  httpUpstream,
  meshOf,
  route,
  startWaypoint,
  echoHandler,
} from '../../../test/support/waypoint.js';
import type { RouteRule, SessionPersistence } from '../../model/route.js';
import type { Headers } from '../http/headers.js';
import { addSessionToken, findSession } from './session-persistence.js';
import { clustersOf } from '../../../test/support/clusters.js';
import { WaypointState } from '../state/waypoint-state.js';

const hourMs = 3_600_000;
const startMs = Date.UTC(2026, 0, 1);

/** A rule with this persistence and two endpoints, and a client's tokens, by a clock of the test. */
function sessions(persistence: Partial<SessionPersistence>, more: Partial<RouteRule> = {}) {
  const state = new WaypointState('node-1', key('waypoint'));
  state.apply({ mesh: meshOf({ api: [8080, 8081] }) });
  const rule: RouteRule = {
    matches: [],
    filters: [],
    backends: [backend('api')],
    sessionPersistence: { kind: 'cookie', name: 'S', permanent: false, ...persistence },
    ...more,
  };
  const clusters = clustersOf(state);
  const endpoints = clusters.ofService(key('api'), 80)?.endpoints ?? [];
  const [endpoint, other] = endpoints;
  assert.ok(endpoint && other);
  const isHeader = rule.sessionPersistence?.kind === 'header';
  const asking = (token: string): Headers => (isHeader ? ['s', token] : ['cookie', `a=b; S=${token}`]);
  return {
    endpoint,
    other,
    read: (headers: Headers, nowMs: number) => findSession(clusters, rule, headers, nowMs),
    /** Token and attributes of the cookie in a response of `endpoint` to a request with these headers; undefined without one. */
    respond(headers: Headers, nowMs: number, { status = 200, from = endpoint } = {}) {
      const response = { status, headers: [] as Headers };
      addSessionToken(response, rule, from, findSession(clusters, rule, headers, nowMs), nowMs);
      const [name, value] = response.headers;
      if (value === undefined) return undefined;
      assert.equal(name, isHeader ? 's' : 'set-cookie');
      const [token = '', ...attributes] = value.replace(/^S=/, '').split('; ');
      return { asking: asking(token), token, attributes: attributes.join('; ') };
    },
    asking,
  };
}

test('a session in use outlives its idle timeout, an unused one ends with it', () => {
  for (const kind of ['cookie', 'header'] as const) {
    const { endpoint, read, respond } = sessions({ kind, idleTimeoutMs: 10_000 });
    let sent = respond([], startMs);
    let nowMs = startMs;
    for (let i = 0; i < 10; i++) {
      nowMs += 9_999;
      assert.equal(read(sent?.asking ?? [], nowMs)?.endpoint, endpoint, `${kind} ${i}`);
      sent = respond(sent?.asking ?? [], nowMs);
      assert.ok(sent, 'a token on each use');
    }
    assert.equal(read(sent?.asking ?? [], nowMs + 10_000), undefined);
  }
});

test('a session ends with its absolute timeout, however much it is used', () => {
  const { read, respond } = sessions({ idleTimeoutMs: hourMs, absoluteTimeoutMs: 3 * hourMs });
  let sent = respond([], startMs);
  for (let i = 1; i <= 5; i++) sent = respond(sent?.asking ?? [], startMs + i * (hourMs / 2));
  assert.ok(read(sent?.asking ?? [], startMs + 3 * hourMs - 1));
  assert.equal(read(sent?.asking ?? [], startMs + 3 * hourMs), undefined);
});

test('without an idle timeout a token is sent only when the session begins', () => {
  const { respond, asking } = sessions({ absoluteTimeoutMs: hourMs });
  const sent = respond([], startMs);
  assert.equal(respond(sent?.asking ?? [], startMs + 1), undefined);
  const untimed = sessions({});
  const plain = untimed.respond([], startMs);
  assert.match(plain?.token ?? '', /^[\w-]{22}$/);
  assert.equal(untimed.read(asking(plain?.token ?? ''), startMs + 1e12)?.endpoint, untimed.endpoint);
});

test('a permanent cookie expires with its session, a session cookie has no expiry', () => {
  const { respond } = sessions({ permanent: true, absoluteTimeoutMs: hourMs, idleTimeoutMs: 600_000 });
  const sent = respond([], startMs);
  assert.equal(sent?.attributes, 'Path=/; HttpOnly; Max-Age=600');
  let again: ReturnType<typeof respond> = sent;
  for (let i = 1; i <= 6; i++) again = respond(again?.asking ?? [], startMs + i * 595_000);
  assert.equal(again?.attributes, 'Path=/; HttpOnly; Max-Age=30');
  assert.equal(sessions({ absoluteTimeoutMs: hourMs }).respond([], startMs)?.attributes, 'Path=/; HttpOnly');
  const permanent = sessions({ permanent: true, absoluteTimeoutMs: hourMs });
  assert.equal(permanent.respond([], startMs)?.attributes, 'Path=/; HttpOnly; Max-Age=3600');
});

test('a token without times, or with impossible ones, is ignored if the rule has a timeout', () => {
  const { read, respond, asking } = sessions({ idleTimeoutMs: 10_000, absoluteTimeoutMs: hourMs });
  const [name = '', issued = ''] = respond([], startMs)?.token.split('.') ?? [];
  const at = (ms: number): string => ms.toString(36);
  for (const bad of [
    name,
    `${name}.${issued}`,
    `${name}.${issued}.${at(startMs + hourMs)}`,
    `${name}.${at(startMs + 1)}.${at(startMs)}`,
    `${name}.${issued}.${issued}.${issued}`,
    `${name}.-1.-1`,
    `${name}.zzzzzzzzzzzz.zzzzzzzzzzzz`,
    'forged',
    '',
  ])
    assert.equal(read(asking(bad), startMs + 1), undefined, bad);
  // Another replica's clock is a little ahead.
  assert.ok(read(asking(`${name}.${issued}.${at(startMs + 30_000)}`), startMs));
});

test('a failed response begins no session, but an existing session goes on', () => {
  const retry = { codes: [429] };
  const { respond, other } = sessions({ idleTimeoutMs: 10_000 }, { retry });
  for (const status of [500, 503, 504, 429]) assert.equal(respond([], startMs, { status }), undefined);
  const sent = respond([], startMs, { status: 404 });
  assert.ok(sent);
  assert.ok(respond(sent.asking, startMs + 1, { status: 500 }), 'the session was used');
  assert.equal(respond(sent.asking, startMs + 1, { status: 500, from: other }), undefined);
  const moved = respond(sent.asking, startMs + 5_000, { from: other });
  const [, issued = ''] = moved?.token.split('.') ?? [];
  assert.equal(parseInt(issued, 36), startMs + 5_000, 'a new session');
});

test('a cookie is found in any line of the request, and the first one that names an endpoint is used', () => {
  const { endpoint, read, respond } = sessions({});
  const { token = '' } = respond([], startMs) ?? {};
  assert.equal(read(['cookie', 'a=b', 'cookie', `S=${token}`], startMs)?.endpoint, endpoint);
  assert.equal(read(['cookie', `S=stale; S=${token}`], startMs)?.endpoint, endpoint);
});

test('neither a local reply nor a failed response has a token', async (t) => {
  const failing = await httpUpstream(t, (_request, response) => void response.writeHead(503).end());
  const good = await httpUpstream(t, echoHandler('good'));
  const persistent: Partial<RouteRule> = {
    sessionPersistence: { kind: 'cookie', name: 'S', permanent: false, idleTimeoutMs: hourMs },
  };
  const dead = await startWaypoint(t, {
    backends: { api: [await deadPort()] },
    routes: [route('r', [persistent])],
  });
  const refused = await ask(dead.port);
  assert.deepEqual([refused.status, refused.headers['set-cookie']], [503, undefined]);
  const waypoint = await startWaypoint(t, {
    backends: { api: [failing.port, good.port] },
    routes: [route('r', [{ ...persistent, retry: { codes: [503], attempts: 1, backoffMs: 1 } }])],
  });
  for (let i = 0; i < 20; i++) {
    const { headers } = await ask(waypoint.port);
    assert.equal(headers['set-cookie']?.length, 1);
    // The token names the endpoint that responded: the next request goes there at once.
    const [cookie = ''] = headers['set-cookie'][0]?.split(';') ?? [];
    const before = waypoint.records.length;
    assert.equal((await ask(waypoint.port, { headers: { cookie } })).headers['x-upstream'], 'good');
    assert.equal(waypoint.records[before]?.attempts, 1);
  }
  const bad = await startWaypoint(t, {
    backends: { api: [failing.port] },
    routes: [route('r', [persistent])],
  });
  const failed = await ask(bad.port);
  assert.deepEqual([failed.status, failed.headers['set-cookie']], [503, undefined]);
});

test('a session persists end to end, by HTTP/1 and by HTTP/2 with a field for each cookie', async (t) => {
  const upstreams = await Promise.all(['0', '1', '2', '3'].map((name) => httpUpstream(t, echoHandler(name))));
  const waypoint = await startWaypoint(t, {
    backends: { api: upstreams.map(({ port }) => port) },
    // The endpoints get HTTP/1, whatever the client speaks.
    protocol: 'http1',
    routes: [
      route('r', [
        { sessionPersistence: { kind: 'cookie', name: 'S', permanent: false, idleTimeoutMs: hourMs } },
      ]),
    ],
  });
  const first = await ask(waypoint.port);
  const cookieOf = (headers: http.IncomingHttpHeaders): string =>
    headers['set-cookie']?.[0]?.split(';')[0] ?? '';
  let cookie = cookieOf(first.headers);
  for (let i = 0; i < 10; i++) {
    const again = await ask(waypoint.port, { headers: { cookie } });
    assert.equal(again.headers['x-upstream'], first.headers['x-upstream']);
    cookie = cookieOf(again.headers);
    assert.match(cookie, /^S=/, 'refreshed');
  }
  const session = http2.connect(`http://127.0.0.1:${waypoint.port}`);
  t.after(() => session.destroy());
  for (let i = 0; i < 10; i++) {
    const name = await new Promise((resolve, reject) => {
      const request = session.request({ ':path': '/', cookie: ['a=b', cookie] });
      request.once('error', reject);
      request.once('response', (headers) => resolve(headers['x-upstream']));
      request.resume();
    });
    assert.equal(name, first.headers['x-upstream']);
  }
});

test('only a few tokens of a request are looked up', () => {
  const { endpoint, read, respond } = sessions({});
  const token = respond([], startMs)?.token ?? '';
  const unknown = (count: number): string =>
    Array.from({ length: count }, (_, i) => `S=${String(i).padStart(22, 'x')}`).join('; ');
  assert.equal(read(['cookie', `${unknown(3)}; S=${token}`], startMs)?.endpoint, endpoint);
  assert.equal(read(['cookie', `${unknown(2_000)}; S=${token}`], startMs), undefined);
  // Values that are no tokens are skipped.
  assert.equal(read(['cookie', `${'S=a; '.repeat(100)}S=${token}`], startMs)?.endpoint, endpoint);
});

test('the session of an ejected endpoint goes on at another one, unless all are ejected', async (t) => {
  const failing = new Set<number>();
  const serve = async (): Promise<number> => {
    const { port } = await httpUpstream(t, (_request, response) => {
      response.writeHead(failing.has(port) ? 500 : 200).end(`${port}`);
    });
    return port;
  };
  const ports = [await serve(), await serve()];
  const waypoint = await startWaypoint(t, {
    backends: { api: ports },
    routes: [
      route('r', [
        { backends: [backend('api')], sessionPersistence: { kind: 'header', name: 's', permanent: false } },
      ]),
    ],
  });
  waypoint.apply({ servicePolicies: [outlierPolicy({ consecutive5xx: 1, ejectedPercentMax: 100 })] });
  const first = await ask(waypoint.port);
  const [at, headers] = [Number(first.body), { s: String(first.headers['s']) }];
  assert.equal((await ask(waypoint.port, { headers })).body, `${at}`);
  failing.add(at);
  assert.equal((await ask(waypoint.port, { headers })).status, 500);
  assert.equal(waypoint.outliers.length, 1, 'it is ejected');
  const other = ports.find((port) => port !== at);
  for (let i = 0; i < 5; i++) {
    const { body, headers: got } = await ask(waypoint.port, { headers });
    assert.equal(body, `${other}`);
    assert.notEqual(got['s'], headers.s, 'the response names its endpoint');
  }
  failing.add(other ?? 0);
  assert.equal((await ask(waypoint.port, { headers })).status, 500);
  assert.equal(waypoint.outliers.length, 2, 'all are ejected');
  assert.equal((await ask(waypoint.port, { headers })).body, `${at}`);
});
