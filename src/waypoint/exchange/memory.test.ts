import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import {
  ask,
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  startWaypoint,
  echoHandler,
} from '../../../test/support/waypoint.js';

/** Sends half a head on each connection, a few hundred at a time. */
const idleClients = `
const [port, count] = process.argv.slice(1).map(Number);
let open = 0;
const more = () => {
  if (open++ >= count) return;
  const socket = require('net').connect({ port, host: '127.0.0.1' }, () => {
    socket.write('GET / HTTP/1.1\\r\\n');
    more();
  });
  socket.on('error', () => undefined);
};
for (let i = 0; i < 200; i++) more();
`;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const rss = (): number => process.memoryUsage().rss;

test('a client that does not read a response of 200 MB costs no memory', async (t) => {
  let sent = 0;
  const piece = Buffer.alloc(256 << 10, 'x');
  const upstream = await httpUpstream(t, (_request, response) => {
    const more = (): void => {
      while (sent < 200 << 20) {
        sent += piece.length;
        if (!response.write(piece)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const client = await RawClient.open(waypoint.port);
  client.socket.pause();
  const before = rss();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  let last = -1;
  while (last !== sent) {
    last = sent;
    await sleep(200);
  }
  // Bytes in the kernel's buffers and in the backlog.
  assert.ok(sent < 40 << 20, `${sent >> 20} MB were read from the endpoint`);
  assert.ok(rss() - before < 80 << 20, `${(rss() - before) >> 20} MB are held`);
  client.socket.resetAndDestroy();
  await eventually(
    () => waypoint.context.exchanges.size === 0 && waypoint.clusters.connections === 0,
    'nothing is left open',
  );
});

test('an endpoint that does not read an upload of 200 MB costs no memory', async (t) => {
  const port = await rawUpstream(t, (socket) => void socket.pause());
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  const client = net.connect({ port: waypoint.port, host: '127.0.0.1' });
  client.on('error', () => undefined);
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${200 << 20}\r\n\r\n`);
  const piece = Buffer.alloc(256 << 10, 'x');
  let sent = 0;
  const before = rss();
  const more = (): void => {
    while (sent < 200 << 20) {
      sent += piece.length;
      if (!client.write(piece)) return void client.once('drain', more);
    }
  };
  more();
  let last = -1;
  while (last !== sent) {
    last = sent;
    await sleep(200);
  }
  assert.ok(sent < 40 << 20, `${sent >> 20} MB were read from the client`);
  assert.ok(rss() - before < 80 << 20, `${(rss() - before) >> 20} MB are held`);
  client.resetAndDestroy();
  // While reading is paused, a disconnect is not seen until something is written.
  for (const connection of waypoint.context.connections) connection.destroy();
  await eventually(
    () => waypoint.context.exchanges.size === 0 && waypoint.clusters.connections === 0,
    'nothing is left open',
  );
});

test('ten thousand idle connections cost little memory, and other requests are served meanwhile', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    protocol: 'http1',
    // On a loaded machine the first would be closed by the head timeout before the last has arrived.
    limits: { headTimeoutMsMax: 0 },
  });
  const count = 10_000;
  const before = rss();
  // The clients run in their own process: with both ends, one process would exceed its file limit.
  const clients = spawn(process.execPath, ['-e', idleClients, String(waypoint.port), String(count)]);
  t.after(() => clients.kill('SIGKILL'));
  await eventually(() => waypoint.context.connections.size === count, 'all are there', 240_000);
  const each = (rss() - before) / count;
  t.diagnostic(`${Math.round(each / 1024)} KiB for each`);
  assert.ok(each < 64 << 10, `${each}`);
  assert.equal((await ask(waypoint.port)).status, 200);
  clients.kill('SIGKILL');
  await eventually(() => waypoint.context.connections.size === 0, 'none is left', 240_000);
});

test('thousands of requests of all kinds leave nothing behind', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    request.resume();
    const kind = Number(request.url?.slice(1)) % 7;
    if (kind === 1) return void request.socket.destroy();
    if (kind === 2) {
      response.write('some');
      setTimeout(() => request.socket.destroy(), 1);
      return;
    }
    if (kind === 3) return;
    response.end('x'.repeat(kind * 1000));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 50 });
  t.after(() => agent.destroy());
  const one = (i: number): Promise<void> =>
    new Promise((resolve) => {
      const request = http.request(
        {
          port: waypoint.port,
          host: '127.0.0.1',
          path: `/${i}`,
          method: i % 2 === 0 ? 'GET' : 'POST',
          agent,
        },
        (response) => {
          response.resume();
          response.on('error', () => undefined);
          response.on('close', resolve);
        },
      );
      request.on('error', () => resolve());
      if (i % 7 === 3) setTimeout(() => request.destroy(), 5);
      // Clients that leave end only their half: the request without a response is ended below.
      request.end(i % 2 === 0 ? undefined : 'body');
    });
  let next = 0;
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      while (next < 3_000) await one(next++);
    }),
  );
  agent.destroy();
  for (const connection of waypoint.context.connections) connection.destroy();
  await eventually(
    () => waypoint.context.exchanges.size === 0 && waypoint.context.connections.size === 0,
    'no exchange and no connection is left',
  );
  const endpoints = waypoint.records
    .map(({ endpoint }) => endpoint)
    .filter((endpoint) => endpoint !== undefined);
  assert.equal(endpoints[0]?.active, 0);
  await eventually(() => waypoint.clusters.connections <= 64, 'idle connections');
  waypoint.clusters.drain();
  await eventually(() => waypoint.clusters.connections === 0, 'no connection to endpoints');
});
