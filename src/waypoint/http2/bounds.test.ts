import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test, type TestContext } from 'node:test';
import { ask2, connect, frameUpstream } from '../../../test/support/http2-client.js';
import { block, endHeaders, endStream, frame, frameType, rst } from '../../../test/support/http2-frames.js';
import {
  eventually,
  http2Upstream,
  httpUpstream,
  RawClient,
  startWaypoint,
  echoHandler,
} from '../../../test/support/waypoint.js';
import { blockFault } from './head.js';
import { defaultLimits } from '../limits.js';

/** An endpoint whose own limits are higher than the waypoint's. */
const roomy = { maxHeaderListPairs: 5_000, maxSendHeaderBlockLength: 1 << 22 } as http2.ServerOptions;
const fields = (count: number, bytes = 1): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, 'y'.repeat(bytes)]));

/** A client whose own limits are higher than the waypoint's. */
function generous(t: TestContext, port: number): http2.ClientHttp2Session {
  const session = http2.connect(`http://127.0.0.1:${port}`, {
    maxSendHeaderBlockLength: 1 << 22,
    maxHeaderListPairs: 5_000,
    settings: { maxHeaderListSize: 1 << 22 },
  });
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  return session;
}

test('a header block is limited by its fields and bytes', () => {
  const limits = { ...defaultLimits, headersMax: 2, headBytesMax: 100 };
  assert.equal(
    blockFault([':path', '/', ':method', 'GET', 'a', 'b', 'c', 'd'], { ...limits, headBytesMax: 1000 }),
    undefined,
  );
  assert.match(blockFault(['a', 'b', 'c', 'd', 'e', 'f'], limits) ?? '', /2 header fields/);
  assert.equal(blockFault(['a', 'x'.repeat(67)], limits), undefined);
  assert.match(blockFault(['a', 'x'.repeat(68)], limits) ?? '', /100 bytes/);
});

test('a head beyond the limits gets 431, and its connection goes on', async (t) => {
  const upstream = await http2Upstream(
    t,
    (stream) => {
      stream.resume();
      stream.respond({ ':status': 200 });
      stream.end('ok');
    },
    roomy,
  );
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const session = generous(t, waypoint.port);
  assert.equal((await ask2(session, { ':path': '/', ...fields(190) })).status, 200);
  for (const [count, bytes] of [
    [250, 1],
    [1_500, 1],
    [100, 1_000],
    [2, 50_000],
  ] as const) {
    const { status } = await ask2(session, { ':path': '/', ...fields(count, bytes) });
    assert.equal(status, 431, `${count} of ${bytes} bytes`);
    assert.equal((await ask2(session, { ':path': '/' })).body, 'ok', 'the connection goes on');
  }
  assert.equal(
    (await ask2(session, { ':method': 'POST', ':path': '/', ...fields(250) }, 'body')).status,
    431,
  );
  // A block beyond the library's own limits resets the stream, and the connection goes on.
  await assert.rejects(ask2(session, { ':path': '/', ...fields(2_500) }), /ENHANCE_YOUR_CALM/);
  assert.equal((await ask2(session, { ':path': '/' })).body, 'ok');
  assert.equal((await ask2(session, { ':method': 'POST', ':path': '/' }, 'b', fields(190))).status, 200);
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
});

test('a response beyond the limits becomes 502, and its connection goes on', async (t) => {
  const sessions = new Set<unknown>();
  const upstream = await http2Upstream(
    t,
    (stream, headers) => {
      sessions.add(stream.session);
      stream.resume();
      const path = String(headers[':path']);
      const [, kind, count, bytes] = path.split('/');
      const large = kind === 'small' ? {} : fields(Number(count), Number(bytes));
      if (kind === 'interim') stream.additionalHeaders({ ':status': 103, ...large });
      stream.respond({ ':status': 200, ...(kind === 'head' ? large : {}) }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers(kind === 'trailers' ? large : { 'x-sum': '1' }));
      stream.end('ok');
    },
    roomy,
  );
  upstream.server.on('session', (session: http2.ServerHttp2Session) => session.setMaxListeners(100));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http2' });
  const session = connect(t, waypoint.port);
  assert.equal((await ask2(session, { ':path': '/small' })).body, 'ok');
  for (const size of ['250/1', '1500/1', '50/1230']) {
    for (const kind of ['head', 'interim']) {
      const { status } = await ask2(session, { ':path': `/${kind}/${size}` });
      assert.equal(status, 502, `${kind}/${size}`);
      assert.equal(waypoint.records.at(-1)?.code, 'WEFT_UPSTREAM_PROTOCOL');
    }
    await assert.rejects(
      ask2(session, { ':path': `/trailers/${size}` }),
      /INTERNAL_ERROR/,
      'a partial response does not look complete',
    );
    assert.equal((await ask2(session, { ':path': '/small' })).body, 'ok');
  }
  assert.equal(sessions.size, 1, 'the connection to the endpoint is the same');
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
});

