import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import { connected, startHbone, svidOf } from '../../test/support/hbone.js';
import { id } from '../../test/support/mesh.js';
import { deadPort, eventually } from '../../test/support/waypoint.js';
import { FairLimit } from '../base/fair-limit.js';
import { parseIp } from '../model/address.js';
import type { HboneLimits } from './limits.js';
import { TunnelPool, type TunnelRequest } from './pool.js';
import type { InboundTunnel } from './server.js';

const web = svidOf(id('web'));

async function testbed(
  t: TestContext,
  limits: Partial<HboneLimits> = {},
  more: Parameters<typeof startHbone>[3] = {},
) {
  const echo = (tunnel: InboundTunnel): void => {
    const stream = tunnel.accept();
    stream.on('error', () => undefined);
    stream.pipe(stream);
  };
  const server = await startHbone(t, id('api'), echo, more);
  const pool = new TunnelPool(limits);
  t.after(() => pool.close());
  const request = (more: Partial<TunnelRequest> = {}): TunnelRequest => ({
    svid: web,
    expected: [id('api')],
    destination: { ip: parseIp('127.0.0.1'), port: server.port },
    authority: '10.0.0.1:80',
    source: 'pod/1',
    headers: {},
    connect: () => connected(server.port),
    ...more,
  });
  return { server, pool, request };
}

test('unreachable destinations leave nothing in the pool', async (t) => {
  const { pool, request } = await testbed(t);
  const dead = await deadPort();
  const tries = Array.from({ length: 200 }, (_, i) =>
    pool.open(
      request({
        destination: { ip: parseIp(`10.1.${i >> 8}.${i & 255}`), port: 15008 },
        connect: () => connected(dead),
      }),
    ),
  );
  // Some destinations have several requests at once, which wait for the same connection.
  tries.push(...Array.from({ length: 20 }, () => pool.open(request({ connect: () => connected(dead) }))));
  const ends = await Promise.allSettled(tries);
  assert.ok(ends.every(({ status }) => status === 'rejected'));
  assert.equal(pool.entries, 0);
  // A destination whose peer presents an unexpected identity.
  await assert.rejects(pool.open(request({ expected: [id('other')] })), { code: 'WEFT_TUNNEL_IDENTITY' });
  assert.equal(pool.entries, 0);
  const { stream } = await pool.open(request());
  assert.equal(pool.entries, 1);
  stream.destroy();
});

test('a forgotten source opens no tunnel on its former connections; live tunnels continue, idle connections close', async (t) => {
  const { pool, request } = await testbed(t);
  const { stream, reused } = await pool.open(request());
  assert.equal(reused, false);
  const other = await pool.open(request({ source: 'pod/2' }));
  assert.equal(other.reused, false);
  other.stream.end();
  other.stream.resume();
  await eventually(() => other.stream.destroyed, 'it is closed');
  pool.forget('pod/1');
  pool.forget('pod/2');
  assert.equal(pool.entries, 0);
  // The idle connection closes, the one in use does not.
  await eventually(() => pool.size === 1, 'one is left');
  stream.write('still there');
  const [echo] = (await new Promise((resolve) =>
    stream.once('data', (bytes: Buffer) => resolve([bytes.toString()])),
  )) as [string];
  assert.equal(echo, 'still there');
  const again = await pool.open(request());
  assert.equal(again.reused, false);
  stream.end();
  await eventually(() => pool.size === 1, 'the former one has ended');
  again.stream.destroy();
});

test('a connection that is being opened when its source is forgotten takes no streams of the next source', async (t) => {
  const { server, pool, request } = await testbed(t);
  let go = (): void => undefined;
  const slow = pool.open(
    request({
      connect: async () => {
        await new Promise<void>((resolve) => (go = resolve));
        return connected(server.port);
      },
    }),
  );
  pool.forget('pod/1');
  const next = await pool.open(request());
  assert.equal(next.reused, false);
  go();
  const late = await slow;
  const third = await pool.open(request());
  assert.equal(third.reused, true);
  for (const { stream } of [late, next, third]) stream.destroy();
  await eventually(() => pool.size === 1, 'only the successor’s is kept');
});

test('no tunnel fails while a server drains: tunnels opened meanwhile go to its successor', async (t) => {
  const accept = (tunnel: InboundTunnel): void => {
    const stream = tunnel.accept();
    stream.on('error', () => undefined);
    stream.pipe(stream);
  };
  let current = await startHbone(t, id('api'), accept);
  const pool = new TunnelPool();
  t.after(() => pool.close());
  let going = true;
  let opened = 0;
  const failures: string[] = [];
  const client = async (): Promise<void> => {
    while (going) {
      try {
        const { stream } = await pool.open({
          svid: web,
          expected: [id('api')],
          destination: { ip: parseIp('127.0.0.1'), port: 15008 },
          authority: '10.0.0.1:80',
          source: 'pod/1',
          headers: {},
          connect: () => connected(current.port),
        });
        const closed = new Promise((resolve) => stream.once('close', resolve));
        stream.on('error', (error) => failures.push(error.message));
        stream.end('x');
        stream.resume();
        await closed;
        opened++;
      } catch (error) {
        failures.push(String(error));
      }
    }
  };
  const clients = Array.from({ length: 8 }, client);
  for (let round = 0; round < 20; round++) {
    const former = current;
    current = await startHbone(t, id('api'), accept);
    const before = opened;
    void former.server.drain();
    await eventually(() => opened > before + 20, 'tunnels are opened');
  }
  going = false;
  await Promise.all(clients);
  assert.deepEqual(failures, []);
});

