import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';
import grpc from '@grpc/grpc-js';
import {
  rawResponder,
  ask,
  backend,
  eventually,
  http2Upstream,
  httpUpstream,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  echoHandler,
  type EchoedRequest,
} from '../../../test/support/waypoint.js';
import {
  block,
  endHeaders,
  endStream,
  frame,
  framesOf,
  frameType,
  preface,
  pseudo,
  request,
  rst,
  settings,
  settingsAck,
  u32,
} from '../../../test/support/http2-frames.js';
import { ask2, connect, frameUpstream } from '../../../test/support/http2-client.js';

const echo = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void => {
  const parts: Buffer[] = [];
  let sent: http2.IncomingHttpHeaders = {};
  stream.on('trailers', (one) => (sent = one));
  stream.on('data', (part: Buffer) => parts.push(part));
  stream.on('end', () => {
    stream.additionalHeaders({ ':status': 103, link: '</a>' });
    stream.respond(
      { ':status': 200, 'x-upstream': 'h2', 'set-cookie': ['a=1', 'b=2'] },
      { waitForTrailers: true },
    );
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-got': String(sent['x-sum'] ?? '') }));
    stream.end(JSON.stringify({ headers, body: Buffer.concat(parts).toString('latin1') }));
  });
};

test('HTTP/2 from end to end: bodies, trailers, interim responses, cookies', async (t) => {
  const upstream = await http2Upstream(t, echo);
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const session = connect(t, waypoint.port);
  const answer = await ask2(
    session,
    { ':method': 'POST', ':path': '/a/../b?c', te: 'trailers', cookie: 'a=b; c=d', 'x-list': ['1', '2'] },
    'body',
    { 'x-sum': '7' },
  );
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.interim, [103]);
  assert.equal(answer.trailers?.['x-got'], '7');
  assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2']);
  const { headers, body } = JSON.parse(answer.body) as EchoedRequest;
  assert.equal(body, 'body');
  assert.equal(headers[':path'], '/b?c');
  assert.equal(headers[':authority'], 'api.shop');
  assert.deepEqual([headers.te, headers.cookie, headers['x-list']], ['trailers', 'a=b; c=d', '1, 2']);
  const large = Buffer.alloc(5 << 20, 'x');
  const back = await ask2(session, { ':method': 'POST', ':path': '/' }, large);
  assert.equal((JSON.parse(back.body) as EchoedRequest).body.length, large.length);
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
});

