/** External authorization by plain HTTP, with decision services of every kind. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import { test } from 'node:test';
import { askHttp } from '../../../test/support/decision-services.js';
import { scene, httpScene } from '../../../test/support/decision-scenes.js';
import { rawResponder, rawUpstream } from '../../../test/support/waypoint.js';

test('plain HTTP: 200 allows; the service gets method, host, path behind the prefix, authorization and listed headers', async (t) => {
  const calls: {
    readonly url: string;
    readonly method: string;
    readonly headers: http.IncomingHttpHeaders;
  }[] = [];
  const { ask: send, arrived } = await httpScene(
    t,
    ({ url = '', method = '', headers }, response) => {
      calls.push({ url, method, headers });
      response.writeHead(200, { 'x-user': 'ann', 'x-else': 'no' }).end();
    },
    { requestHeaders: ['x-a', 'host', 'content-length', 'transfer-encoding'], upstreamHeaders: ['x-user'] },
  );
  const { status } = await send({
    method: 'PUT',
    path: '/orders?x',
    headers: { authorization: 'Bearer t', 'x-a': '1', 'x-b': '2', 'x-user': 'eve', 'x-else': 'own' },
    body: 'text',
  });
  assert.equal(status, 200);
  const [call] = calls;
  assert.equal(call?.headers['content-length'], '0');
  assert.deepEqual([call?.url, call?.method, call?.headers.host], ['/check/orders?x', 'PUT', 'api.shop']);
  assert.deepEqual(
    ['authorization', 'x-a', 'x-b', 'x-user'].map((name) => call?.headers[name]),
    ['Bearer t', '1', undefined, undefined],
  );
  assert.deepEqual([arrived[0]?.headers['x-user'], arrived[0]?.headers['x-else']], ['ann', 'own']);
  assert.equal(arrived[0]?.body, 'text');
});

test('plain HTTP: any other status is the response, with its headers and body; 5xx is no decision', async (t) => {
  let status = 302;
  const {
    ask: send,
    arrived,
    set,
  } = await httpScene(t, (_request, response) =>
    response
      .writeHead(status, { location: 'https://login', 'set-cookie': ['a=1', 'b=2'], 'x-private': '1' })
      .end('go'),
  );
  const redirected = await send();
  assert.deepEqual(
    [redirected.status, redirected.headers.location, redirected.headers['set-cookie'], redirected.body],
    [302, 'https://login', ['a=1', 'b=2'], 'go'],
  );
  status = 201;
  assert.equal((await send()).status, 403);
  status = 500;
  assert.equal((await send()).status, 503);
  set(askHttp({ clientHeaders: ['location'] }, '/check'));
  status = 401;
  const listed = await send();
  assert.deepEqual(
    [listed.status, listed.headers['x-private'], listed.headers.location],
    [401, undefined, 'https://login'],
  );
  assert.equal(arrived.length, 0);
});

test('plain HTTP: all headers of the response are copied if the list says so, besides those that describe the response', async (t) => {
  const { ask: send, arrived } = await httpScene(
    t,
    (_request, response) =>
      response
        .writeHead(200, {
          'x-user': 'ann',
          'content-type': 'text/html',
          'x-envoy-auth-headers-to-remove': 'x-b, x-c',
        })
        .end('<p>'),
    { upstreamHeaders: ['*'] },
  );
  await send({ method: 'POST', body: '{}', headers: { 'content-type': 'application/json', 'x-b': '1' } });
  const { headers, body } = arrived[0] ?? {};
  assert.deepEqual(
    [headers?.['x-user'], headers?.['content-type'], headers?.['x-b'], body],
    ['ann', 'application/json', undefined, '{}'],
  );
});

for (const [what, bytes] of [
  ['splits its response', 'HTTP/1.1 200 OK\r\nx-user: a\rb\r\ncontent-length: 0\r\n\r\n'],
  ['is not HTTP', 'SSH-2.0-OpenSSH_9.0\r\n\r\n'],
  ['sends two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n'],
  ['floods headers', `HTTP/1.1 200 OK\r\n${'x-user: 1\r\n'.repeat(300)}content-length: 0\r\n\r\n`],
  [
    'has more headers than a decision',
    `HTTP/1.1 200 OK\r\n${'x-user: 1\r\n'.repeat(70)}content-length: 0\r\n\r\n`,
  ],
  ['has a body that is too large', `HTTP/1.1 403 No\r\ncontent-length: 70000\r\n\r\n${'x'.repeat(70_000)}`],
] as const)
  test(`plain HTTP: no decision if the service ${what}`, async (t) => {
    const port = await rawResponder(t, bytes);
    const { ask: send, arrived } = await scene(t, [port], [askHttp({ upstreamHeaders: ['x-user'] })]);
    assert.equal((await send()).status, 503);
    assert.equal(arrived.length, 0);
  });

test('plain HTTP: no decision if the service closes the connection in the middle of its response', async (t) => {
  const port = await rawUpstream(t, (socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 403 No\r\ncontent-length: 5\r\n\r\nab'));
  });
  const { ask: send } = await scene(t, [port], [askHttp()]);
  assert.equal((await send()).status, 503);
});
