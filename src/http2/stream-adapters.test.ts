/** A stream as a Duplex and as a transport, over two connections on one TCP connection. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import { until } from '../base/wait.js';
import { errorCode } from './codes.js';
import { createConnection } from './connection.js';
import type { ConnectionListener, ConnectionOptions, Http2Connection, Http2Stream } from './http2.js';
import { SocketTransport } from './socket-transport.js';
import { StreamDuplex } from './stream-duplex.js';
import { StreamTransport } from './stream-transport.js';
import { UnreadBytes, unreadBytesMax } from './unread-bytes.js';

const options: Omit<ConnectionOptions, 'role'> = {
  maxConcurrentStreams: 100,
  streamWindowBytes: 1 << 20,
  connectionWindowBytes: 4 << 20,
  frameBytesMax: 16_384,
  headerListBytesMax: 16_384,
  headerFieldsMax: 100,
  backlogBytesMax: 64 << 10,
  settingsTimeoutMsMax: 0,
  headerBlockTimeoutMsMax: 0,
};
const request = [':method', 'CONNECT', ':authority', '10.0.0.1:80'];

interface Pair {
  readonly client: Http2Connection;
  /** Opens a stream. Both ends as Duplexes. */
  open(unread?: UnreadBytes): Promise<{ near: StreamDuplex; far: StreamDuplex }>;
}

async function pair(t: TestContext): Promise<Pair> {
  const listener = net.createServer({ noDelay: true });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const socket = net.connect({ port: (listener.address() as net.AddressInfo).port, noDelay: true });
  const [[accepted]] = (await Promise.all([once(listener, 'connection'), once(socket, 'connect')])) as [
    [net.Socket],
    unknown,
  ];
  t.after(() => {
    socket.destroy();
    accepted.destroy();
    listener.close();
  });
  let onStream: (stream: Http2Stream) => void = () => undefined;
  const server: ConnectionListener = {
    onStream: (stream) => onStream(stream),
    onSettings: () => undefined,
    onGoAway: () => undefined,
    onStreamClosed: () => undefined,
    onClose: () => undefined,
  };
  createConnection(new SocketTransport(accepted), { ...options, role: 'server' }, server);
  const client = createConnection(
    new SocketTransport(socket),
    { ...options, role: 'client' },
    { ...server, onStream: () => undefined },
  );
  const open = (unread = new UnreadBytes()): Promise<{ near: StreamDuplex; far: StreamDuplex }> =>
    new Promise((resolve) => {
      onStream = (far) => {
        far.respond([':status', '200'], false);
        const duplex = new StreamDuplex(far, unread);
        resolve({ near: new StreamDuplex(near, new UnreadBytes()), far: duplex });
      };
      const near = client.request(request, false) as Http2Stream;
    });
  return { client, open };
}

async function read(stream: StreamDuplex): Promise<number> {
  let bytes = 0;
  stream.on('data', (part: Buffer) => (bytes += part.length));
  await once(stream, 'end');
  return bytes;
}
const closed = async (stream: StreamDuplex): Promise<void> => {
  // Not by `once` of node:events, which rejects on an error that precedes it.
  if (!stream.closed) await new Promise((resolve) => stream.once('close', resolve));
};

test('both directions end separately and in order; the streams close', async (t) => {
  const { client, open } = await pair(t);
  const { near, far } = await open();
  far.on('data', (bytes: Buffer) => far.write(bytes));
  far.on('end', () => far.end('bye'));
  const bytes = read(near);
  near.end(Buffer.alloc(3 << 20));
  assert.equal(await bytes, (3 << 20) + 3);
  await Promise.all([closed(near), closed(far)]);
  for (const end of [near, far]) {
    assert.equal(end.inOrder, true);
    assert.equal(end.wasReset, false);
  }
  assert.equal(client.openStreams, 0);
});

test('a writer waits for a reader that reads nothing, and goes on when it reads', async (t) => {
  const { open } = await pair(t);
  const { near, far } = await open();
  far.pause();
  let written = 0;
  const block = Buffer.alloc(64 << 10);
  const fill = (): void => {
    while (written < 64 << 20) {
      written += block.length;
      if (!near.write(block)) return;
    }
    near.end();
  };
  near.on('drain', fill);
  fill();
  await new Promise((resolve) => setTimeout(resolve, 200));
  const stopped = written;
  assert.ok(stopped < 8 << 20, `${stopped} bytes were written`);
  const bytes = read(far);
  far.resume();
  assert.equal(await bytes, 64 << 20);
});

test('what the peer sent before its reset is read first, by a reader that comes late', async (t) => {
  const { open } = await pair(t);
  const { near, far } = await open();
  near.write(Buffer.alloc(500_000));
  await new Promise<void>((resolve) => near.whenFlushed(resolve));
  near.destroy();
  await until('the reset', 30_000, () => far.wasReset);
  assert.equal(far.destroyed, false);
  assert.equal(far.discardsWrites, true);
  assert.equal(far.write('lost'), true);
  assert.equal(await read(far), 500_000);
  await closed(far);
  assert.equal(far.inOrder, false);
});

test('an end that precedes a reset stays an end', async (t) => {
  const { open } = await pair(t);
  const { near, far } = await open();
  near.end('all');
  await new Promise<void>((resolve) => near.whenFlushed(resolve));
  near.destroy();
  await until('the reset', 30_000, () => far.discardsWrites);
  assert.equal(far.wasReset, false);
  assert.equal(await read(far), 3);
  await closed(far);
  assert.equal(far.inOrder, false, 'the own direction was not complete');
});

