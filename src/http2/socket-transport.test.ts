import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { eventually } from '../../test/support/eventually.js';
import { engineOn, listen } from '../../test/support/http2-engine.js';
import type { ConnectionEnd, ConnectionListener, TransportListener } from './http2.js';
import { SocketTransport } from './socket-transport.js';

const silent: ConnectionListener = {
  onStream: () => undefined,
  onSettings: () => undefined,
  onGoAway: () => undefined,
  onStreamClosed: () => undefined,
  onClose: () => undefined,
};

/** A server whose streams send a large response, and the ends of its connections. */
async function bulkServer(
  bytes: number,
): Promise<{ server: net.Server; port: number; ends: ConnectionEnd[] }> {
  const ends: ConnectionEnd[] = [];
  const server = net.createServer((socket) => {
    engineOn(
      socket,
      {
        ...silent,
        onStream: (stream) => {
          let left = bytes;
          const more = (): void => {
            while (left > 0) {
              const size = Math.min(left, 50_000);
              left -= size;
              if (!stream.write(Buffer.alloc(size, 'b'))) return;
            }
            stream.end(['x-sum', String(bytes)]);
          };
          stream.listener = {
            onInterim: () => undefined,
            onHead: () => undefined,
            onData: () => undefined,
            onEnd: () => undefined,
            onDrain: more,
            onReset: () => (left = 0),
          };
          stream.respond([':status', '200'], false);
          more();
        },
        onClose: (end) => ends.push(end),
      },
      'server',
    );
  });
  return { server, port: await listen(server), ends };
}

test('a slow reader of a large response is waited for, and loses nothing', async (t) => {
  const { server, port } = await bulkServer(20 << 20);
  t.after(() => server.close());
  const client = http2.connect(`http://127.0.0.1:${port}`, { settings: { initialWindowSize: 8 << 20 } });
  client.once('connect', () => client.setLocalWindowSize(16 << 20));
  const stream = client.request({ ':path': '/' });
  let got = 0;
  let pauses = 0;
  stream.on('data', (bytes: Buffer) => {
    got += bytes.length;
    if (got > (pauses + 1) * (2 << 20)) {
      pauses++;
      stream.pause();
      // Longer than the sockets have room for.
      setTimeout(() => stream.resume(), 5);
    }
  });
  const [[trailers]] = (await Promise.all([once(stream, 'trailers'), once(stream, 'end')])) as [
    [http2.IncomingHttpHeaders],
    unknown,
  ];
  assert.equal(got, 20 << 20);
  assert.equal(trailers['x-sum'], String(20 << 20));
  client.close();
});

test('a socket that is cut in the middle ends the connection, with the reason', async (t) => {
  const { server, port, ends } = await bulkServer(20 << 20);
  t.after(() => server.close());
  const socket = net.connect(port, '127.0.0.1');
  const client = http2.connect('http://a', { createConnection: () => socket });
  client.on('error', () => undefined);
  const stream = client.request({ ':path': '/' });
  stream.on('error', () => undefined);
  await once(stream, 'data');
  socket.resetAndDestroy();
  await eventually(() => ends.length > 0, 'the end of the connection');
  assert.equal(ends[0]?.kind, 'peer');
  assert.match(ends[0]?.why ?? '', /ECONNRESET|EPIPE/);
});

test('the backlog is full beyond the high-water mark, and drains', async () => {
  const pipe = new PassThrough({ writableHighWaterMark: 1 << 20, readableHighWaterMark: 1 });
  const transport = new SocketTransport(pipe);
  pipe.removeAllListeners('data').pause();
  const events: string[] = [];
  const note = (event: string) => () => void events.push(event);
  transport.listener = {
    onData: note('data'),
    onDrain: note('drain'),
    onEnd: note('end'),
    onClose: note('close'),
  } satisfies TransportListener;
  assert.equal(transport.write([Buffer.alloc(400_000), Buffer.alloc(400_000)]), true);
  assert.equal(transport.write([Buffer.alloc(400_000)]), false);
  pipe.resume();
  await once(pipe, 'drain');
  assert.deepEqual(events, ['drain']);
  transport.destroy();
  assert.equal(transport.isOpen, false);
  assert.equal(transport.write([Buffer.alloc(1)]), true);
  await once(pipe, 'close');
  assert.deepEqual(events, ['drain', 'close']);
});
