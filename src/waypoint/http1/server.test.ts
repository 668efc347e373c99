import assert from 'node:assert/strict';
import type http from 'node:http';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import {
  ask,
  backend,
  converse,
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  echoHandler,
  askEcho,
  type EchoedRequest,
} from '../../../test/support/waypoint.js';

const get = (path = '/', ...lines: string[]): string =>
  [`GET ${path} HTTP/1.1`, 'Host: api.shop', ...lines, '', ''].join('\r\n');
/** Status lines of the responses, in the order of arrival. */
const statuses = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n/g)].map((match) => Number(match[1]));

test('a malformed request gets its status, the connection is closed and the upstream sees nothing', async (t) => {
  let seen = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    seen++;
    echoHandler('a')(request, response);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http1' });
  const table: [string, number][] = [
    ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n', 501],
    ['GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: a%62\r\n\r\n', 400],
    [get('/', `X: ${'a'.repeat(64 << 10)}`), 431],
    [get('/', ...Array.from({ length: 201 }, (_, i) => `x${i}: 1`)), 431],
    ['GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505],
    ['CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n', 400],
    [get('/a%00'), 400],
    [get('/a\\b'), 400],
    [get('*'), 400],
    [get('http://u:p@a/'), 400],
    ['nonsense\r\n\r\n', 400],
  ];
  for (const [text, status] of table) {
    const answer = await converse(t, waypoint.port, `${text}${get('/smuggled')}`);
    assert.deepEqual(statuses(answer), [status], text.slice(0, 60));
    assert.match(answer, /\r\nconnection: close\r\n/i);
  }
  assert.equal(seen, 0);
  assert.equal(waypoint.context.exchanges.size, 0);
});

test('a target in absolute form takes precedence over the Host header, which is not forwarded', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const answer = await converse(
    t,
    waypoint.port,
    'GET http://Right.shop./a HTTP/1.1\r\nHost: wrong\r\nConnection: close\r\n\r\n',
  );
  assert.match(answer, /"host":"right.shop"/);
  assert.doesNotMatch(answer, /wrong/);
});

test('a pipeline of a hundred requests with and without bodies gets its responses in order', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts).toString();
      // The first requests are the slowest.
      setTimeout(() => response.end(`<${request.url}:${body}>`), Number(request.url?.slice(1)) < 5 ? 20 : 0);
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const all = Array.from({ length: 100 }, (_, i) => {
    if (i % 3 === 0) return get(`/${i}`);
    if (i % 3 === 1) return `POST /${i} HTTP/1.1\r\nHost: a\r\nContent-Length: ${`${i}`.length}\r\n\r\n${i}`;
    return `POST /${i} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nGE\r\n1\r\nT\r\n0\r\n\r\n`;
  }).join('');
  const expected = Array.from({ length: 100 }, (_, i) => `</${i}:${['', i, 'GET'][i % 3]}>`);
  const whole = await RawClient.open(waypoint.port);
  whole.write(all);
  await whole.until((text) => text.includes('</99:'), 'the last response');
  assert.deepEqual(whole.text.match(/<[^>]*>/g), expected);
  whole.socket.destroy();
  // In pieces that arrive while responses are under way.
  const pieces = await RawClient.open(waypoint.port);
  for (let at = 0; at < all.length; at += 37) {
    pieces.write(all.slice(at, at + 37));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await pieces.until((text) => text.includes('</99:'), 'the last response');
  assert.deepEqual(pieces.text.match(/<[^>]*>/g), expected);
  pieces.socket.destroy();
});

test('a connection persists as its client asks, and HTTP/1.0 gets no chunks', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    response.write('one');
    response.end(`two ${request.httpVersion}`);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const old = await converse(t, waypoint.port, 'GET / HTTP/1.0\r\n\r\n');
  assert.match(old, /\r\nconnection: close\r\n[^]*\r\nonetwo 1\.1$/);
  assert.doesNotMatch(old, /transfer-encoding/i);
  const closed = await converse(t, waypoint.port, get('/', 'Connection: close') + get('/'));
  assert.deepEqual(statuses(closed), [200]);
  const kept = await RawClient.open(waypoint.port);
  kept.write(get());
  await kept.until((text) => text.endsWith('0\r\n\r\n'));
  kept.write(get());
  await kept.until((text) => statuses(text).length === 2 && text.endsWith('0\r\n\r\n'));
  assert.equal(kept.closed, undefined);
  kept.socket.destroy();
});

test('a client that closes its half still gets its responses', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    request.resume();
    setTimeout(() => response.end(`<${request.url}>`), 20);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const client = await RawClient.open(waypoint.port);
  client.write(get('/1') + get('/2') + get('/3'));
  client.socket.end();
  assert.equal(await client.untilClosed(), 'end');
  assert.deepEqual(client.text.match(/<[^>]*>/g), ['</1>', '</2>', '</3>']);
  await eventually(() => waypoint.context.connections.size === 0, 'the connection is gone');
});

