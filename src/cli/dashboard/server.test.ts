import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { serverEvents, sessionHeaders } from '../../dashboard/session.js';
import { errorResponse, serveDashboard, type DashboardServer, type ServerSentEvent } from './server.js';

const token = 'x'.repeat(32);
let server: DashboardServer;
let tapsOpen = 0;

async function* events(signal: AbortSignal): AsyncGenerator<ServerSentEvent> {
  tapsOpen++;
  try {
    yield { data: '{"a":1}' };
    yield { event: 'lost', data: '{"count":2}' };
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  } finally {
    tapsOpen--;
  }
}
async function* failing(first: boolean): AsyncGenerator<ServerSentEvent> {
  if (first) yield { data: '1' };
  throw new Error('the control plane is gone');
}

before(async () => {
  server = await serveDashboard({
    host: '127.0.0.1',
    port: 0,
    token,
    files: { html: '<p>page', script: 'script', style: 'style' },
    api: {
      snapshot: async (sinceMs) => JSON.stringify({ sinceMs }),
      explain: async (query) => ({ status: 200, body: JSON.stringify(query.get('source')) }),
      tap: (query, signal) =>
        query.has('bad')
          ? errorResponse(400, 'bad')
          : query.has('failing')
            ? failing(query.get('failing') === 'later')
            : events(signal),
    },
  });
});
after(() => server.close());

const get = (path: string, more: RequestInit = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${server.port}${path}`, { headers: sessionHeaders(token), ...more });

test('each response has the policy of the page, and nothing lets other origins read it', async () => {
  for (const path of ['/', '/page.js', '/page.css', '/api/snapshot', '/api/none', '/none']) {
    const { headers } = await get(path, {
      headers: { ...sessionHeaders(token), origin: 'http://evil.example' },
    });
    assert.match(headers.get('content-security-policy') ?? '', /^default-src 'none'; script-src 'self'; /);
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
    assert.equal(headers.get('referrer-policy'), 'no-referrer');
    assert.equal(headers.get('access-control-allow-origin'), null);
  }
});

test('the files of the page are there without the token, the mesh is not', async () => {
  for (const [path, type, body] of [
    ['/', 'text/html; charset=utf-8', '<p>page'],
    ['/page.js', 'text/javascript; charset=utf-8', 'script'],
    ['/page.css', 'text/css; charset=utf-8', 'style'],
  ] as const) {
    const response = await get(path, { headers: {} });
    assert.deepEqual([response.headers.get('content-type'), await response.text()], [type, body]);
  }
  for (const path of ['/api/snapshot', '/api/explain?source=a', '/api/tap']) {
    const response = await get(path, { headers: {} });
    assert.equal(response.status, 401);
    assert.match(
      ((await response.json()) as { error: string }).error,
      /open the URL that weft dashboard printed/,
    );
  }
  assert.equal((await get('/api/snapshot', { method: 'POST' })).status, 405);
});

test('a request to a name that resolves to this machine is refused', async () => {
  const status = await new Promise((resolve, reject) =>
    http
      .get(
        { port: server.port, host: '127.0.0.1', path: '/', headers: { host: `evil.example:${server.port}` } },
        (response) => resolve(response.resume().statusCode),
      )
      .on('error', reject),
  );
  assert.equal(status, 403);
});

test('the window of a snapshot is a duration', async () => {
  assert.deepEqual(await (await get('/api/snapshot')).json(), { sinceMs: 900_000 });
  assert.deepEqual(await (await get('/api/snapshot?since=90s')).json(), { sinceMs: 90_000 });
  for (const since of ['x', '', '99999h', '-1m'])
    assert.equal((await get(`/api/snapshot?since=${since}`)).status, 400, since);
  assert.equal(await (await get('/api/explain?source=shop/web')).json(), 'shop/web');
  assert.equal((await get(`/api/explain?source=${'a'.repeat(9_000)}`)).status, 414);
});

test('a tap is server-sent events, and ends when its reader is gone', async () => {
  const reader = new AbortController();
  const { body, headers } = await get('/api/tap', { signal: reader.signal });
  assert.equal(headers.get('content-type'), 'text/event-stream');
  const found: string[] = [];
  for await (const { event, data } of serverEvents(body as unknown as AsyncIterable<Uint8Array>)) {
    found.push(`${event} ${data}`);
    if (found.length === 2) break;
  }
  assert.deepEqual(found, ['message {"a":1}', 'lost {"count":2}']);
  reader.abort();
  for (let tries = 0; tapsOpen > 0 && tries < 1_000; tries++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(tapsOpen, 0);
});

test('a tap that cannot begin has a status, and one that fails later an event', async () => {
  assert.equal((await get('/api/tap?bad')).status, 400);
  const refused = await get('/api/tap?failing=first');
  assert.deepEqual([refused.status, await refused.json()], [502, { error: 'the control plane is gone' }]);
  assert.equal(
    await (await get('/api/tap?failing=later')).text(),
    'data: 1\n\nevent: failed\ndata: {"error":"the control plane is gone"}\n\n',
  );
});

test('taps beyond the limit are refused with a reason', async () => {
  const readers = Array.from({ length: 8 }, () => new AbortController());
  for (const { signal } of readers) assert.equal((await get('/api/tap', { signal })).status, 200);
  const refused = await get('/api/tap');
  assert.deepEqual(
    [refused.status, await refused.json()],
    [503, { error: '8 taps are open: close one of them' }],
  );
  for (const reader of readers) reader.abort();
});
