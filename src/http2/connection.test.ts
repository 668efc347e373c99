import { strict as assert } from 'node:assert';
import http2 from 'node:http2';
import net from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import { eventually } from '../../test/support/eventually.js';
import { createConnection } from './connection.js';
import type { ConnectionEnd, ConnectionListener, ConnectionOptions, Fields, Http2Stream } from './http2.js';
import { SocketTransport } from './socket-transport.js';

const options: ConnectionOptions = {
  role: 'server',
  maxConcurrentStreams: 200,
  streamWindowBytes: 1 << 20,
  connectionWindowBytes: 8 << 20,
  frameBytesMax: 16_384,
  headerListBytesMax: 64 << 10,
  headerFieldsMax: 200,
  backlogBytesMax: 256 << 10,
  settingsTimeoutMsMax: 5_000,
  headerBlockTimeoutMsMax: 5_000,
};

const idle: ConnectionListener = {
  onStream: () => undefined,
  onSettings: () => undefined,
  onGoAway: () => undefined,
  onStreamClosed: () => undefined,
  onClose: () => undefined,
};

/** Sends every request back: its method and path as headers, its body and trailers. */
function echo(stream: Http2Stream, fields: Fields, endStream: boolean): void {
  const valueOf = (name: string): string => fields[fields.indexOf(name) + 1] ?? '';
  stream.listener = {
    onInterim: () => undefined,
    onHead: () => undefined,
    onData: (bytes) => {
      if (!stream.write(bytes)) stream.pause();
    },
    onEnd: (trailers) => stream.end(trailers),
    onDrain: () => stream.resume(),
    onReset: () => undefined,
  };
  stream.respond([':status', '200', 'x-path', valueOf(':path')], endStream);
}

async function echoServer(): Promise<{ port: number; ends: ConnectionEnd[]; close: () => void }> {
  const ends: ConnectionEnd[] = [];
  const server = net.createServer((socket) => {
    createConnection(new SocketTransport(socket), options, {
      ...idle,
      onStream: echo,
      onClose: (end) => ends.push(end),
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as net.AddressInfo).port, ends, close: () => server.close() };
}

test('a server with a client of node:http2: bodies, trailers, many streams', async () => {
  const { port, ends, close } = await echoServer();
  const client = http2.connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 500 });
  const body = Buffer.alloc(3 << 20, 'abcdefg');
  await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const stream = client.request({ ':method': 'POST', ':path': `/${i}` }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': String(i) }));
      const head = once(stream, 'response');
      const trailers = once(stream, 'trailers');
      stream.end(body);
      const chunks: Buffer[] = [];
      stream.on('data', (bytes: Buffer) => chunks.push(bytes));
      const [headers] = (await head) as [http2.IncomingHttpHeaders];
      assert.equal(headers[':status'], 200);
      assert.equal(headers['x-path'], `/${i}`);
      const [got] = (await trailers) as [http2.IncomingHttpHeaders];
      assert.equal(got['x-sum'], String(i));
      assert.ok(Buffer.concat(chunks).equals(body));
    }),
  );
  client.close();
  await once(client, 'close');
  close();
  await eventually(() => ends.length > 0, 'the end of the connection');
  assert.deepEqual(
    ends.map(({ kind }) => kind),
    ['closed'],
  );
});

test('a client with a server of node:http2: bodies, trailers, interim responses', async () => {
  const server = http2.createServer();
  server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    stream.additionalHeaders({ ':status': 103, link: '</a>' });
    stream.respond({ ':status': 200, 'x-path': String(headers[':path']) }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.pipe(stream);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const closed = new Promise<ConnectionEnd>((resolve) => {
    const connection = createConnection(
      new SocketTransport(socket),
      { ...options, role: 'client' },
      { ...idle, onClose: resolve },
    );
    const body = Buffer.alloc(2 << 20, 'xyz');
    let left = 10;
    for (let i = 0; i < 10; i++) {
      const stream = connection.request(
        [':method', 'POST', ':scheme', 'http', ':path', `/${i}`, ':authority', 'a'],
        false,
      ) as Http2Stream;
      const events: string[] = [];
      const chunks: Buffer[] = [];
      stream.listener = {
        onInterim: (fields) => events.push(fields.join()),
        onHead: (fields) => events.push(fields.slice(0, 4).join()),
        onData: (bytes) => chunks.push(bytes),
        onEnd: (trailers) => {
          assert.deepEqual(events, [':status,103,link,</a>', `:status,200,x-path,/${i}`]);
          assert.deepEqual(trailers, ['grpc-status', '0']);
          assert.ok(Buffer.concat(chunks).equals(body));
          if (--left === 0) connection.drain();
        },
        onDrain: () => undefined,
        onReset: (reset) => assert.fail(reset.why),
      };
      stream.write(body);
      stream.end();
    }
  });
  assert.equal((await closed).kind, 'closed');
  server.close();
});
