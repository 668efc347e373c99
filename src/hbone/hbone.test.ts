import assert from 'node:assert/strict';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import http2 from 'node:http2';
import net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { WeftError } from '../base/errors.js';
import { until } from '../base/wait.js';
import { parseSpiffeId } from '../model/identity.js';
import { createRoot } from '../tls/issue.js';
import { contextOptions } from '../tls/contexts.js';
import { root, svidOf } from '../../test/support/hbone.js';
import {
  block,
  endHeaders,
  frame,
  frameType,
  preface,
  rst,
  settings,
  settingsAck,
} from '../../test/support/http2-frames.js';
import { domain, id } from '../../test/support/mesh.js';
import { collect, echo, pool, tunnelTestbed } from '../../test/support/tunnels.js';
import { sourceIdentityHeader, sourceIdentityOf } from './headers.js';
import { readConnect } from './inbound-tunnel.js';
import type { InboundTunnel } from './server.js';

const web = id('web');
const db = id('db');

const rejectsWith = (code: string) => (error: unknown) => error instanceof WeftError && error.code === code;

test('a tunnel relays bytes both ways, knows both identities, and half-closes', async () => {
  const seen: InboundTunnel[] = [];
  const { request } = await tunnelTestbed((tunnel) => {
    seen.push(tunnel);
    echo(tunnel);
  });
  const tunnel = await pool().open(
    request({ headers: { forwarded: 'for="10.0.0.9:1"', baggage: 'k8s.namespace.name=shop' } }),
  );
  assert.equal(tunnel.peer, db);
  tunnel.stream.end('hello');
  assert.equal((await collect(tunnel.stream)).toString(), 'hello');
  assert.equal(seen[0]?.peer, web);
  assert.deepEqual(seen[0]?.authority, { ip: '10.0.0.1', port: 80 });
  assert.equal(seen[0]?.headers.forwarded, 'for="10.0.0.9:1"');
});

test('streams share a connection up to the limit, then the pool opens another', async () => {
  const { request, server } = await tunnelTestbed(echo);
  const tunnels = pool({ streamsPerConnectionClientMax: 3 });
  const open = await Promise.all(Array.from({ length: 7 }, () => tunnels.open(request())));
  assert.equal(server.sessions, 3);
  assert.equal(open.filter((t) => t.reused).length >= 3, true);
});

test('different sources and identities never share a connection', async () => {
  const { request, server } = await tunnelTestbed(echo);
  const tunnels = pool();
  await tunnels.open(request());
  await tunnels.open(request({ source: 'other pod' }));
  await tunnels.open(request({ svid: svidOf(db) }));
  assert.equal(server.sessions, 3);
});

test('the pool sends nothing to a server with an unexpected identity, or when no identity is expected', async () => {
  let streams = 0;
  const { request } = await tunnelTestbed(() => streams++);
  await assert.rejects(pool().open(request({ expected: [web] })), rejectsWith('WEFT_TUNNEL_IDENTITY'));
  await assert.rejects(pool().open(request({ expected: [] })), rejectsWith('WEFT_TUNNEL_IDENTITY'));
  assert.equal(streams, 0);
});

test('the server refuses clients with another root or trust domain, an expired certificate or none', async () => {
  let streams = 0;
  const { request, refused, port } = await tunnelTestbed(() => streams++);
  const foreignRoot = createRoot(domain, 3600);
  const foreignDomain = svidOf(parseSpiffeId('spiffe://other.example/ns/shop/sa/web'));
  const expired = svidOf(web, 60, root, Date.now() - 3600_000);
  const wrongRoot = { ...svidOf(web, 3600, foreignRoot), rootsPem: root.certPem };
  for (const svid of [wrongRoot, foreignDomain, expired]) {
    await assert.rejects(
      pool().open(request({ svid })),
      (error) => error instanceof WeftError && error.source === 'upstream',
    );
  }
  const bare = tls.connect({
    port,
    host: '127.0.0.1',
    ALPNProtocols: ['h2'],
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
  });
  bare.on('error', () => undefined);
  await new Promise((resolve) => bare.once('close', resolve));
  assert.equal(streams, 0);
  assert.equal(refused.length, 4);
  assert.match(refused.map((r) => r.reason).join(), /not of trust domain cluster.local/);
});

test('the client gets the HTTP status of a refusal', async () => {
  const { request } = await tunnelTestbed((tunnel) => tunnel.refuse(401));
  await assert.rejects(pool().open(request()), /responded 401/);
});

test('a request other than CONNECT or without an address gets 400', async (t) => {
  const { port, refused } = await tunnelTestbed(echo);
  const session = http2.connect(`https://127.0.0.1:${port}`, {
    ...contextOptions(svidOf(web)),
    checkServerIdentity: () => undefined,
  });
  t.after(() => session.destroy());
  const status = async (headers: http2.OutgoingHttpHeaders): Promise<unknown> => {
    const stream = session.request(headers);
    stream.on('error', () => undefined);
    const [response] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
    return response[':status'];
  };
  assert.equal(await status({ ':method': 'GET', ':path': '/' }), 400);
  assert.equal(await status({ ':method': 'CONNECT', ':authority': 'example.org:80' }), 400);
  assert.equal(await status({ ':method': 'CONNECT', ':authority': '10.0.0.1' }), 400);
  assert.equal(await status({ ':method': 'CONNECT', ':authority': '10.0.0.1:99999' }), 400);
  assert.equal(refused.length, 4);
});