for (const direction of ['to the peer', 'from the peer']) {
  test(`tunnels reset with bytes in flight ${direction} take no flow-control window from later tunnels of the connection`, async (t) => {
    const block = Buffer.alloc(10_000_000);
    const server = await startHbone(t, id('api'), (tunnel) => {
      const stream = tunnel.accept();
      stream.on('error', () => undefined);
      if (tunnel.authority.port === 80) stream.pipe(stream);
      else if (direction === 'from the peer') stream.write(block);
    });
    const pool = new TunnelPool();
    t.after(() => pool.close());
    const open = (port: number) =>
      pool.open({
        svid: web,
        expected: [id('api')],
        destination: { ip: parseIp('127.0.0.1'), port: server.port },
        authority: `10.0.0.1:${port}`,
        source: 'waypoint',
        headers: {},
        connect: () => connected(server.port),
      });
    for (let i = 0; i < 12; i++) {
      const { stream } = await open(81);
      stream.on('error', () => undefined);
      // More than the flow-control windows hold: the rest waits in the session.
      if (direction === 'to the peer') stream.write(block);
      await new Promise((resolve) => setTimeout(resolve, 10));
      stream.destroy(new Error('reset'));
    }
    const { stream, reused } = await open(80);
    assert.equal(reused, true, 'the connection is the same');
    stream.end('hello');
    assert.equal((await stream.toArray()).join(''), 'hello');
  });
}

test('many tunnels spread over several connections; a quiet client keeps one, surplus connections close when idle', async (t) => {
  const { server, pool, request } = await testbed(t, { idleSurplusMsMax: 100 });
  const open = (): ReturnType<TunnelPool['open']> => pool.open(request({ spread: true }));
  const first = await Promise.all(Array.from({ length: 8 }, open));
  assert.equal(server.server.sessions, 1);
  const more = await Promise.all(Array.from({ length: 56 }, open));
  assert.equal(server.server.sessions, 4);
  assert.equal(pool.size, 4);
  for (const { stream } of [...first.slice(1), ...more]) stream.destroy();
  await eventually(() => pool.size === 1, 'the surplus connections close');
  const again = await Promise.all(Array.from({ length: 7 }, open));
  assert.equal(server.server.sessions, 1);
  first[0]?.stream.end('still there');
  assert.equal((await first[0]?.stream.toArray())?.join(''), 'still there');
  for (const { stream } of again) stream.destroy();
});

test('a request that does not ask for it does not spread', async (t) => {
  const { server, pool, request } = await testbed(t);
  await Promise.all(Array.from({ length: 64 }, () => pool.open(request())));
  assert.equal(server.server.sessions, 1);
});

test('no tunnel fails if the peer has no room for a further connection: the first one takes all', async (t) => {
  const sessions = new FairLimit(3);
  const { server, pool, request } = await testbed(
    t,
    {},
    { admit: (peer) => (sessions.take(peer) === undefined ? () => sessions.release(peer) : undefined) },
  );
  const open = (): ReturnType<TunnelPool['open']> => pool.open(request({ spread: true }));
  for (let i = 0; i < 3; i++) await Promise.all(Array.from({ length: 20 }, open));
  assert.equal(server.server.sessions, 2);
  // The refused connection is not tried again at once.
  assert.equal(server.refused.length, 1);
  const tunnels = await Promise.all(Array.from({ length: 20 }, open));
  for (const { stream } of tunnels) stream.end('x');
  for (const { stream } of tunnels) assert.equal((await stream.toArray()).join(''), 'x');
});

test('a peer that accepts a further connection and says nothing delays no tunnel for long', async (t) => {
  const { server, pool, request } = await testbed(t);
  const mute = net.createServer((socket) => void t.after(() => socket.destroy()));
  mute.listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.after(() => mute.close());
  let connections = 0;
  const connect = (): Promise<net.Socket> =>
    connected(connections++ === 0 ? server.port : (mute.address() as net.AddressInfo).port);
  const startMs = performance.now();
  const tunnels = await Promise.all(
    Array.from({ length: 40 }, () => pool.open(request({ spread: true, connect }))),
  );
  await pool.open(request({ spread: true, connect }));
  assert.ok(performance.now() - startMs < 9_000, 'less than the time of a handshake');
  assert.equal(connections, 2);
  for (const { stream } of tunnels) stream.destroy();
});
