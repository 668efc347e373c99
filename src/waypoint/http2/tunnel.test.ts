/** HTTP/2 through tunnels on both sides of the waypoint, in one process with real TLS. */
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';
import { svidOf } from '../../../test/support/hbone.js';
import { ask2, frameUpstream } from '../../../test/support/http2-client.js';
import { block, endHeaders, frame, frameType, u32 } from '../../../test/support/http2-frames.js';
import { id } from '../../../test/support/mesh.js';
import { pool, tunnelTestbed } from '../../../test/support/tunnels.js';
import { eventually, startWaypoint } from '../../../test/support/waypoint.js';
import { clientOf } from '../listener/client.js';
import { serveConnection } from '../listener/connection.js';

test('requests over tunnels: bodies, trailers, the end of the tunnel', async (t) => {
  const endpoint = http2.createServer();
  endpoint.on('stream', (stream) => {
    stream.on('error', () => undefined);
    let bytes = 0;
    stream.on('data', (part: Buffer) => (bytes += part.length));
    stream.on('end', () => {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-bytes': String(bytes) }));
      stream.end(Buffer.alloc(300_000, 'y'));
    });
  });
  const node = await tunnelTestbed((tunnel) => void endpoint.emit('connection', tunnel.accept()));
  const upstream = pool();
  const waypoint = await startWaypoint(t, {
    backends: { api: [80] },
    protocol: 'http2',
    dial: () => async () => (await upstream.open(node.request())).stream,
  });
  const front = await tunnelTestbed(
    (tunnel) =>
      void serveConnection(
        waypoint.context,
        () => tunnel.accept(),
        clientOf(tunnel.peer, tunnel.remote),
        waypoint.destination,
      ),
    {},
    svidOf(id('db')),
  );
  const tunnel = await pool().open(front.request());
  const session = http2.connect('http://api.shop', { createConnection: () => tunnel.stream });
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  for (const size of [1, 100_000, 3_000_000]) {
    const response = await ask2(session, { ':method': 'POST', ':path': '/' }, Buffer.alloc(size, 'x'));
    assert.deepEqual(
      [response.status, response.body.length, response.trailers?.['x-bytes']],
      [200, 300_000, String(size)],
    );
  }
  const many = await Promise.all(
    Array.from({ length: 50 }, () => ask2(session, { ':method': 'POST', ':path': '/' }, 'x')),
  );
  assert.ok(many.every(({ status, body }) => status === 200 && body.length === 300_000));
  await eventually(() => waypoint.context.exchanges.size === 0, 'no request is left');
  assert.deepEqual(
    waypoint.records.slice(0, 3).map(({ bytesReceived, bytesSent }) => [bytesReceived, bytesSent]),
    [
      [1, 300_000],
      [100_000, 300_000],
      [3_000_000, 300_000],
    ],
  );
  session.destroy();
  await eventually(() => waypoint.context.connections.size === 0, 'the connection ends');
  assert.equal(waypoint.context.connectionShares.size, 0);
});

test('what an endpoint sends ahead of a reset reaches a client of HTTP/1.1, also if both arrive at once', async (t) => {
  const port = await frameUpstream(t, (stream) =>
    Buffer.concat([
      frame(frameType.headers, endHeaders, stream, block([':status', '200'])),
      frame(frameType.data, 0, stream, Buffer.from('part')),
      frame(frameType.rst, 0, stream, u32(2)),
    ]),
  );
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http2' });
  const front = await tunnelTestbed(
    (tunnel) =>
      void serveConnection(
        waypoint.context,
        () => tunnel.accept(),
        clientOf(tunnel.peer, tunnel.remote),
        waypoint.destination,
      ),
    {},
    svidOf(id('db')),
  );
  const { stream } = await pool().open(front.request());
  let text = '';
  stream.on('data', (bytes: Buffer) => (text += bytes.toString()));
  stream.on('error', () => undefined);
  const closed = new Promise((resolve) => stream.once('close', resolve));
  stream.write('GET / HTTP/1.1\r\nHost: api.shop\r\n\r\n');
  await closed;
  assert.equal(text, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n');
});
