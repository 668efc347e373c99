import assert from 'node:assert/strict';
import { test } from 'node:test';
import { preface } from '../../../test/support/http2-frames.js';
import {
  echoHandler,
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  startWaypoint,
} from '../../../test/support/waypoint.js';
import { connect } from '../cluster/dial.js';
import { detectBytes } from './protocol-detection.js';

test('a protocol is known after 25 bytes at most, however they are split', () => {
  for (const line of [
    'A'.repeat(99),
    'GET' + ' '.repeat(99),
    '\r\n'.repeat(99),
    'PRI * HTTP/1.0 ' + 'x'.repeat(20),
  ]) {
    let length = 1;
    while (detectBytes(Buffer.from(line.slice(0, length))) === 'more') length++;
    assert.ok(length <= 25, `${JSON.stringify(line.slice(0, 9))}: ${length} bytes`);
  }
  for (let i = 1; i < 16; i++) assert.equal(detectBytes(preface.subarray(0, i)), 'more');
  assert.equal(detectBytes(preface.subarray(0, 16)), 'http2');
});

test('each detection is counted by its result', async (t) => {
  const server = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [server.port] },
    limits: { detectTimeoutMsMax: 100 },
  });
  const after = async (bytes: string | Buffer | undefined, result: string): Promise<void> => {
    const client = await RawClient.open(waypoint.port);
    t.after(() => client.socket.destroy());
    if (bytes === undefined) client.socket.resetAndDestroy();
    else if (bytes.length > 0) client.write(bytes);
    await eventually(() => waypoint.detected.length > 0, result);
    assert.deepEqual(waypoint.detected.splice(0), [result]);
  };
  await after('GET / HTTP/1.1\r\n', 'http1');
  await after(preface, 'http2');
  await after('\x16\x03\x01', 'other');
  await after('', 'timeout');
  await after('GE', 'timeout');
  await after(undefined, 'closed');
});

test('clients that send nothing take their share of connections, and are ended', async (t) => {
  const waypoint = await startWaypoint(t, {
    backends: { api: [] },
    protocol: 'http1',
    limits: { connectionsMax: 8, headTimeoutMsMax: 300 },
  });
  const clients = [];
  for (let i = 0; i < 12; i++) clients.push(await RawClient.open(waypoint.port));
  await eventually(() => waypoint.limitsReached.length > 0, 'some are refused');
  assert.ok(waypoint.context.connections.size <= 8);
  for (const client of clients) await client.untilClosed();
  await eventually(() => waypoint.context.connections.size === 0, 'all are ended');
  assert.equal(waypoint.context.connectionShares.size, 0);
  assert.ok(waypoint.detected.every((result) => result === 'timeout'));
});

test('a drain ends a client that sends nothing', async (t) => {
  const waypoint = await startWaypoint(t, {
    backends: { api: [] },
    protocol: 'http1',
    limits: { drainIdleMs: 100 },
  });
  const client = await RawClient.open(waypoint.port);
  await eventually(() => waypoint.context.connections.size === 1, 'it is counted');
  for (const connection of waypoint.context.connections) connection.drain();
  await client.untilClosed();
  await eventually(() => waypoint.context.connections.size === 0, 'it is gone');
});

test('a client of a pod’s own port on which servers speak first does not wait', async (t) => {
  const greeter = await rawUpstream(t, (socket) => socket.write('hello'));
  const dialed: number[] = [];
  const waypoint = await startWaypoint(t, {
    backends: { api: [80] },
    podPort: 3306,
    limits: { detectTimeoutMsMax: 3_600_000 },
    dial:
      () =>
      ({ target: { ip, port } }) => {
        dialed.push(port);
        return connect({ ip, port: greeter }, 5_000);
      },
  });
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  await client.until((text) => text === 'hello', 'the greeting');
  assert.deepEqual(dialed, [3306]);
  assert.deepEqual(waypoint.detected, []);
});
