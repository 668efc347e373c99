import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type http from 'node:http';
import http2 from 'node:http2';
import { test, type TestContext } from 'node:test';
import { mirrorTo } from '../../../test/support/filters.js';
import {
  ask,
  backend,
  deadPort,
  eventually,
  http2Upstream,
  httpUpstream,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  echoHandler,
  askEcho,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import { mirrorBlockBytes } from './mirror-buffer.js';

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const body = (bytes: number): Buffer => Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 31) % 251));
const mirrored = (more: Partial<WaypointOptions> = {}): Pick<WaypointOptions, 'routes'> & typeof more => ({
  routes: [route('r', [{ filters: [mirrorTo(backend('copy').target)] }])],
  ...more,
});

/** Reports each complete request by length and digest. `hold` delays the reading. */
const noting =
  (seen: string[], hold?: Promise<void>): http.RequestListener =>
  (request, response) => {
    request.on('error', () => undefined);
    const read = (): void => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const all = Buffer.concat(parts);
        seen.push(`${request.method} ${all.length} ${digest(all)}`);
        response.end();
      });
    };
    if (hold) void hold.then(read);
    else read();
  };

test('a mirror gets the whole body, whatever its size', async (t) => {
  const [seen, copies]: [string[], string[]] = [[], []];
  const main = await httpUpstream(t, noting(seen));
  const copy = await httpUpstream(t, noting(copies));
  const waypoint = await startWaypoint(t, {
    ...mirrored(),
    backends: { api: [main.port], copy: [copy.port] },
  });
  for (const bytes of [100, 250_000, 400_000, 1_100_000, 5_000_000])
    for (let i = 0; i < 3; i++)
      assert.equal((await ask(waypoint.port, { method: 'POST', body: body(bytes) })).status, 200);
  await eventually(() => waypoint.mirrored.length === 15, 'all copies have ended');
  assert.deepEqual([...new Set(waypoint.mirrored)], ['complete']);
  assert.deepEqual(copies.sort(), seen.sort());
  assert.equal(waypoint.context.mirrorBufferShares.size, 0);
});

test('an HTTP/2 mirror gets messages of any size, with their trailers', async (t) => {
  const got: number[] = [];
  let trailers = 0;
  const serve = (counted: boolean) => (stream: http2.ServerHttp2Stream) => {
    let bytes = 0;
    stream.on('data', (part: Buffer) => (bytes += part.length));
    stream.on('trailers', (fields) => {
      if (counted && fields['x-checksum'] === 'abc') trailers++;
    });
    stream.on('end', () => {
      if (counted) got.push(bytes);
      stream.respond({ ':status': 200 }, { endStream: true });
    });
  };
  const main = await http2Upstream(t, serve(false));
  const copy = await http2Upstream(t, serve(true));
  const waypoint = await startWaypoint(t, {
    ...mirrored(),
    backends: { api: [main.port], copy: [copy.port] },
    protocol: 'http2',
  });
  const session = http2.connect(`http://127.0.0.1:${waypoint.port}`);
  t.after(() => session.destroy());
  for (const bytes of [10_000, 20_000, 1_000_000]) {
    const request = session.request(
      { ':method': 'POST', ':path': '/', 'content-type': 'application/grpc' },
      { waitForTrailers: true },
    );
    request.on('wantTrailers', () => request.sendTrailers({ 'x-checksum': 'abc' }));
    request.resume();
    await new Promise<void>((resolve, reject) => {
      request.once('error', reject);
      request.once('response', () => resolve());
      request.end(body(bytes));
    });
  }
  await eventually(() => waypoint.mirrored.length === 3, 'all copies have ended');
  assert.deepEqual(got, [10_000, 20_000, 1_000_000]);
  assert.equal(trailers, 3);
});

test('a mirror that reads later than the endpoint gets all bytes that fit its buffer', async (t) => {
  const [seen, copies]: [string[], string[]] = [[], []];
  let release = (): void => undefined;
  const hold = new Promise<void>((resolve) => (release = resolve));
  const main = await httpUpstream(t, noting(seen));
  const copy = await httpUpstream(t, noting(copies, hold));
  const waypoint = await startWaypoint(t, {
    ...mirrored(),
    backends: { api: [main.port], copy: [copy.port] },
    limits: { mirrorBufferBytesMax: 40 << 20, mirrorBuffersBytesMax: 400 << 20 },
  });
  const bytes = 30 << 20;
  assert.equal((await ask(waypoint.port, { method: 'POST', body: Buffer.alloc(bytes, 'x') })).status, 200);
  assert.equal(copies.length, 0);
  assert.ok(waypoint.context.mirrorBufferShares.size > 0, 'some bytes are buffered');
  release();
  await eventually(() => copies.length === 1, 'the copy');
  assert.deepEqual(copies, seen);
  await eventually(() => waypoint.mirrored.length === 1, 'the end of the response');
  assert.equal(waypoint.context.mirrorBufferShares.size, 0);
});

/** An endpoint that never reads. */
const deaf = (t: TestContext): Promise<number> => rawUpstream(t, (socket) => void socket.pause());

