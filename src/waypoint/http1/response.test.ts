import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  rawResponder,
  ask,
  converse,
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  startWaypoint,
} from '../../../test/support/waypoint.js';

const get = (path = '/', ...lines: string[]): string =>
  [`GET ${path} HTTP/1.1`, 'Host: api.shop', ...lines, '', ''].join('\r\n');
/** Status lines of the responses, in the order of arrival. */
const statuses = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n/g)].map((match) => Number(match[1]));

test('interim responses are forwarded, too many are a protocol error of the upstream, and an HTTP/1.0 client gets none', async (t) => {
  const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
  const end = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  const few = await startWaypoint(t, { backends: { api: [await rawResponder(t, hints + hints + end)] } });
  const text = await converse(t, few.port, get('/', 'Connection: close'));
  assert.deepEqual(statuses(text), [103, 103, 200]);
  assert.match(text, /103 Early Hints\r\nlink: <\/a>\r\n\r\n/);
  const old = await converse(t, few.port, 'GET / HTTP/1.0\r\n\r\n');
  assert.deepEqual(statuses(old), [200]);
  const flood = await startWaypoint(t, { backends: { api: [await rawResponder(t, hints.repeat(1000))] } });
  const flooded = await converse(t, flood.port, get('/', 'Connection: close'));
  assert.equal(statuses(flooded).at(-1), 502);
  assert.ok(statuses(flooded).length < 20);
});

test('responses without a body have none, whatever their headers say, and their connections are reused', async (t) => {
  let connections = 0;
  const port = await rawUpstream(t, (socket) => {
    connections++;
    socket.on('data', (bytes: Buffer) => {
      const text = bytes.toString();
      if (text.startsWith('HEAD')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
      else if (text.includes(' /304')) socket.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n');
      else if (text.includes(' /204')) socket.write('HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n');
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  const client = await RawClient.open(waypoint.port);
  let answers = 0;
  for (const line of ['HEAD /', 'GET /304', 'GET /204', 'GET /']) {
    client.write(`${line} HTTP/1.1\r\nHost: a\r\n\r\n`);
    answers++;
    await client.until((text) => statuses(text).length === answers && /\r\n\r\n(ok)?$/.test(text));
  }
  assert.deepEqual(statuses(client.text), [200, 304, 204, 200]);
  const [head, notModified, noContent] = client.text.split('\r\n\r\n');
  assert.match(head ?? '', /content-length: 5/);
  assert.match(notModified ?? '', /content-length: 5/);
  assert.doesNotMatch(noContent ?? '', /content-length/);
  assert.equal(connections, 1);
  client.socket.destroy();
});

test('trailers are forwarded both ways; fields that the connection header names are not', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    request.resume();
    request.on('end', () => {
      response.setHeader('trailer', 'x-sum');
      response.setHeader('connection', 'keep-alive, x-hop');
      response.setHeader('x-hop', '1');
      response.write('a');
      response.addTrailers({ 'x-sum': String(request.trailers['x-up']) });
      response.end(JSON.stringify(request.headers));
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const text = await converse(
    t,
    waypoint.port,
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\nTE: gzip\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\r\n0\r\nX-Up: 7\r\n\r\n',
  );
  assert.match(text, /0\r\nx-sum: 7\r\n\r\n$/);
  assert.doesNotMatch(text, /x-hop: /);
  for (const name of ['x-secret', '"te"', 'keep-alive"', 'proxy-connection', '"connection":"close'])
    assert.ok(!text.includes(name), name);
});

test('a response that the upstream aborts is visibly incomplete to the client', async (t) => {
  const table: [string, string, boolean][] = [
    ['short by length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc', true],
    ['short by chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n', true],
    ['bad chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n', true],
    ['within the head', 'HTTP/1.1 200 OK\r\nContent-Le', false],
    ['nothing', '', false],
    ['both lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc', false],
    ['line feed in a value', 'HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n', false],
    [
      '101 without asking',
      'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n',
      false,
    ],
    ['no HTTP', 'SSH-2.0-x\r\n', false],
  ];
  for (const [name, bytes, begun] of table) {
    const port = await rawResponder(t, bytes, (socket) => socket.end());
    const waypoint = await startWaypoint(t, { backends: { api: [port] } });
    const client = await RawClient.open(waypoint.port);
    client.write(get('/', 'Connection: close'));
    const how = await client.untilClosed();
    if (begun) {
      assert.equal(how, 'reset', name);
      assert.ok(!client.text.endsWith('0\r\n\r\n'), name);
    } else {
      const [status] = statuses(client.text);
      assert.ok(status === 502 || status === 503, `${name}: ${client.text}`);
      assert.doesNotMatch(client.text, /set-cookie|upgrade:/i);
    }
    await assert.rejects(
      (async () => {
        const { status } = await ask(waypoint.port);
        if (status >= 500) throw new Error('refused');
      })(),
      name,
    );
    await eventually(
      () => waypoint.context.exchanges.size === 0 && waypoint.clusters.connections === 0,
      name,
    );
    client.socket.destroy();
  }
});

test('an aborted response does not look complete to an HTTP/1.0 client', async (t) => {
  for (const end of ['end', 'resetAndDestroy'] as const) {
    const port = await rawResponder(
      t,
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
      (socket) => setTimeout(() => socket[end](), 20),
    );
    const waypoint = await startWaypoint(t, { backends: { api: [port] } });
    for (let i = 0; i < 5; i++) {
      const client = await RawClient.open(waypoint.port);
      client.write('GET / HTTP/1.0\r\n\r\n');
      assert.equal(await client.untilClosed(), 'reset');
    }
  }
});

test('extra bytes after a response do not start the next response', async (t) => {
  const port = await rawResponder(
    t,
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil',
  );
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  for (let i = 0; i < 5; i++) assert.equal((await ask(waypoint.port)).body, 'ok');
});

test('responses that end with their connection are forwarded completely', async (t) => {
  const port = await rawResponder(t, 'HTTP/1.1 200 OK\r\nX: y\r\n\r\nabc', (socket) => socket.end('def'));
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  const { status, body } = await ask(waypoint.port);
  assert.deepEqual([status, body], [200, 'abcdef']);
  await eventually(() => waypoint.clusters.connections === 0, 'the connection is gone');
});