test('a client that ends within its request is disconnected, and its upstream is canceled', async (t) => {
  let aborted = 0;
  const upstream = await httpUpstream(t, (request) => {
    request.on('error', () => aborted++);
    request.resume();
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  for (const text of [
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
  ]) {
    const client = await RawClient.open(waypoint.port);
    client.write(text);
    await eventually(
      () => waypoint.context.exchanges.size === 1 && waypoint.clusters.connections === 1,
      'it is under way',
    );
    await new Promise((resolve) => setTimeout(resolve, 30));
    client.socket.end();
    await client.untilClosed();
    assert.deepEqual(statuses(client.text), []);
    await eventually(
      () => waypoint.context.exchanges.size === 0 && waypoint.clusters.connections === 0,
      'nothing is left open',
    );
  }
  for (const text of ['GET / HT', 'GET / HTTP/1.1\r\nHost: a\r\n', get('/1').slice(0, -2)]) {
    const client = await RawClient.open(waypoint.port);
    client.write(text);
    client.socket.end();
    await client.untilClosed();
  }
  await eventually(() => waypoint.context.connections.size === 0, 'no connection is left');
  assert.equal(aborted, 2);
});

test('100-continue is forwarded from end to end', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  upstream.server.on('checkContinue', (request: http.IncomingMessage, response: http.ServerResponse) => {
    if (request.url === '/no') {
      response.statusCode = 417;
      response.end();
      return;
    }
    response.writeContinue();
    echoHandler('a')(request, response);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const client = await RawClient.open(waypoint.port);
  client.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n');
  await client.until((text) => text === 'HTTP/1.1 100 Continue\r\n\r\n', 'the interim response');
  client.write('body');
  await client.until((text) => text.includes('"body":"body"'), 'the response');
  client.socket.destroy();
  const refused = await RawClient.open(waypoint.port);
  refused.write('POST /no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n');
  await refused.untilClosed();
  assert.deepEqual(statuses(refused.text), [417]);
  refused.socket.destroy();
});

test('the connection header cannot remove fields that frame or route a request', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const text = await converse(
    t,
    waypoint.port,
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close, content-length, host, x-forwarded-for\r\nX-Forwarded-For: 1.2.3.4\r\n\r\nabc',
  );
  assert.match(text, /"body":"abc"/);
  assert.match(text, /"x-forwarded-for":"127.0.0.1"/);
});

test('a slow head runs into the head timeout, on a new connection and on a reused one', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    protocol: 'http1',
    limits: { headTimeoutMsMax: 300, idleConnectionMsMax: 600 },
  });
  const trickle = async (client: RawClient): Promise<void> => {
    client.write('GET / HTTP/1.1\r\nHost: a\r\n');
    for (let i = 0; client.closed === undefined && i < 100; i++) {
      client.write(`x${i}: 1\r\n`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.notEqual(client.closed, undefined, 'the connection ended');
    assert.equal(statuses(client.text).at(-1), 408);
  };
  const fresh = await RawClient.open(waypoint.port);
  await trickle(fresh);
  const used = await RawClient.open(waypoint.port);
  used.write(get());
  await used.until((text) => text.includes('"name":"a"'));
  await trickle(used);
  const idle = await RawClient.open(waypoint.port);
  idle.write(get());
  assert.equal(await idle.untilClosed(), 'end');
  // The client does not close its own half, and the waypoint does not wait for it.
  await eventually(() => waypoint.context.connections.size === 0, 'no connection is left');
});

test('a body that does not arrive runs into the idle timeout; one that the waypoint does not read does not', async (t) => {
  let hold = true;
  const slow = await rawUpstream(t, (socket) => {
    let read = 0;
    socket.pause();
    const timer = setInterval(() => {
      if (hold) return;
      clearInterval(timer);
      socket.resume();
      socket.on('data', (bytes: Buffer) => {
        read += bytes.length;
        if (read > 9 << 20) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      });
    }, 20);
    t.after(() => clearInterval(timer));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [slow] }, limits: { bodyIdleMsMax: 200 } });
  const client = await RawClient.open(waypoint.port);
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc');
  await client.untilClosed();
  assert.deepEqual(statuses(client.text), [408]);
  const asked = ask(waypoint.port, { method: 'POST', body: Buffer.alloc(9 << 20) });
  setTimeout(() => (hold = false), 900);
  assert.equal((await asked).status, 200);
});