test('garbage, truncated TLS and silent connections are closed and leave no state; other connections continue', async () => {
  const { port, request, server } = await tunnelTestbed(echo, { handshakeTimeoutMsMax: 300 });
  const closed: Promise<unknown>[] = [];
  for (const bytes of [
    randomBytes(4096),
    Buffer.from([0x16, 3, 1, 2, 0, 1]),
    Buffer.alloc(0),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  ]) {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('error', () => undefined).resume();
    closed.push(once(socket, 'close'));
  }
  await Promise.all(closed);
  const silent = tls.connect({
    port,
    host: '127.0.0.1',
    ...contextOptions(svidOf(web)),
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  });
  silent.on('error', () => undefined).resume();
  await once(silent, 'close');
  const tunnel = await pool().open(request());
  tunnel.stream.end('still here');
  assert.equal((await collect(tunnel.stream)).toString(), 'still here');
  assert.equal(server.sessions, 1);
});

test('an oversized header list ends only its own connection', async () => {
  const { request } = await tunnelTestbed(echo);
  const tunnels = pool();
  await assert.rejects(tunnels.open(request({ headers: { baggage: 'x'.repeat(60_000) } })), WeftError);
  const tunnel = await pool().open(request());
  tunnel.stream.end('ok');
  assert.equal((await collect(tunnel.stream)).toString(), 'ok');
});

test('a connection with rapid resets is closed', async () => {
  let begun = 0;
  const { port, server } = await tunnelTestbed((tunnel) => {
    begun++;
    echo(tunnel);
  });
  // The test sends raw frames and observes the server: the client of Node 22 and 24 does not notice that it was disconnected.
  const attacker = tls.connect({
    port,
    host: '127.0.0.1',
    ...contextOptions(svidOf(web)),
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  });
  attacker.on('error', () => undefined).resume();
  const closed = once(attacker, 'close');
  const parts: Buffer[] = [preface, settings, settingsAck];
  const head = block([':method', 'CONNECT'], [':authority', '10.0.0.1:80']);
  for (let stream = 1; stream < 40_000; stream += 2)
    parts.push(frame(frameType.headers, endHeaders, stream, head), rst(stream, 8));
  attacker.write(Buffer.concat(parts));
  await closed;
  await until('the server holds nothing of it', 30_000, () => server.sessions === 0);
  assert.ok(begun < 2_000, `${begun} of 20000 were begun`);
});

test('new streams use a new certificate while old tunnels continue', async () => {
  const { request, server } = await tunnelTestbed(echo);
  const tunnels = pool();
  const first = await tunnels.open(request());
  const renewed = svidOf(web);
  tunnels.update(renewed);
  server.update(svidOf(db));
  const second = await tunnels.open(request({ svid: renewed }));
  assert.equal(second.reused, false);
  assert.equal(server.sessions, 2);
  first.stream.end('old');
  assert.equal((await collect(first.stream)).toString(), 'old');
  second.stream.end('new');
  assert.equal((await collect(second.stream)).toString(), 'new');
  await until('the old connection ends with its last tunnel', 30_000, () => server.sessions === 1);
});

test('a draining server accepts no new tunnels and lets live ones finish', async () => {
  const { request, server } = await tunnelTestbed(echo);
  const tunnels = pool();
  const live = await tunnels.open(request());
  const drained = server.drain();
  await sleep(50);
  live.stream.end('finish');
  assert.equal((await collect(live.stream)).toString(), 'finish');
  await drained;
});

test('tunnels whose reader has stopped do not stop the other tunnels of their connection', async () => {
  const bytes = 4 << 20;
  const { request, server } = await tunnelTestbed((tunnel) => {
    const stream = tunnel.accept();
    if (tunnel.authority.port === 80) stream.pipe(stream);
    // More than the stream's window: the reader holds the whole window back.
    else stream.write(Buffer.alloc(2 * bytes));
  });
  const tunnels = pool();
  // Together more than twice the connection's window.
  const stopped = await Promise.all(
    Array.from({ length: 12 }, () => tunnels.open(request({ authority: '10.0.0.1:81' }))),
  );
  await sleep(300);
  const { stream, reused } = await tunnels.open(request());
  assert.equal(reused, true);
  stream.end(Buffer.alloc(bytes));
  assert.equal((await collect(stream)).length, bytes);
  assert.equal(server.sessions, 1);
  for (const one of stopped) one.stream.destroy();
});

test('values of a repeated field of a CONNECT request are one list, and two identities are none', () => {
  const request = readConnect(
    [
      [':method', 'CONNECT', ':authority', '10.0.0.1:80', 'baggage', 'a=1', 'baggage', 'b=2'],
      [sourceIdentityHeader, id('web'), sourceIdentityHeader, id('db')],
    ].flat(),
    1 << 14,
  );
  assert.ok(typeof request !== 'string');
  assert.equal(request.headers.baggage, 'a=1, b=2');
  assert.equal(sourceIdentityOf(request.headers.sourceIdentity), undefined);
});
