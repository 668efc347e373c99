import assert from 'node:assert/strict';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import { startHbone, svidOf } from '../../test/support/hbone.js';
import { id } from '../../test/support/mesh.js';
import { eventually } from '../../test/support/waypoint.js';
import { FairLimit } from '../base/fair-limit.js';
import { parseIp } from '../model/address.js';
import type { Svid } from '../tls/svid.js';
import type { InboundTunnel } from './server.js';
import { TunnelPool } from './pool.js';

const accept = (tunnel: InboundTunnel): void => void tunnel.accept().on('error', () => undefined);

function openFrom(t: TestContext, port: number, localAddress: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress }, () => resolve(socket));
    socket.once('error', reject);
    t.after(() => socket.destroy());
  });
}

/** A tunnel on a connection of its own. */
async function tunnel(t: TestContext, port: number, svid: Svid, localAddress = '127.0.0.1'): Promise<void> {
  const pool = new TunnelPool();
  t.after(() => pool.close());
  const { stream } = await pool.open({
    svid,
    expected: [id('api')],
    destination: { ip: parseIp('127.0.0.1'), port },
    authority: '10.0.0.1:80',
    source: 'peer',
    headers: {},
    connect: () => openFrom(t, port, localAddress),
  });
  stream.on('error', () => undefined);
}

test('who shows no certificate holds half of the connections without one at most; others still come in', async (t) => {
  let full = 0;
  const { port } = await startHbone(t, id('api'), accept, {
    limits: { handshakesMax: 8 },
    onHandshakesFull: () => full++,
  });
  const silent = await Promise.all(Array.from({ length: 20 }, () => openFrom(t, port, '127.0.0.1')));
  const closed = new Set<net.Socket>();
  for (const socket of silent) {
    socket.on('error', () => undefined);
    socket.once('close', () => closed.add(socket));
    socket.resume();
  }
  await eventually(() => full === 16 && closed.size === 16, 'four of them are waited for');
  const web = svidOf(id('web'));
  await assert.rejects(tunnel(t, port, web), { code: 'WEFT_TUNNEL_TLS' });
  // More than there are places, one after the other: a place is for the time until the certificate is shown.
  for (let i = 0; i < 12; i++) await tunnel(t, port, web, '127.0.0.2');
  for (const socket of silent) socket.destroy();
  await eventually(() => closed.size === 20, 'all are closed');
  await tunnel(t, port, web);
});

test('those that come and leave at once leave nothing behind', async (t) => {
  const { port } = await startHbone(t, id('api'), accept, { limits: { handshakesMax: 8 } });
  for (let round = 0; round < 50; round++) {
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const socket = await openFrom(t, port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.resetAndDestroy();
      }),
    );
  }
  await tunnel(t, port, svidOf(id('web')));
});

test('a peer that has its share of connections gets no more of them, another does', async (t) => {
  const sessions = new FairLimit(8);
  const { port, refused } = await startHbone(t, id('api'), accept, {
    admit: (peer) => (sessions.take(peer) === undefined ? () => sessions.release(peer) : undefined),
  });
  const greedy = svidOf(id('greedy'));
  const ends = await Promise.allSettled(Array.from({ length: 10 }, () => tunnel(t, port, greedy)));
  assert.equal(ends.filter(({ status }) => status === 'fulfilled').length, 4);
  assert.equal(refused.filter(({ code }) => code === 'WEFT_CONNECTIONS_FULL').length, 6);
  assert.equal(refused[0]?.peer, id('greedy'));
  await tunnel(t, port, svidOf(id('web')));
});