test('a malformed body gets 400 if no response has begun, and never looks complete to the upstream', async (t) => {
  let whole = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    request.on('error', () => undefined);
    request.on('data', () => undefined);
    request.on('end', () => {
      whole++;
      response.end();
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  for (const body of ['3\r\nabcd\r\n0\r\n\r\n', 'x\r\n', '0\r\nHost: a\r\n\r\n', '1\r\na\n0\r\n\r\n']) {
    const text = await converse(
      t,
      waypoint.port,
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${body}${get('/smuggled')}`,
    );
    assert.deepEqual(statuses(text), [400], body);
    assert.equal(text.match(/connection: close/g)?.length, 1);
  }
  assert.equal(whole, 0);
  await eventually(() => waypoint.clusters.connections === 0, 'no connection is reused');
});

test('neither clients nor routes can split a response or a request', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const evil = 'x\r\nEvil: 1\r\n\r\nGET /evil HTTP/1.1\r\n\r\n';
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [
      route('r', [
        {
          matches: [{ path: { kind: 'prefix', value: '/redirect' }, headers: [], query: [] }],
          filters: [
            filter('redirect', {
              hostname: evil,
              scheme: evil,
              path: { kind: 'full', value: `/${evil}` },
              statusCode: 302,
            }),
          ],
        },
        {
          filters: [
            filter('requestHeaders', {
              set: [
                { name: 'x-good', value: 'y' },
                { name: 'x-evil', value: evil },
                { name: 'content-length', value: '3' },
                { name: 'transfer-encoding', value: 'chunked' },
                { name: 'host', value: evil },
              ],
              add: [{ name: `x-name\r\n${evil}`, value: 'a' }],
              remove: [],
            }),
            filter('rewrite', { hostname: evil, path: { kind: 'prefix', value: `/p ${evil}` } }),
            filter('responseHeaders', {
              set: [
                { name: 'x-evil', value: evil },
                { name: 'content-length', value: '1' },
                { name: 'connection', value: 'close' },
              ],
              add: [{ name: 'set-cookie', value: `a=b\n${evil}` }],
              remove: [],
            }),
            filter('cors', {
              allowOrigins: ['*'],
              allowMethods: [evil],
              allowHeaders: [evil],
              exposeHeaders: [evil],
              allowCredentials: false,
              maxAgeS: 5,
            }),
          ],
          sessionPersistence: { kind: 'cookie', name: evil, permanent: false },
        },
      ]),
    ],
  });
  const answer = await ask(waypoint.port, { path: '/x', headers: { origin: 'http://o' } });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.evil, undefined);
  const { url, headers } = JSON.parse(answer.body) as EchoedRequest;
  assert.equal(url, '/p%20x%0D%0AEvil:%201%0D%0A%0D%0AGET%20/evil%20HTTP/1.1%0D%0A%0D%0A/x');
  assert.equal(headers.host, 'api.shop');
  assert.equal(headers['x-good'], 'y');
  assert.deepEqual(
    [headers.evil, headers['x-evil'], headers['content-length']],
    [undefined, undefined, undefined],
  );
  const redirect = await ask(waypoint.port, { path: '/redirect' });
  assert.equal(redirect.status, 302);
  assert.match(redirect.headers.location ?? '', /^http:\/\/api\.shop\/x%0D%0A/);
});

test('a drain serves the request under way as the last of its connection', async (t) => {
  const upstream = await httpUpstream(t, (_request, response) => {
    setTimeout(() => response.end('done'), 50);
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    limits: { drainIdleMs: 100 },
  });
  const busy = await RawClient.open(waypoint.port);
  busy.write(get());
  const idle = await RawClient.open(waypoint.port);
  idle.write(get());
  await idle.until((text) => text.includes('done'));
  const late = await RawClient.open(waypoint.port);
  late.write(get());
  await late.until((text) => text.includes('done'));
  busy.write(get());
  await eventually(() => waypoint.context.exchanges.size === 1, 'one request is under way');
  for (const connection of waypoint.context.connections) connection.drain();
  late.write(get());
  for (const client of [busy, late]) {
    await client.untilClosed();
    assert.match(client.text, /connection: close\r\n[^]*done/);
  }
  assert.equal(await idle.untilClosed(), 'end');
  await eventually(() => waypoint.context.connections.size === 0, 'no connection is left');
});

test('the waypoint replaces what a client claims about itself in headers', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [route('r', [{ backends: [backend('api')] }])],
  });
  const { headers } = await askEcho(waypoint.port, {
    headers: {
      'x-forwarded-for': '1.2.3.4',
      'x-forwarded-client-cert': 'URI=spiffe://evil',
      'x-request-id': 'mine',
    },
  });
  assert.equal(headers['x-forwarded-for'], '1.2.3.4, 127.0.0.1');
  assert.equal(headers['x-forwarded-client-cert'], undefined);
  assert.equal(headers['x-request-id'], 'mine');
});