test('request trailers beyond the limits end only that request', async (t) => {
  const upstream = await http2Upstream(t, (stream) => {
    stream.on('data', () => undefined);
    stream.on('end', () => {
      // Node.js reports a reset as an end, too.
      if (stream.destroyed) return;
      stream.respond({ ':status': 200 });
      stream.end('ok');
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http2' });
  const session = generous(t, waypoint.port);
  const answer = await ask2(session, { ':method': 'POST', ':path': '/' }, 'body', fields(250));
  assert.equal(answer.status, 400);
  assert.equal((await ask2(session, { ':method': 'POST', ':path': '/' }, 'body')).body, 'ok');
  await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
});

test('a head just below the limits is forwarded between HTTP/1 and HTTP/2, in both directions', async (t) => {
  const large = fields(55, 1_000);
  const two = await http2Upstream(
    t,
    (stream, headers) => {
      stream.resume();
      stream.respond({ ':status': 200, ...large });
      stream.end(String(Object.keys(headers).filter((name) => /^x-\d/.test(name)).length));
    },
    roomy,
  );
  const up = await startWaypoint(t, { backends: { api: [two.port] }, protocol: 'http2' });
  const client = await RawClient.open(up.port);
  const lines = Object.entries(large).map(([name, value]) => `${name}: ${value}\r\n`);
  client.write(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${lines.join('')}\r\n`);
  await client.untilClosed();
  assert.match(client.text, /^HTTP\/1\.1 200 [^]*x-54: y+\r\n[^]*55/);
  const one = await httpUpstream(t, (request, response) => {
    for (const [name, value] of Object.entries(large)) response.setHeader(name, value);
    echoHandler('one')(request, response);
  });
  const down = await startWaypoint(t, { backends: { api: [one.port] }, protocol: 'http1' });
  const answer = await ask2(generous(t, down.port), { ':path': '/' });
  assert.equal(answer.headers['x-54']?.length, 1_000);
});

test('resets that an endpoint caused do not count as the client’s', async (t) => {
  let streams = 0;
  const rounds = 1_500;
  const head = (stream: number, flags = 0): Buffer =>
    frame(frameType.headers, endHeaders | flags, stream, block([':status', '200']));
  const port = await frameUpstream(t, (stream) =>
    ++streams > rounds
      ? head(stream, endStream)
      : Buffer.concat([head(stream), frame(frameType.data, 0, stream, Buffer.from('half')), rst(stream, 2)]),
  );
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http2' });
  const session = connect(t, waypoint.port);
  for (let i = 0; i < rounds; i += 50) {
    const all = Array.from({ length: 50 }, () =>
      ask2(session, { ':path': '/' }).catch((error: Error) => error.message),
    );
    for (const one of await Promise.all(all))
      assert.match(typeof one === 'string' ? one : JSON.stringify(one), /INTERNAL_ERROR/);
  }
  assert.equal(streams, rounds);
  assert.equal((await ask2(session, { ':path': '/' })).status, 200, 'the connection goes on');
  assert.deepEqual(waypoint.unreadable, []);
});

test('requests that a client aborts by a protocol error count as its resets', async (t) => {
  let begun = 0;
  const one = await httpUpstream(t, () => begun++);
  const waypoint = await startWaypoint(t, { backends: { api: [one.port] }, protocol: 'http1' });
  const session = connect(t, waypoint.port);
  let statuses = 0;
  for (let i = 0; i < 1_500 && !session.closed && !session.destroyed; i += 50) {
    const all = Array.from({ length: 50 }, () => {
      if (session.closed || session.destroyed) return Promise.resolve();
      const request = session.request(
        { ':method': 'POST', ':path': '/', ':authority': 'api.shop' },
        { waitForTrailers: true },
      );
      request.on('wantTrailers', () => request.sendTrailers(fields(300)));
      request.on('response', () => statuses++);
      request.on('error', () => undefined);
      request.resume();
      request.end('x');
      return new Promise<void>((resolve) => request.once('close', () => resolve()));
    });
    await Promise.all(all);
  }
  assert.ok(statuses > 500, `${statuses} responses`);
  assert.ok(begun < 1_100, `${begun} requests were started`);
  assert.deepEqual(waypoint.unreadable.slice(-1), ['400 too many streams were reset']);
});
