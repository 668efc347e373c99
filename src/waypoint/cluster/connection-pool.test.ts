import assert from 'node:assert/strict';
import { test } from 'node:test';
import { key } from '../../../test/support/mesh.js';
import { startWaypoint } from '../../../test/support/waypoint.js';
import { parseIp } from '../../model/address.js';
import { clientOf } from '../listener/client.js';

test('acquiring again from within a failure does not deepen the stack', async (t) => {
  const { clusters } = await startWaypoint(t, {
    backends: { api: [8080] },
    limits: { connectionsPerEndpointMax: 0 },
  });
  const cluster = clusters.ofService(key('api'), 80);
  const endpoint = cluster?.endpoints[0];
  assert.ok(cluster && endpoint);
  const client = clientOf(undefined, { ip: parseIp('127.0.0.1'), port: 1 });
  let left = 20_000;
  await new Promise<void>((resolve) => {
    const again = (): void => {
      if (left-- === 0) return resolve();
      cluster.acquire(endpoint, client, 'http1', false, (_upstream, failure) => {
        assert.equal(failure?.kind, 'overflow');
        again();
      });
    };
    again();
  });
});
