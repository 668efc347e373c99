import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policy, anyRequest } from '../../../test/support/mesh.js';
import {
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  startWaypoint,
  echoHandler,
} from '../../../test/support/waypoint.js';
import type { HttpMatch } from '../../model/policy.js';

const http_ = (more: Partial<HttpMatch>): HttpMatch => ({ ...anyRequest, ...more });
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('bytes that are not HTTP are relayed as TCP if no protocol is declared', async (t) => {
  const port = await rawUpstream(t, (socket) => {
    socket.on('data', (bytes: Buffer) => socket.write(bytes.toString().toLowerCase()));
    socket.on('end', () => socket.end(':end'));
  });
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, limits: { detectTimeoutMsMax: 200 } });
  for (const text of ['\x16\x03\x01TLS', 'EHLO X\r\n', 'GET KEY\r\n', 'QUIT', 'PING\r\n']) {
    for (const endsAtOnce of [false, true]) {
      const client = await RawClient.open(waypoint.port);
      client.write(text);
      if (!endsAtOnce) await client.until((got) => got === text.toLowerCase(), text);
      client.socket.end();
      await client.untilClosed();
      assert.equal(client.text, `${text.toLowerCase()}:end`, `${text} ${endsAtOnce}`);
    }
  }
  await eventually(() => waypoint.context.connections.size === 0, 'no connection is left');
  const declared = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http1' });
  const client = await RawClient.open(declared.port);
  client.write('EHLO X\r\n\r\n');
  await client.untilClosed();
  assert.match(client.text, /^HTTP\/1\.1 400 /);
  // A policy on HTTP attributes refuses the connection.
  const withPolicy = await startWaypoint(t, {
    backends: { api: [port] },
    policies: [policy('p', 'deny', { http: http_({ methods: ['DELETE'] }) })],
  });
  const refused = await RawClient.open(withPolicy.port);
  refused.write('EHLO X\r\n');
  await refused.untilClosed();
  assert.equal(refused.text, '');
});

test('a client that disconnects while its endpoint is dialed leaves nothing behind', async (t) => {
  const good = await httpUpstream(t, echoHandler('good'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [good.port] },
    protocol: 'tcp',
    dial: (dial) => async (endpoint, client) => {
      await sleep(150);
      return dial(endpoint, client);
    },
  });
  const client = await RawClient.open(waypoint.port);
  await eventually(() => waypoint.context.connections.size === 1, 'it is taken');
  client.socket.resetAndDestroy();
  await eventually(() => waypoint.context.connections.size === 0, 'no exchange is left');
});