test('HTTP/2 to an HTTP/1 endpoint, and HTTP/1 to an HTTP/2 endpoint', async (t) => {
  const one = await httpUpstream(t, (req, response) => {
    if (req.url === '/204') return void response.writeHead(204).end();
    if (req.url === '/304') return void response.writeHead(304, { etag: 'x' }).end();
    response.setHeader('x-bytes', Buffer.from([0xe4]).toString('latin1'));
    echoHandler('one')(req, response);
  });
  const down = await startWaypoint(t, { backends: { api: [one.port] }, protocol: 'http1' });
  const session = connect(t, down.port);
  const answer = await ask2(session, { ':method': 'POST', ':path': '/x', te: 'trailers' }, 'abc');
  const echoed = JSON.parse(answer.body) as EchoedRequest;
  assert.deepEqual([answer.status, echoed.body, echoed.headers.host], [200, 'abc', 'api.shop']);
  assert.equal(echoed.headers['transfer-encoding'], 'chunked');
  assert.equal(answer.headers.connection, undefined);
  assert.equal(answer.headers['transfer-encoding'], undefined);
  assert.equal((await ask2(session, { ':path': '/204' })).status, 204);
  assert.equal((await ask2(session, { ':path': '/304' })).status, 304);
  const head = await ask2(session, { ':method': 'HEAD', ':path': '/' });
  assert.deepEqual([head.status, head.body], [200, '']);

  const two = await http2Upstream(t, (stream, headers) => {
    if (headers[':path'] === '/204') {
      stream.respond({ ':status': 204 });
      stream.end();
    } else if (headers[':method'] === 'HEAD')
      stream.respond({ ':status': 200, 'content-length': 5 }, { endStream: true });
    else echo(stream, headers);
  });
  const up = await startWaypoint(t, { backends: { api: [two.port] }, protocol: 'http2' });
  const client = await RawClient.open(up.port);
  client.write('GET /204 HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.until((text) => text.endsWith('\r\n\r\n'));
  client.write('HEAD / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.until((text) => /200[^]*\r\n\r\n$/.test(text));
  client.write(
    'POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n',
  );
  await client.untilClosed();
  const answers = client.text.split(/(?=HTTP\/1\.1 \d)/);
  assert.deepEqual(
    answers.map((text) => text.slice(9, 12)),
    ['204', '200', '103', '200'],
  );
  assert.doesNotMatch(answers[0] ?? '', /transfer-encoding|content-length|0\r\n\r\n$/);
  assert.match(answers[1] ?? '', /content-length: 5\r\n[^]*\r\n\r\n$/);
  assert.match(answers[3] ?? '', /"body":"abc"[^]*0\r\nx-got: 9\r\n\r\n$/);
});

test('gRPC: unary calls, bidirectional streams, deadlines, refusals with a status', async (t) => {
  const bytes = {
    requestSerialize: (value: Buffer) => value,
    requestDeserialize: (value: Buffer) => value,
    responseSerialize: (value: Buffer) => value,
    responseDeserialize: (value: Buffer) => value,
  };
  const definition = {
    Unary: { path: '/shop.Api/Unary', requestStream: false, responseStream: false, ...bytes },
    Chat: { path: '/shop.Api/Chat', requestStream: true, responseStream: true, ...bytes },
    Hang: { path: '/shop.Api/Hang', requestStream: false, responseStream: false, ...bytes },
    Nowhere: { path: '/none.Api/Nowhere', requestStream: false, responseStream: false, ...bytes },
  } as const;
  const server = new grpc.Server();
  let canceled = 0;
  server.addService(definition, {
    Unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      if (call.request.toString() === 'fail') return done({ code: grpc.status.ABORTED, details: 'no' });
      const trailers = new grpc.Metadata();
      trailers.set('x-after', 'yes');
      done(null, Buffer.concat([call.request, Buffer.from('!')]), trailers);
    },
    Chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (value: Buffer) => call.write(Buffer.from(value.toString().toUpperCase())));
      call.on('end', () => call.end());
    },
    Hang: (call: grpc.ServerUnaryCall<Buffer, Buffer>) => void call.on('cancelled', () => canceled++),
    Nowhere: () => undefined,
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, at) =>
      error ? reject(error) : resolve(at),
    ),
  );
  t.after(() => server.forceShutdown());
  for (const protocol of ['unknown', 'grpc'] as const) {
    const waypoint = await startWaypoint(t, {
      backends: { api: [port] },
      protocol,
      routes: [
        route(
          'r',
          [
            {
              matches: [{ path: { kind: 'prefix', value: '/shop.Api' }, headers: [], query: [] }],
              backends: [backend('api')],
            },
          ],
          {
            kind: 'grpc',
          },
        ),
      ],
    });
    const Client = grpc.makeGenericClientConstructor(definition, 'Api');
    const client = new Client(`127.0.0.1:${waypoint.port}`, grpc.credentials.createInsecure());
    t.after(() => client.close());
    const call = (name: string, text: string, ms = 5_000): Promise<string> =>
      new Promise((resolve, reject) => {
        (client[name] as (v: Buffer, o: object, d: (e: Error | null, v?: Buffer) => void) => void).call(
          client,
          Buffer.from(text),
          { deadline: Date.now() + ms },
          (error, value) => (error ? reject(error) : resolve(String(value))),
        );
      });
    assert.equal(await call('Unary', 'hi'), 'hi!');
    assert.equal((await call('Unary', 'x'.repeat(1 << 20))).length, (1 << 20) + 1);
    await assert.rejects(call('Unary', 'fail'), { code: grpc.status.ABORTED, details: 'no' });
    await assert.rejects(call('Nowhere', 'x'), { code: grpc.status.UNIMPLEMENTED });
    const before = canceled;
    await assert.rejects(call('Hang', 'x', 200), { code: grpc.status.DEADLINE_EXCEEDED });
    await eventually(() => canceled === before + 1, 'the server sees the cancellation');
    const chat = (client['Chat'] as () => grpc.ClientDuplexStream<Buffer, Buffer>).call(client);
    const got: string[] = [];
    chat.on('data', (value: Buffer) => got.push(value.toString()));
    for (const word of ['a', 'b', 'c']) {
      chat.write(Buffer.from(word));
      await eventually(() => got.at(-1) === word.toUpperCase(), 'a response to each word');
    }
    chat.end();
    await new Promise((resolve) => chat.on('status', resolve));
    assert.deepEqual(got, ['A', 'B', 'C']);
    await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
    assert.deepEqual(
      waypoint.records.map(({ protocol: spoken, grpcStatus }) => [spoken, grpcStatus]).slice(0, 4),
      [
        ['grpc', '0'],
        ['grpc', '0'],
        ['grpc', '10'],
        ['grpc', '12'],
      ],
    );
  }
});

