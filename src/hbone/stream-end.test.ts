import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { test, type TestContext } from 'node:test';
import {
  dialed,
  early,
  earlyServer,
  listening,
  outcomes,
  repetitions,
  sizes,
  upload,
  type Close,
} from '../../test/support/early-response.js';
import { connected, startHbone, svidOf } from '../../test/support/hbone.js';
import { id } from '../../test/support/mesh.js';
import { eventually } from '../../test/support/waypoint.js';
import { parseIp } from '../model/address.js';
import { relay, type RelayResult } from './relay.js';
import { TunnelPool } from './pool.js';
import { unreadBytesMax } from '../http2/unread-bytes.js';
import { keepReadable } from './stream-end.js';

interface Relay {
  readonly port: number;
  readonly results: Promise<RelayResult>[];
}
/** One relay between two sockets: pods of one node, plain destinations, and plain inbound connections. */
async function between(t: TestContext, serverPort: number): Promise<Relay> {
  const results: Promise<RelayResult>[] = [];
  const port = await listening(
    t,
    (socket) => void dialed(serverPort).then((peer) => results.push(relay(socket, peer).done)),
    true,
  );
  return { port, results };
}
/** Two relays with a tunnel between them: pods of two nodes. */
async function across(t: TestContext, serverPort: number): Promise<Relay> {
  const results: Promise<RelayResult>[] = [];
  const { port: hbonePort } = await startHbone(t, id('db'), (tunnel) => {
    void dialed(serverPort).then((app) => results.push(relay(app, tunnel.accept()).done));
  });
  const pool = new TunnelPool();
  t.after(() => pool.close());
  const svid = svidOf(id('web'));
  const port = await listening(
    t,
    (socket) =>
      void pool
        .open({
          svid,
          expected: [id('db')],
          destination: { ip: parseIp('127.0.0.1'), port: hbonePort },
          authority: '10.0.0.1:80',
          source: 'pod',
          headers: {},
          connect: () => connected(hbonePort),
        })
        .then(({ stream }) => results.push(relay(socket, stream).done)),
    true,
  );
  return { port, results };
}
const direct = (_t: TestContext, port: number): Promise<Relay> => Promise.resolve({ port, results: [] });
const paths = { direct, between, across };

for (const [name, path] of Object.entries(paths)) {
  for (const close of ['at once', 'unread'] satisfies Close[]) {
    test(`a response sent before the upload's end is always read: ${name}, closed ${close}`, async (t) => {
      const { port, results } = await path(t, await earlyServer(t, close));
      for (const size of sizes) {
        const seen = await outcomes(repetitions, async () => (await upload(port, size)).text);
        assert.deepEqual(seen, { [early()]: repetitions }, `${size} bytes`);
      }
      await Promise.all(results);
    });
  }

  test(`a slow client reads the whole of a long response that precedes a reset: ${name}`, async (t) => {
    const body = 'e'.repeat(48 << 10);
    const { port } = await path(t, await earlyServer(t, 'unread', early(body)));
    const seen = await outcomes(
      4,
      async () => `${(await upload(port, 5_000_000, { readAfterMs: 200 })).text.length}`,
    );
    assert.deepEqual(seen, { [early(body).length]: 4 });
  });

  test(`an end before the reset stays an end, a reset stays a reset: ${name}`, async (t) => {
    // Reads all available data and closes in order; later data is answered with a reset.
    const ending = await listening(t, (socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end('said all', () => socket.destroy()));
    });
    const { port } = await path(t, ending);
    const client = await dialed(port);
    let text = '';
    client.on('error', () => undefined).on('data', (part: Buffer) => (text += part.toString()));
    client.write('a');
    await once(client, 'end');
    assert.equal(text, 'said all');
    // Its writes fail in the end, as they do without a relay.
    const writing = setInterval(() => client.write('b'), 5);
    await new Promise((resolve) => client.once('close', resolve));
    clearInterval(writing);
    assert.equal((client.errored as NodeJS.ErrnoException | null)?.code, 'EPIPE');
    const broken = await listening(t, (socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.write('half', () => setTimeout(() => socket.resetAndDestroy(), 5)));
    });
    const half = await path(t, broken);
    assert.deepEqual(await upload(half.port, 1), { text: 'half', ended: 'reset' });
  });

  test(`data that a client sent before its reset reaches a server that reads late: ${name}`, async (t) => {
    const said = Buffer.alloc(40 << 10, 'c');
    const got: Promise<number>[] = [];
    const gone = { client: () => undefined as void };
    const server = await listening(
      t,
      (socket) => {
        socket.on('error', () => undefined);
        // Like a kernel socket, it keeps the data that preceded a reset.
        keepReadable(socket);
        socket.write('greeting');
        got.push(
          new Promise((resolve) => {
            let bytes = 0;
            socket.on('data', (part: Buffer) => (bytes += part.length));
            socket.on('close', () => resolve(bytes));
            socket.pause();
            gone.client = () => void socket.resume();
          }),
        );
      },
      true,
    );
    const { port } = await path(t, server);
    for (let i = 0; i < 8; i++) {
      const client = await dialed(port);
      client.on('error', () => undefined);
      await new Promise<void>((resolve) => client.write(said, () => resolve()));
      await eventually(() => got.length === i + 1, 'the server has the connection');
      await new Promise((resolve) => setTimeout(resolve, 30));
      client.resetAndDestroy();
      await new Promise((resolve) => setTimeout(resolve, 30));
      gone.client();
      assert.equal(await got[i], said.length);
    }
  });
}

