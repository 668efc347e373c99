/** Clients that read their response after their upload, and the limits of the waypoint's lingering close. */
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import { anyRequest, policy } from '../../../test/support/mesh.js';
import {
  ask,
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  startWaypoint,
  echoHandler,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const denyPosts = policy('no-posts', 'deny', { http: { ...anyRequest, methods: ['POST'] } });
const head = (more = ''): string =>
  `POST / HTTP/1.1\r\nHost: api.shop\r\n${more}Content-Length: 1000000000\r\n\r\n`;

async function start(t: TestContext, options: Partial<WaypointOptions>): Promise<TestWaypoint> {
  const { port } = await httpUpstream(t, echoHandler('api'));
  return startWaypoint(t, { backends: { api: [port] }, protocol: 'http1', ...options });
}

/** A client that reads nothing until the test lets it, and that gives up when a write fails, as most libraries do. */
class Uploader {
  text = '';
  isOver = false;
  readonly socket: net.Socket;

  constructor(t: TestContext, port: number) {
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.socket.pause();
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => (this.isOver = true));
    t.after(() => this.socket.destroy());
  }

  /** Sends pieces with pauses in between, for longer than a second. */
  async trickle(): Promise<void> {
    for (let i = 0; i < 15; i++) {
      this.socket.write(Buffer.alloc(1 << 14, 'u'));
      await sleep(100);
    }
  }

  read(): Promise<string> {
    return new Promise((resolve) => {
      this.socket.on('data', (bytes: Buffer) => (this.text += bytes.toString('latin1')));
      this.socket.on('end', () => this.socket.destroy());
      this.socket.on('close', () => resolve(this.text));
      if (this.isOver) resolve(this.text);
      this.socket.resume();
    });
  }
}

const refusals: readonly [string, Partial<WaypointOptions>, string][] = [
  ['403 Forbidden', { policies: [denyPosts] }, head()],
  ['503 Service Unavailable', { backends: { api: [] } }, head()],
  ['408 Request Timeout', { limits: { bodyIdleMsMax: 100 } }, head()],
  ['431 Request Header Fields Too Large', {}, head(`x: ${'y'.repeat(70_000)}\r\n`)],
  ['400 Bad Request', {}, head('x y: z\r\n')],
];
for (const [status, options, text] of refusals) {
  test(`HTTP/1: a client that continues its upload for more than a second reads ${status} after it`, async (t) => {
    const waypoint = await start(t, options);
    const client = new Uploader(t, waypoint.port);
    client.socket.write(text);
    await eventually(() => waypoint.records.length + waypoint.unreadable.length === 1, 'the response');
    await client.trickle();
    const got = await client.read();
    assert.equal(got.split('\r\n', 1)[0], `HTTP/1.1 ${status}`);
    assert.match(got, /\r\nconnection: close\r\n/);
    await eventually(() => waypoint.context.connections.size === 0, 'the connection is over');
    assert.deepEqual(waypoint.limitsReached, []);
  });
}

for (const [status, options] of [
  [403, { policies: [denyPosts] }],
  [503, { backends: { api: [] } }],
  [408, { limits: { bodyIdleMsMax: 100 } }],
  [431, { limits: { headBytesMax: 200 } }],
] as const) {
  test(`HTTP/2: an upload gets ${status} and ends without an error, and the connection goes on`, async (t) => {
    const waypoint = await start(t, options);
    const session = http2.connect(`http://127.0.0.1:${waypoint.port}`);
    t.after(() => session.destroy());
    const stream = session.request({
      ':method': 'POST',
      ':path': '/',
      ':authority': 'api.shop',
      ...(status === 431 ? { x: 'y'.repeat(300) } : {}),
    });
    let got = 0;
    stream.on('response', (headers) => (got = Number(headers[':status'])));
    stream.on('error', () => undefined);
    stream.resume();
    const closed = new Promise((resolve) => stream.once('close', resolve));
    const more = (): void =>
      void (!stream.destroyed && stream.write(Buffer.alloc(1 << 14), () => setImmediate(more)));
    if (status !== 408) more();
    await closed;
    assert.equal(got, status);
    assert.equal(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
    assert.ok(!session.destroyed);
  });
}

test('discarding an upload after its response is limited in bytes and in time', async (t) => {
  for (const limits of [{ discardBytesMax: 1 << 20 }, { discardMsMax: 200 }]) {
    const waypoint = await start(t, { policies: [denyPosts], limits });
    const client = new Uploader(t, waypoint.port);
    client.socket.write(head());
    let isServed = true;
    const more = (): void =>
      void (isServed && client.socket.write(Buffer.alloc(1 << 16), () => setImmediate(more)));
    more();
    await eventually(() => waypoint.limitsReached.length > 0, 'the connection was cut').finally(
      () => (isServed = false),
    );
    await eventually(() => waypoint.context.connections.size === 0, 'the connection is over');
    assert.deepEqual(waypoint.limitsReached, ['linger'], JSON.stringify(limits));
  }
});

test('a client that stops sending and keeps its half open is disconnected, which does not count as a limit', async (t) => {
  const waypoint = await start(t, { policies: [denyPosts], limits: { discardIdleMsMax: 100 } });
  const client = new Uploader(t, waypoint.port);
  client.socket.write(head());
  await eventually(
    () => waypoint.records.length === 1 && waypoint.context.connections.size === 0,
    'the client is disconnected',
  );
  assert.deepEqual(waypoint.limitsReached, []);
});

test('a response that begins before its upload’s end announces the connection’s close', async (t) => {
  const server = await rawUpstream(t, (socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [server] }, protocol: 'http1' });
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  client.write(head());
  const text = await client.until((so) => so.endsWith('ok'), 'the response');
  assert.match(text, /\r\nconnection: close\r\n/);
  assert.equal(await client.untilClosed(), 'end');
  assert.equal((await ask(waypoint.port)).headers.connection, 'close', 'the test client asks for it');
});

test('after a response that began before a drain, one more request is served as the last', async (t) => {
  let end: (() => void) | undefined;
  const server = await rawUpstream(t, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha');
      end = () => void socket.write('lf');
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [server] }, protocol: 'http1' });
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.until((text) => text.endsWith('ha'), 'the first half');
  for (const connection of waypoint.context.connections) connection.drain();
  end?.();
  const first = await client.until((text) => text.endsWith('half'), 'the first response');
  assert.doesNotMatch(first, /connection: close/);
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const second = await client.until((text) => text.endsWith('ok'), 'the second response');
  assert.match(second, /\r\nconnection: close\r\n/);
  assert.equal(await client.untilClosed(), 'end');
});