test('a drain sends GOAWAY; open streams go on', async (t) => {
  const held: http2.ServerHttp2Stream[] = [];
  const upstream = await http2Upstream(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('a');
    held.push(stream);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const session = connect(t, waypoint.port);
  let goaway = 0;
  session.on('goaway', () => goaway++);
  const answer = ask2(session, { ':path': '/' });
  await eventually(() => held.length === 1, 'the request is under way');
  for (const connection of waypoint.context.connections) connection.drain();
  // The first one accepts requests that are under way; another one with the last stream may follow (RFC 9113, section 6.8).
  await eventually(() => goaway >= 1, 'GOAWAY');
  held[0]?.end('b');
  assert.equal((await answer).body, 'ab');
  await eventually(() => waypoint.context.connections.size === 0, 'the connection ends with its last stream');
});

/** Sends frames after the preface; resolves with the bytes that arrived when the connection closes, when they are enough, or after `ms`. */
async function frames(
  port: number,
  bytes: readonly Buffer[],
  ms = 300,
  isEnough: (raw: Buffer) => boolean = () => false,
): Promise<{ raw: Buffer; closed: boolean }> {
  const client = await RawClient.open(port);
  client.write(Buffer.concat([preface, settings, settingsAck]));
  for (const one of bytes) client.write(one);
  const end = Date.now() + ms;
  const received = (): Buffer => Buffer.from(client.text, 'latin1');
  while (client.closed === undefined && Date.now() < end && !isEnough(received()))
    await new Promise((resolve) => setTimeout(resolve, 10));
  const raw = received();
  const closed = client.closed !== undefined;
  client.socket.destroy();
  return { raw, closed };
}

test('an invalid HTTP/2 request is not forwarded', async (t) => {
  let seen = 0;
  const lines: string[] = [];
  const port = await rawUpstream(t, (socket) => {
    socket.on('data', (bytes: Buffer) => {
      seen++;
      lines.push(bytes.toString('latin1'));
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http1' });
  const good = pseudo();
  const bad: Record<string, [string, string][]> = {
    'space in the path': pseudo('/a b'),
    'line in the path': pseudo('/a HTTP/1.1\r\nHost: b\r\n\r\n'),
    fragment: pseudo('/a#b'),
    'raw bytes in the path': pseudo('/\xe4'),
    'path without slash': pseudo('a'),
    'empty path': pseudo(''),
    'URL as path': pseudo('http://other/'),
    'NUL escape': pseudo('/%00'),
    'asterisk of GET': pseudo('*'),
    'method that is not a token': pseudo('/', 'GE T'),
    'method with a line': pseudo('/', 'GET / HTTP/1.1\r\nX: y\r\n\r\nGET'),
    CONNECT: [
      [':method', 'CONNECT'],
      [':authority', 'a:443'],
    ],
    'authority with a user': pseudo('/', 'GET', 'u@a'),
    'authority with a line': pseudo('/', 'GET', 'a\r\nX: y'),
    'another host': [...good, ['host', 'other']],
    'two hosts': [...good, ['host', 'api.shop'], ['host', 'other']],
    'path twice': [...good, [':path', '/x']],
    'path after headers': [
      [':method', 'GET'],
      [':scheme', 'http'],
      ['a', 'b'],
      [':path', '/'],
      [':authority', 'a'],
    ],
    'no path': [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':authority', 'a'],
    ],
    'no method': [
      [':path', '/'],
      [':scheme', 'http'],
      [':authority', 'a'],
    ],
    'unknown pseudo-header': [...good, [':x', '/']],
    'status in a request': [...good, [':status', '200']],
    connection: [...good, ['connection', 'close']],
    'transfer-encoding': [...good, ['transfer-encoding', 'chunked']],
    'keep-alive': [...good, ['keep-alive', 'x']],
    upgrade: [...good, ['upgrade', 'h2c']],
    'proxy-connection': [...good, ['proxy-connection', 'x']],
    'te other than trailers': [...good, ['te', 'gzip']],
    'content-length without a body': [...good, ['content-length', '5']],
    'content-length that is not a number': [...good, ['content-length', 'x']],
    'content-length twice': [...good, ['content-length', '0'], ['content-length', '1']],
  };
  for (const [name, pairs] of Object.entries(bad)) {
    await frames(waypoint.port, [request(1, ...pairs)], 40);
    assert.equal(seen, 0, `${name}: ${lines.join()}`);
  }
  // The library removes such fields from the request and accepts it.
  const dropped: [string, string][] = [
    ['a b', 'evil'],
    ['a:b', 'evil'],
    ['a', 'evil\nX: y'],
    ['a', 'evil\rX: y'],
    ['a', 'evil\0'],
    ['a\r\nb', 'evil'],
    ['A', 'evil'],
  ];
  for (const field of dropped) {
    await frames(waypoint.port, [request(1, ...good, field)], 40);
    assert.doesNotMatch(lines.join(), /evil/, JSON.stringify(field));
  }
  seen = 0;
  const responds = (raw: Buffer): boolean =>
    framesOf(raw).some(({ type, stream }) => type === frameType.headers && stream === 1);
  const same = [request(1, ...good, ['host', 'API.shop.'])];
  const { raw } = await frames(waypoint.port, same, 30_000, responds);
  assert.equal(seen, 1, 'the same host twice is no fault');
  assert.ok(responds(raw));
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
});

test('attacks by frames end their connection, and nothing else', async (t) => {
  let seen = 0;
  const upstream = await httpUpstream(t, (req, response) => {
    seen++;
    response.on('error', () => undefined);
    req.resume();
    if (req.url !== '/hang') response.end('ok');
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http1' });
  const before = process.memoryUsage().rss;
  const rapid: Buffer[] = [];
  for (let i = 0; i < 5_000; i++) rapid.push(request(2 * i + 1, ...pseudo('/hang')), rst(2 * i + 1, 8));
  const reset = await frames(waypoint.port, [Buffer.concat(rapid)], 30_000);
  assert.ok(reset.closed, 'thousands of streams that are reset at once');
  assert.ok(seen < 4_000, `${seen} reached the endpoint`);
  await eventually(
    () => waypoint.context.exchanges.size === 0 && waypoint.context.connections.size === 0,
    'nothing is left open',
  );

  const part = block(...Array.from({ length: 20 }, (_, i): [string, string] => [`x${i}`, 'y'.repeat(500)]));
  const flood = [frame(frameType.headers, 0, 1, block(...pseudo()))];
  for (let i = 0; i < 2_000; i++) flood.push(frame(frameType.continuation, 0, 1, part));
  assert.ok((await frames(waypoint.port, flood, 30_000)).closed, 'endless headers');
  const empty = [frame(frameType.headers, 0, 1, block(...pseudo()))];
  for (let i = 0; i < 50_000; i++) empty.push(frame(frameType.continuation, 0, 1));
  assert.ok((await frames(waypoint.port, [Buffer.concat(empty)], 30_000)).closed, 'empty continuations');

  // One entry of HPACK's table, referenced thousands of times by one byte each.
  const bomb = Buffer.concat([
    block(...pseudo()),
    Buffer.from([0x40, 1]),
    Buffer.from('x'),
    Buffer.from([0x7f, 0x81, 0x1e]),
    Buffer.alloc(4_000, 'y'),
    Buffer.alloc(10_000, 0x80 | 62),
  ]);
  const seenBefore = seen;
  await frames(waypoint.port, [frame(frameType.headers, endHeaders | endStream, 1, bomb)], 300);
  assert.equal(seen, seenBefore, 'a header bomb is not forwarded');
  const many = block(...pseudo(), ...Array.from({ length: 300 }, (_, i): [string, string] => [`x${i}`, '1']));
  await frames(waypoint.port, [frame(frameType.headers, endHeaders | endStream, 1, many)], 200);
  assert.equal(seen, seenBefore, 'too many headers are not forwarded');

  const pings = await frames(
    waypoint.port,
    [Buffer.concat(Array.from({ length: 50_000 }, () => frame(frameType.ping, 0, 0, Buffer.alloc(8))))],
    2_000,
  );
  assert.ok(pings.raw.length <= 50_000 * 17 + 1_000);
  await frames(
    waypoint.port,
    [
      Buffer.concat(
        Array.from({ length: 20_000 }, () =>
          frame(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, 3]), u32(5)])),
        ),
      ),
    ],
    2_000,
  );
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
  const session = connect(t, waypoint.port);
  assert.equal((await ask2(session, { ':path': '/' })).body, 'ok', 'other clients are served');
  assert.ok(process.memoryUsage().rss - before < 300e6);
});

test('an invalid HTTP/2 response fails that response, not the waypoint', async (t) => {
  const head = (stream: number, flags: number, ...pairs: [string, string][]): Buffer =>
    frame(frameType.headers, endHeaders | flags, stream, block(...pairs));
  const ok: [string, string] = [':status', '200'];
  const data = (stream: number, text: string, flags = 0): Buffer =>
    frame(frameType.data, flags, stream, Buffer.from(text));
  const table: Record<string, (stream: number) => Buffer> = {
    'status 700': (s) => head(s, endStream, [':status', '700']),
    'status 999': (s) => head(s, 0, [':status', '999']),
    'status 000': (s) => head(s, endStream, [':status', '000']),
    'status 101': (s) => head(s, 0, [':status', '101']),
    'no status': (s) => head(s, endStream, ['a', 'b']),
    'upper case': (s) => head(s, endStream, ok, ['A', 'b']),
    connection: (s) => head(s, endStream, ok, ['connection', 'close']),
    'more than the length': (s) =>
      Buffer.concat([head(s, 0, ok, ['content-length', '2']), data(s, 'abc', endStream)]),
    'less than the length': (s) =>
      Buffer.concat([head(s, 0, ok, ['content-length', '5']), data(s, 'abc', endStream)]),
    'reset within the body': (s) => Buffer.concat([head(s, 0, ok), data(s, 'abc'), rst(s, 2)]),
    'reset at once': (s) => rst(s, 2),
    'endless interim responses': (s) =>
      Buffer.concat(Array.from({ length: 50 }, () => head(s, 0, [':status', '103']))),
  };
  for (const [name, answer] of Object.entries(table)) {
    const waypoint = await startWaypoint(t, {
      backends: { api: [await frameUpstream(t, answer)] },
      protocol: 'http2',
    });
    const client = await RawClient.open(waypoint.port);
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    await client.untilClosed(name);
    assert.doesNotMatch(client.text, /set-cookie|101 Sw/);
    const refused = ({ status }: { readonly status: number }): void => {
      if (status >= 500) throw new Error('refused');
    };
    await assert.rejects(ask(waypoint.port).then(refused), name);
    await assert.rejects(ask2(connect(t, waypoint.port), { ':path': '/' }).then(refused), name);
    await eventually(() => waypoint.context.exchanges.size === 0, `${name}: no exchange is left`);
  }
  const refusing = await frameUpstream(t, (s) => rst(s, 7));
  const good = await http2Upstream(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('good');
  });
  const waypoint = await startWaypoint(t, { backends: { api: [refusing, good.port] }, protocol: 'http2' });
  for (let i = 0; i < 10; i++) {
    const { status } = await ask2(connect(t, waypoint.port), { ':method': 'POST', ':path': '/' }, 'x');
    assert.ok(
      status === 200 || status === 503,
      'a request that an endpoint refuses unprocessed may be retried elsewhere',
    );
  }
});

test('a stream with a complete response does not wait for the rest of its request', async (t) => {
  const port = await rawResponder(t, 'HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno');
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http1' });
  const session = connect(t, waypoint.port);
  const stream = session.request(
    { ':method': 'POST', ':path': '/', ':authority': 'a' },
    { endStream: false },
  );
  stream.on('error', () => undefined);
  let body = '';
  let status = 0;
  stream.on('response', (headers) => (status = Number(headers[':status'])));
  stream.on('data', (part: Buffer) => (body += part.toString()));
  stream.write('abc');
  await new Promise((resolve) => stream.on('end', resolve));
  assert.deepEqual([status, body], [413, 'no']);
  await eventually(() => stream.closed && waypoint.context.exchanges.size === 0, 'the stream has ended');
  assert.equal(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
});
