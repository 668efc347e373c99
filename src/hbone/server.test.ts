import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import tls from 'node:tls';
import { startHbone, svidOf } from '../../test/support/hbone.js';
import { id } from '../../test/support/mesh.js';
import { eventually } from '../../test/support/waypoint.js';
import { FairLimit } from '../base/fair-limit.js';
import { sleep } from '../base/wait.js';
import { parseIp } from '../model/address.js';
import { contextOf } from '../tls/contexts.js';
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

test('one address holds at most half of the pending handshakes; other addresses still connect', async (t) => {
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
  // More connections than handshakesMax, one after the other: each counts only until its certificate is presented.
  for (let i = 0; i < 12; i++) await tunnel(t, port, web, '127.0.0.2');
  for (const socket of silent) socket.destroy();
  await eventually(() => closed.size === 20, 'all are closed');
  await tunnel(t, port, web);
});

test('connections that close at once leave no state behind', async (t) => {
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

test('an identity that has used its share of connections gets no more; another identity does', async (t) => {
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

/** Responses to CONNECT on one session: a status, or what ended the stream. */
async function connectOn(session: http2.ClientHttp2Session): Promise<number | string> {
  return new Promise((resolve) => {
    session.once('error', (error) => resolve(error.message));
    if (session.destroyed || session.closed) return resolve('closed');
    const stream = session.request(
      { ':method': 'CONNECT', ':authority': '10.0.0.1:80' },
      { endStream: false },
    );
    stream.on('error', () => undefined);
    stream.once('response', (headers) => resolve(headers[':status'] ?? 0));
    stream.once('close', () => resolve('closed'));
  });
}

test('an expired certificate gets no tunnel, neither by TLS session resumption nor on a live connection', async (t) => {
  const { port, refused } = await startHbone(t, id('api'), accept);
  const svid = svidOf(id('web'), 4);
  let ticket: Buffer | undefined;
  const open = async (): Promise<{ session: http2.ClientHttp2Session; isResumed: boolean } | undefined> => {
    const socket = tls.connect({
      port,
      secureContext: contextOf(svid),
      ALPNProtocols: ['h2'],
      checkServerIdentity: () => undefined,
      ...(ticket ? { session: ticket } : {}),
    });
    t.after(() => socket.destroy());
    socket.on('session', (one: Buffer) => (ticket = one));
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('secureConnect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    if (!isOpen) return undefined;
    const session = http2.connect('https://hbone', { createConnection: () => socket });
    session.on('error', () => undefined);
    return { session, isResumed: socket.isSessionReused() };
  };
  const live = await open();
  assert.ok(live);
  assert.equal(await connectOn(live.session), 200);
  const second = await open();
  assert.equal(second && (await connectOn(second.session)), 200);
  assert.equal(second?.isResumed, false);
  await sleep(svid.notAfterMs - Date.now() + 1_100);
  assert.notEqual(await connectOn(live.session), 200);
  assert.ok(refused.some(({ code, reason }) => code === 'WEFT_HBONE_IDENTITY' && /expired/.test(reason)));
  const late = await open();
  assert.notEqual(late && (await connectOn(late.session)), 200);
});
