/** The relay over a real tunnel: client application <-> pod socket <-> tunnel <-> pod socket <-> server application. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { eventually } from '../../test/support/eventually.js';
import { collect, listen, pool, tunnelTestbed } from '../../test/support/tunnels.js';
import { relay, type RelayResult, type RelayWatch } from './relay.js';
import { HttpWatch } from '../telemetry/http-watch.js';

async function relayed(
  app: (socket: net.Socket) => void,
  watches: { readonly client?: RelayWatch; readonly server?: RelayWatch } = {},
): Promise<{ port: number; results: Promise<RelayResult>[]; cut: ((reason: string) => void)[] }> {
  const results: Promise<RelayResult>[] = [];
  const cut: ((reason: string) => void)[] = [];
  const appPort = await listen(app, false);
  const { request } = await tunnelTestbed((tunnel) => {
    const socket = net.connect({ port: appPort, host: '127.0.0.1', allowHalfOpen: true }, () => {
      results.push(relay(socket, tunnel.accept(), undefined, watches.server).done);
    });
  });
  const tunnels = pool();
  const port = await listen((socket) => {
    void tunnels.open(request()).then(({ stream }) => {
      const live = relay(socket, stream, undefined, watches.client);
      results.push(live.done);
      cut.push(live.cut);
    });
  });
  return { port, results, cut };
}

async function settled(results: Promise<RelayResult>[]): Promise<RelayResult[]> {
  await eventually(() => results.length >= 2, 'both relays have begun');
  return Promise.all(results);
}

test('half close passes in both directions', async () => {
  const { port, results } = await relayed((socket) => {
    void collect(socket).then((bytes) => socket.end(`got ${bytes.length}`));
  });
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  client.end(Buffer.alloc(100_000));
  assert.equal((await collect(client)).toString(), 'got 100000');
  const ends = await settled(results);
  assert.deepEqual(
    ends.map((r) => r.ended),
    ['finished', 'finished'],
  );
  assert.deepEqual(
    ends.map((r) => r.bytesSent + r.bytesReceived),
    [100_010, 100_010],
  );
});

test('a reset by the client reaches the server, and the other way round', async () => {
  const gone: Promise<unknown>[] = [];
  const first = await relayed((socket) => {
    socket.resume();
    gone.push(once(socket, 'error').catch(() => undefined));
    socket.write('x');
  });
  const client = net.connect(first.port, '127.0.0.1');
  await once(client, 'data');
  client.resetAndDestroy();
  const [error] = (await gone[0]) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET');

  const second = await relayed((socket) => {
    socket.resume();
    socket.once('data', () => socket.resetAndDestroy());
  });
  const other = net.connect(second.port, '127.0.0.1', () => other.write('x'));
  const [reset] = (await once(other, 'error').catch((e: unknown) => [e])) as [NodeJS.ErrnoException];
  assert.equal(reset.code, 'ECONNRESET');
  assert.deepEqual(
    (await settled(second.results)).map((r) => r.ended === 'finished'),
    [false, false],
  );
});

test('cut resets both ends and reports its reason', async () => {
  const { port, results, cut } = await relayed((socket) => void socket.on('error', () => undefined).resume());
  const client = net.connect(port, '127.0.0.1', () => client.write('x'));
  const failed = once(client, 'error').catch((e: unknown) => [e]);
  await eventually(() => cut.length > 0, 'a relay has begun');
  cut[0]?.('policy');
  const [error] = (await failed) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET');
  assert.deepEqual((await settled(results)).map((r) => r.reason).filter(Boolean), ['policy']);
});

test('bulk data in both directions at once passes on streams that share a connection', async () => {
  const bytes = 48 << 20;
  const streams = 4;
  const send = async (socket: net.Socket): Promise<void> => {
    const block = Buffer.alloc(1 << 18, 'x');
    for (let sent = 0; sent < bytes; sent += block.length)
      if (!socket.write(block)) await once(socket, 'drain');
    socket.end();
  };
  const receive = async (socket: net.Socket): Promise<number> => {
    let received = 0;
    socket.on('data', (chunk: Buffer) => (received += chunk.length));
    await once(socket, 'end');
    return received;
  };
  const served: Promise<number>[] = [];
  const { port, results } = await relayed((socket) => {
    served.push(receive(socket));
    void send(socket);
  });
  const clients = Array.from({ length: streams }, async () => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const got = receive(socket);
    await send(socket);
    return got;
  });
  assert.deepEqual(await Promise.all(clients), Array(streams).fill(bytes));
  assert.deepEqual(await Promise.all(served), Array(streams).fill(bytes));
  assert.deepEqual(
    (await Promise.all(results)).filter(({ ended }) => ended !== 'finished'),
    [],
  );
});

test('memory is bounded with a slow reader: 1 GB passes complete and in order', async () => {
  const total = 1 << 30;
  const digest = createHash('sha256');
  const server = createHash('sha256');
  let received = 0;
  let peakBytes = 0;
  const done = new Promise<void>((resolve) => {
    void relayed((socket) => {
      socket.on('data', (chunk: Buffer) => {
        server.update(chunk);
        received += chunk.length;
        if (received % (8 << 20) < chunk.length) {
          socket.pause();
          setTimeout(() => socket.resume(), 5);
          peakBytes = Math.max(peakBytes, process.memoryUsage().rss);
        }
      });
      socket.on('end', () => {
        socket.end();
        resolve();
      });
    }).then(async ({ port }) => {
      const client = net.connect(port, '127.0.0.1');
      client.on('error', () => undefined).resume();
      const block = randomBytes(1 << 16);
      for (let sent = 0; sent < total; sent += block.length) {
        digest.update(block);
        if (!client.write(block)) await once(client, 'drain');
      }
      client.end();
    });
  });
  const before = process.memoryUsage().rss;
  await done;
  assert.equal(received, total);
  assert.equal(server.digest('hex'), digest.digest('hex'));
  assert.ok(peakBytes - before < 160 << 20, `memory grew by ${(peakBytes - before) >> 20} MB`);
});

test('a watch at either end sees the same requests, those without a response when the relay ends', async () => {
  const seen: Record<'pod' | 'peer', string[]> = { pod: [], peer: [] };
  const watch = (client: 'pod' | 'peer'): HttpWatch =>
    new HttpWatch({
      client,
      onRequest: ({ method, pathTemplate, status }) =>
        seen[client].push(`${method} ${pathTemplate} ${status}`),
      onLimit: () => assert.fail('no limit is near'),
    });
  const body = 'x'.repeat(300_000);
  const { port, results } = await relayed(
    (socket) => {
      socket.once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
        socket.write('HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n');
      });
      socket.on('end', () => socket.end());
    },
    { client: watch('pod'), server: watch('peer') },
  );
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const got = collect(client);
  client.end(['/orders/17', '/b', '/gone'].map((path) => `GET ${path} HTTP/1.1\r\n\r\n`).join(''));
  await got;
  await settled(results);
  const expected = ['GET /orders/* 200', 'GET /b 404', 'GET /gone 0'];
  assert.deepEqual(seen, { pod: expected, peer: expected });
});