test('data that waits for a slow reader outlives the reset of a tunnel, and so does the backlog of a relay', async (t) => {
  // More than the sockets hold: the rest waits in the streams of both relays when the reset arrives.
  const body = 'b'.repeat(3 << 20);
  const server = await listening(t, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () =>
      socket.write(early(body), () => setTimeout(() => socket.resetAndDestroy(), 50)),
    );
  });
  const { port, results } = await across(t, server);
  for (let i = 0; i < 4; i++) await upload(port, 1, { readAfterMs: 300 });
  const ends = await Promise.all(results);
  assert.equal(ends.length, 8);
  // Data in the server's own queue at its reset is lost without a mesh, too. Data that one relay has received, the other delivers.
  const sum = (of: (end: RelayResult) => number): number => ends.reduce((all, end) => all + of(end), 0);
  assert.ok(sum(({ bytesSent }) => bytesSent) > 1 << 20);
  assert.equal(
    sum(({ bytesSent }) => bytesSent),
    sum(({ bytesReceived }) => bytesReceived),
  );
});

test('streams reset by the peer hold no more data together than the limit of their connection', async (t) => {
  const held: Duplex[] = [];
  const { port } = await startHbone(t, id('db'), (tunnel) => {
    const stream = tunnel.accept();
    // A pod that reads nothing.
    stream.on('data', () => undefined);
    stream.pause();
    held.push(stream);
  });
  const pool = new TunnelPool();
  t.after(() => pool.close());
  const svid = svidOf(id('web'));
  const bytes = 3 << 20;
  for (let i = 0; i < 12; i++) {
    const { stream } = await pool.open({
      svid,
      expected: [id('db')],
      destination: { ip: parseIp('127.0.0.1'), port },
      authority: '10.0.0.1:80',
      source: 'pod/1',
      headers: {},
      connect: () => connected(port),
    });
    stream.on('error', () => undefined);
    stream.write(Buffer.alloc(bytes));
    await new Promise<void>((resolve) => stream.whenFlushed(resolve));
    stream.destroy(new Error('reset'));
    await eventually(
      () => held[i]?.destroyed === true || keepReadable(held[i] as Duplex).wasReset,
      'the reset',
    );
  }
  const waits = held.filter((stream) => !stream.destroyed);
  assert.equal(waits.length, Math.floor(unreadBytesMax / bytes));
  // Reading frees room.
  waits[0]?.resume();
  await eventually(() => waits[0]?.destroyed === true, 'it ends');
});
