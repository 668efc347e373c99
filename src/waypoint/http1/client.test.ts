import assert from 'node:assert/strict';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import { eventually, rawUpstream } from '../../../test/support/waypoint.js';
import { defaultLimits } from '../limits.js';
import type { RequestHead, UpstreamFailure, UpstreamListener } from '../http/http-stream.js';
import { Http1ClientConnection } from './client.js';

const head = (): RequestHead => ({
  method: 'POST',
  path: '/',
  authority: 'api',
  scheme: 'http',
  headers: [],
});

/** A connection that was used for one request, and the failures of the next one. */
async function kept(t: TestContext) {
  const got: string[] = [];
  const port = await rawUpstream(t, (socket) => {
    socket.on('data', (bytes: Buffer) => {
      got.push(bytes.toString('latin1'));
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
  });
  const socket = net.connect({ port, host: '127.0.0.1' });
  t.after(() => socket.destroy());
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  let isFree = false;
  const connection = new Http1ClientConnection(socket, {
    limits: defaultLimits,
    onFree: () => (isFree = true),
    onClosed: () => undefined,
  });
  const failures: UpstreamFailure[] = [];
  const listener: UpstreamListener = {
    onInterim: () => undefined,
    onHead: () => undefined,
    onUpgraded: () => undefined,
    onResponseData: () => undefined,
    onResponseEnd: () => undefined,
    onUpstreamDrain: () => undefined,
    onError: (failure) => failures.push(failure),
  };
  connection.listener = listener;
  connection.send(head(), false, undefined);
  await eventually(() => isFree, 'the connection is free again');
  connection.listener = listener;
  return { connection, socket, got, failures };
}

test('a request that was not written before its connection closed was not executed', async (t) => {
  const { connection, socket, got, failures } = await kept(t);
  connection.send(head(), true, undefined);
  socket.destroy();
  await eventually(() => failures.length === 1, 'the failure');
  assert.equal(failures[0]?.kind, 'refused');
  assert.equal(got.length, 1);
});

test('a request that was written before its connection closed may have been executed', async (t) => {
  const { connection, socket, failures } = await kept(t);
  connection.send(head(), true, undefined);
  // The request is written at the end of this turn.
  setImmediate(() => socket.destroy());
  await eventually(() => failures.length === 1, 'the failure');
  assert.equal(failures[0]?.kind, 'stale');
});