test('unread bytes of reset streams are limited together; a stream beyond the limit loses them at once', async (t) => {
  const { open } = await pair(t);
  const unread = new UnreadBytes();
  assert.equal(unread.take(unreadBytesMax - 1_000), true);
  const { near, far } = await open(unread);
  near.write(Buffer.alloc(2_000));
  await new Promise<void>((resolve) => near.whenFlushed(resolve));
  near.destroy();
  await closed(far);
  assert.equal(far.destroyed, true);
  unread.release(unreadBytesMax - 1_000);
  assert.equal(unread.take(unreadBytesMax), true, 'nothing else is taken');
});

test('a lost connection ends its streams without an unhandled error', async (t) => {
  const { client, open } = await pair(t);
  const { near, far } = await open();
  near.write('x');
  // Unread bytes would be held for their reader.
  far.resume();
  client.destroy(errorCode.internal);
  await Promise.all([closed(near), closed(far)]);
  near.write('y');
  near.end();
});

test('a detached stream has what was received and not read, in order with what follows', async (t) => {
  const { open } = await pair(t);
  const { near, far } = await open();
  near.write('first ');
  const [head] = (await once(far, 'data')) as [Buffer];
  far.pause();
  far.unshift(head);
  near.end('second');
  await new Promise((resolve) => setTimeout(resolve, 20));
  const transport = new StreamTransport(far.detach());
  assert.equal(transport.depth, 1);
  let text = '';
  let ended = 0;
  const gone = new Promise<string | undefined>((resolve) => {
    transport.listener = {
      onData: (bytes) => void (text += bytes.toString()),
      onDrain: () => undefined,
      onEnd: () => ended++,
      onClose: resolve,
    };
  });
  transport.write([Buffer.from('re'), Buffer.from('ply')]);
  transport.end();
  assert.equal((await near.toArray()).join(''), 'reply');
  assert.equal(await gone, undefined);
  assert.deepEqual([text, ended], ['first second', 1]);
});

test('a stream that is reset while a transport is paused passes on its bytes before its end', async (t) => {
  const { open } = await pair(t);
  const { near, far } = await open();
  const transport = new StreamTransport(far.detach());
  const events: string[] = [];
  transport.listener = {
    onData: (bytes) => events.push(bytes.toString()),
    onDrain: () => undefined,
    onEnd: () => events.push('end'),
    onClose: () => events.push('closed'),
  };
  transport.pause();
  near.write('x');
  await new Promise<void>((resolve) => near.whenFlushed(resolve));
  near.destroy();
  await until('the reset', 30_000, () => events.includes('closed'));
  assert.deepEqual(events, ['x', 'closed']);
  assert.equal(transport.isOpen, false);
});

test('a transport of a stream that was reset before anybody listened closes', async (t) => {
  const { open } = await pair(t);
  const { near, far } = await open();
  const { stream, unread } = far.detach();
  near.destroy();
  await until('the reset', 30_000, () => stream.isClosed);
  const transport = new StreamTransport(new StreamDuplex(stream, unread).detach());
  const why = await new Promise<string | undefined>((resolve) => {
    transport.listener = {
      onData: () => undefined,
      onDrain: () => undefined,
      onEnd: () => undefined,
      onClose: resolve,
    };
  });
  assert.equal(why, 'the stream was reset');
  assert.equal(transport.isOpen, false);
});

test('a connection within a stream serves requests, and its end ends the stream', async (t) => {
  const { client, open } = await pair(t);
  const { near, far } = await open();
  const bodies: string[] = [];
  const listener: ConnectionListener = {
    onStream: (stream) => {
      stream.listener = {
        onInterim: () => undefined,
        onHead: () => undefined,
        onData: (bytes) => void stream.write(bytes),
        onEnd: () => stream.end(),
        onDrain: () => undefined,
        onReset: () => undefined,
      };
      stream.respond([':status', '200'], false);
    },
    onSettings: () => undefined,
    onGoAway: () => undefined,
    onStreamClosed: () => undefined,
    onClose: () => undefined,
  };
  createConnection(new StreamTransport(far.detach()), { ...options, role: 'server' }, listener);
  const inner = createConnection(
    new StreamTransport(near.detach()),
    { ...options, role: 'client' },
    { ...listener, onStream: () => undefined },
  );
  await Promise.all(
    Array.from({ length: 20 }, (_, i) => {
      const stream = inner.request(
        [':method', 'POST', ':scheme', 'http', ':path', '/', ':authority', 'a'],
        false,
      ) as Http2Stream;
      let body = '';
      return new Promise<void>((resolve, reject) => {
        stream.listener = {
          onInterim: () => undefined,
          onHead: () => undefined,
          onData: (bytes) => void (body += bytes.toString()),
          onEnd: () => {
            bodies.push(body);
            resolve();
          },
          onDrain: () => undefined,
          onReset: ({ why }) => reject(new Error(why)),
        };
        stream.write(Buffer.from(`${i}`));
        stream.end();
      });
    }),
  );
  assert.equal(bodies.length, 20);
  inner.drain();
  await until('the outer stream is closed', 30_000, () => client.openStreams === 0);
});
