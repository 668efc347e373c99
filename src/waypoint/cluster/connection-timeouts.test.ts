import assert from 'node:assert/strict';
import type net from 'node:net';
import { test } from 'node:test';
import { ask, eventually, httpUpstream, echoHandler, startWaypoint } from '../../../test/support/waypoint.js';
import { key } from '../../../test/support/mesh.js';
import { settingsOfApi } from '../../../test/support/retry-policies.js';
import { connectionTimeoutsOf } from './connection-timeouts.js';

test('values of the policy: 0 is no timeout, and a dry run changes nothing', () => {
  const of = (timeouts: object) => connectionTimeoutsOf({ dryRun: false, ...timeouts });
  assert.deepEqual(of({ connectMs: 7, connectionIdleMs: 8 }), { connectMs: 7, idleMs: 8 });
  assert.deepEqual(of({ connectMs: 0, connectionIdleMs: 0 }), { connectMs: 2 ** 31 - 1, idleMs: Infinity });
  const unset = { connectMs: undefined, idleMs: undefined };
  assert.deepEqual(of({}), unset);
  assert.deepEqual(of({ connectMs: 7, dryRun: true }), unset);
  assert.deepEqual(connectionTimeoutsOf(undefined), unset);
});

test('a connection that is not there in time fails the attempt, and is closed if it comes later', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const late: net.Socket[] = [];
  // The endpoint accepts no connection until the test says so: a response before that did not wait for it.
  let accept = (): void => undefined;
  const accepts = new Promise<void>((resolve) => (accept = resolve));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    dial: (dial) => async (endpoint, client) => {
      await accepts;
      const stream = (await dial(endpoint, client)) as net.Socket;
      late.push(stream);
      return stream;
    },
  });
  waypoint.apply({ servicePolicies: [settingsOfApi('t', { timeouts: { connectMs: 60 } })] });
  assert.equal((await ask(waypoint.port)).status, 503);
  const { flag, code, why } = waypoint.records[0] ?? {};
  assert.deepEqual([flag, code], ['UF', 'WEFT_UPSTREAM_CONNECT']);
  assert.match(why ?? '', /timed out after 60 ms/);
  accept();
  await eventually(() => late[0]?.destroyed === true, 'the late connection is closed');
  assert.equal(waypoint.clusters.connections, 0);
  // The change applies to the connections that are opened from now on.
  waypoint.apply({ servicePolicies: [settingsOfApi('t', { timeouts: { connectMs: 30_000 } })] });
  assert.equal((await ask(waypoint.port)).status, 200);
});

test('connections without a request are closed after the policy’s time', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    limits: { idleUpstreamMsMax: 1 },
  });
  const apply = (connectionIdleMs: number): void =>
    void waypoint.apply({ servicePolicies: [settingsOfApi('t', { timeouts: { connectionIdleMs } })] });
  apply(60_000);
  await ask(waypoint.port);
  await new Promise((resolve) => setTimeout(resolve, 1_300));
  assert.equal(waypoint.clusters.connections, 1, 'the waypoint’s own time is shorter');
  apply(1);
  waypoint.clusters.ofService(key('api'), 80);
  await eventually(() => waypoint.clusters.connections === 0, 'it is closed');
});
