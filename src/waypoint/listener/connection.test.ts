import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { id, key, policy, service } from '../../../test/support/mesh.js';
import {
  ask,
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  startWaypoint,
  echoHandler,
} from '../../../test/support/waypoint.js';
import { deliveryMsMax } from '../../http2/unread-bytes.js';

test('a connection without any bytes yet is counted, drained and ended', async (t) => {
  const server = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, { backends: { api: [server.port] } });
  const { connections } = waypoint.context;
  const [late, silent] = [await RawClient.open(waypoint.port), await RawClient.open(waypoint.port)];
  t.after(() => late.socket.destroy());
  await eventually(() => connections.size === 2, 'both are counted');
  for (const connection of connections) connection.drain();
  // Its request is served, as the last on this connection.
  late.write('GET / HTTP/1.1\r\nhost: api\r\n\r\n');
  await late.until((text) => /connection: close/i.test(text), 'the response');
  assert.match(late.text, /^HTTP\/1.1 200 /);
  assert.equal(await late.untilClosed(), 'end');
  await eventually(() => connections.size === 1, 'one is left');
  for (const connection of connections) connection.destroy();
  assert.ok(await silent.untilClosed());
  await eventually(() => connections.size === 0, 'none is left');
  const leaver = await RawClient.open(waypoint.port);
  await eventually(() => connections.size === 1, 'it is counted');
  leaver.socket.resetAndDestroy();
  await eventually(() => connections.size === 0, 'it is gone');
  assert.equal(waypoint.context.connectionShares.size, 0);
});

test('a connection without any bytes yet ends when its Service is no longer served', async (t) => {
  const waypoint = await startWaypoint(t, { backends: { api: [] } });
  const client = await RawClient.open(waypoint.port);
  await eventually(() => waypoint.context.connections.size === 1, 'it is counted');
  waypoint.apply({ mesh: { services: [service('api', '10.96.0.1')] } });
  assert.ok(await client.untilClosed());
  await eventually(() => waypoint.context.connections.size === 0, 'it is gone');
});

test('a client gets its share of connections and no more, and the limit is counted', async (t) => {
  const waypoint = await startWaypoint(t, {
    backends: { api: [] },
    identity: id('web'),
    limits: { connectionsMax: 8 },
  });
  const clients = [];
  for (let i = 0; i < 8; i++) clients.push(await RawClient.open(waypoint.port));
  await eventually(() => waypoint.limitsReached.length === 4, 'four are refused');
  assert.equal(waypoint.context.connections.size, 4);
  assert.deepEqual(new Set(waypoint.limitsReached), new Set(['connections-per-client']));
  for (const { socket } of clients) socket.destroy();
  await eventually(() => waypoint.context.connectionShares.size === 0, 'all shares are released');
});

test('a client gets its share of requests under way and no more: further ones get 503, and the limit is counted', async (t) => {
  const hang = await httpUpstream(t, (request, response) => {
    if (request.url === '/short') response.end();
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [hang.port] },
    identity: id('web'),
    limits: { requestsMax: 4 },
  });
  const waiting = [];
  for (let i = 0; i < 2; i++) {
    const client = await RawClient.open(waypoint.port);
    client.write('GET / HTTP/1.1\r\nhost: api\r\n\r\n');
    waiting.push(client);
  }
  await eventually(() => waypoint.context.exchanges.size === 2, 'two are under way');
  assert.equal((await ask(waypoint.port, { path: '/short' })).status, 503);
  assert.equal(waypoint.records.at(-1)?.code, 'WEFT_REQUESTS_FULL');
  assert.deepEqual(waypoint.limitsReached, ['requests-per-client']);
  for (const { socket } of waiting) socket.resetAndDestroy();
  await eventually(() => waypoint.context.requestShares.size === 0, 'their shares are released');
  assert.equal((await ask(waypoint.port, { path: '/short' })).status, 200);
});

test('a connection that a policy forbids while its endpoint is dialed is never relayed', async (t) => {
  const got: string[] = [];
  const port = await rawUpstream(t, (socket) => socket.on('data', (bytes) => got.push(bytes.toString())));
  let go = (): void => undefined;
  const waypoint = await startWaypoint(t, {
    backends: { api: [port] },
    protocol: 'tcp',
    identity: id('web'),
    dial: (dial) => async (endpoint, client) => {
      await new Promise<void>((resolve) => (go = resolve));
      return dial(endpoint, client);
    },
  });
  const client = await RawClient.open(waypoint.port);
  client.write('secret');
  await eventually(() => waypoint.context.connections.size === 1, 'it is taken');
  waypoint.apply({
    mesh: { policies: [policy('p', 'deny', { destinationPorts: [80] }, { services: [key('api')] })] },
  });
  go();
  assert.equal(await client.untilClosed(), 'reset');
  await eventually(() => waypoint.context.connections.size === 0, 'it is gone');
  assert.deepEqual(got, []);
});

test('a connection to a port declared as TCP is relayed at once: the waypoint does not wait for the client’s first bytes', async (t) => {
  const port = await rawUpstream(t, (socket) => socket.write('220 hello\r\n'));
  // A wait for the client's first bytes would last longer than the test.
  const limits = { detectTimeoutMsMax: 3_600_000 };
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'tcp', limits });
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  assert.equal(await client.until((text) => text.endsWith('\n'), 'the greeting'), '220 hello\r\n');
});

test('bytes of a disconnected client wait for an endpoint that does not read them, up to a limit that is counted', async (t) => {
  let written = 0;
  const peer = new Duplex({
    read: () => undefined,
    // The callback is never called: the write does not complete.
    write: (bytes: Buffer) => void (written += bytes.length),
  });
  peer.on('error', () => undefined);
  const waypoint = await startWaypoint(t, {
    backends: { api: [1] },
    protocol: 'tcp',
    dial: () => () => Promise.resolve(peer),
  });
  const { connections } = waypoint.context;
  const client = await RawClient.open(waypoint.port);
  client.write('last words');
  await eventually(() => written > 0, 'the bytes are on their way');
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  client.socket.resetAndDestroy();
  // The reset arrives in one of these turns, and the wait begins with it.
  for (let look = 0; look < 50 && !peer.destroyed; look++) {
    await turns();
    t.mock.timers.tick(deliveryMsMax);
  }
  t.mock.timers.reset();
  assert.ok(peer.destroyed);
  await eventually(() => connections.size === 0, 'it is over');
  assert.deepEqual(waypoint.limitsReached, ['linger']);
});