test('a mirror that cannot keep up is canceled and counted, and its client does not notice', async (t) => {
  const seen: string[] = [];
  const main = await httpUpstream(t, noting(seen));
  const waypoint = await startWaypoint(t, {
    ...mirrored(),
    backends: { api: [main.port], copy: [await deaf(t)] },
  });
  const { mirrorBufferShares: mirrorShares, limits } = waypoint.context;
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, mirrorShares.size)), 1);
  t.after(() => clearInterval(watch));
  const bytes = 64 << 20;
  assert.equal((await ask(waypoint.port, { method: 'POST', body: Buffer.alloc(bytes, 'x') })).status, 200);
  assert.equal(seen.length, 1);
  assert.deepEqual(waypoint.mirrored, ['buffer']);
  assert.deepEqual(waypoint.limitsReached, ['mirror-buffer']);
  assert.ok(most * mirrorBlockBytes <= limits.mirrorBufferBytesMax, `${most} blocks`);
  assert.equal(mirrorShares.size, 0);
});

test('a mirror without any progress is canceled and counted as stalled', async (t) => {
  const main = await httpUpstream(t, echoHandler('main'));
  const waypoint = await startWaypoint(t, {
    ...mirrored(),
    backends: { api: [main.port], copy: [await deaf(t)] },
    limits: { mirrorIdleMsMax: 100 },
  });
  assert.equal((await ask(waypoint.port)).status, 200);
  assert.equal((await ask(waypoint.port, { method: 'POST', body: 'x' })).status, 200);
  await eventually(() => waypoint.mirrored.length === 2, 'both are canceled');
  assert.deepEqual(waypoint.mirrored, ['stalled', 'stalled']);
});

test('requests without a body reuse one connection to their mirror', async (t) => {
  const main = await httpUpstream(t, echoHandler('main'));
  const copy = await httpUpstream(t, echoHandler('copy'));
  let connections = 0;
  copy.server.on('connection', () => connections++);
  const waypoint = await startWaypoint(t, {
    ...mirrored(),
    backends: { api: [main.port], copy: [copy.port] },
  });
  for (let i = 0; i < 5; i++) {
    await askEcho(waypoint.port);
    await eventually(() => waypoint.mirrored.length === i + 1, 'the copy has ended');
  }
  assert.deepEqual(
    waypoint.mirrored,
    Array.from({ length: 5 }, () => 'complete'),
  );
  assert.equal(connections, 1);
});

test('bytes after an upgrade are no part of the request, so the mirror gets none of them', async (t) => {
  const main = await rawUpstream(t, (socket) => {
    let isUpgraded = false;
    socket.on('data', (bytes: Buffer) => {
      if (isUpgraded) return void socket.write(bytes);
      isUpgraded = true;
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n');
    });
  });
  const copies: Buffer[] = [];
  const copy = await rawUpstream(
    t,
    (socket) => void socket.on('data', (bytes: Buffer) => copies.push(bytes)),
  );
  const waypoint = await startWaypoint(t, { ...mirrored(), backends: { api: [main], copy: [copy] } });
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  client.write('GET /up HTTP/1.1\r\nhost: api\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
  await client.until((text) => text.includes('101'));
  await eventually(() => copies.length > 0, 'the mirror has the head');
  client.write('GET /smuggled HTTP/1.1\r\nhost: api\r\n\r\n');
  await client.until((text) => text.includes('smuggled'), 'the echo');
  const text = Buffer.concat(copies).toString('latin1');
  assert.match(text, /^GET \/up HTTP\/1\.1\r\n/);
  assert.doesNotMatch(text, /smuggled/);
});

test('a mirror whose response does not end is canceled', async (t) => {
  const main = await httpUpstream(t, echoHandler('main'));
  const copy = await httpUpstream(t, (_request, response) => {
    const timer = setInterval(() => response.write('x'), 10);
    response.once('close', () => clearInterval(timer));
  });
  const waypoint = await startWaypoint(t, {
    ...mirrored({ limits: { mirrorIdleMsMax: 100 } }),
    backends: { api: [main.port], copy: [copy.port] },
  });
  assert.equal((await ask(waypoint.port)).status, 200);
  await eventually(() => waypoint.mirrored.length === 1, 'the mirror is canceled');
  assert.deepEqual(waypoint.mirrored, ['stalled']);
  assert.equal(waypoint.context.mirrorShares.size, 0);
});

test('mirrors that outlive their requests are limited in number', async (t) => {
  const main = await httpUpstream(t, echoHandler('main'));
  const copy = await httpUpstream(t, () => undefined);
  const waypoint = await startWaypoint(t, {
    ...mirrored({ limits: { mirrorsMax: 20 } }),
    backends: { api: [main.port], copy: [copy.port] },
  });
  for (let i = 0; i < 30; i++) assert.equal((await ask(waypoint.port)).status, 200);
  // A single client gets half of the limit.
  assert.equal(waypoint.context.mirrorShares.size, 10);
  assert.deepEqual(
    waypoint.mirrored,
    Array.from({ length: 20 }, () => 'limit'),
  );
  assert.ok(waypoint.limitsReached.every((limit) => limit === 'mirrors'));
});

test('a request that reaches no endpoint keeps no bytes for its mirror, which never begins', async (t) => {
  const copy = await httpUpstream(t, noting([]));
  const waypoint = await startWaypoint(t, {
    ...mirrored(),
    backends: { api: [await deadPort()], copy: [copy.port] },
  });
  // The body comes with the head, so it is there although the client is not read.
  const text = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc';
  const client = (await RawClient.open(waypoint.port)).write(text);
  await client.until((all) => all.includes(' 503 '));
  client.socket.destroy();
  await eventually(() => waypoint.context.connections.size === 0, 'the client has left');
  assert.equal(waypoint.context.mirrorBufferShares.size, 0);
});
