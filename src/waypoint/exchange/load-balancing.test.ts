import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { key } from '../../../test/support/mesh.js';
import {
  ask,
  backend,
  deadPort,
  echoHandler,
  httpUpstream,
  meshOf,
  route,
  startWaypoint,
} from '../../../test/support/waypoint.js';
import type { HashKey, LoadBalancing, LocalityPolicy } from '../../discovery/gen/weft.js';
import type { ServicePolicy } from '../../model/service-policy.js';

const policy = (more: Partial<ServicePolicy>): ServicePolicy => ({
  service: key('api'),
  port: 80,
  origins: [{ setting: 'locality', object: 'TrafficPolicy shop/near' }],
  ...more,
});
const maglev = (...keys: Partial<HashKey>[]): LoadBalancing => ({
  kind: {
    $case: 'maglev',
    value: {
      tableSize: 0,
      keys: keys.map((one) => ({ kind: 'header', name: '', cookieTtlMs: 0, cookiePath: '', ...one })),
    },
  },
  slowStart: undefined,
});

async function upstreams(t: TestContext, count: number): Promise<number[]> {
  const all = await Promise.all(
    Array.from({ length: count }, (_, i) => httpUpstream(t, echoHandler(`api-${i}`))),
  );
  return all.map(({ port }) => port);
}
const nameOf = async (port: number, headers: Record<string, string> = {}): Promise<string> =>
  String((await ask(port, { headers })).headers['x-upstream']);

test('requests with the same header go to the same endpoint, and others keep theirs when one leaves', async (t) => {
  const ports = await upstreams(t, 4);
  const waypoint = await startWaypoint(t, { backends: { api: ports } });
  waypoint.apply({ servicePolicies: [policy({ loadBalancing: maglev({ name: 'x-user' }) })] });
  const users = Array.from({ length: 40 }, (_, i) => `user-${i}`);
  const all = (): Promise<string[]> =>
    Promise.all(users.map((user) => nameOf(waypoint.port, { 'x-user': user })));
  const before = await all();
  assert.deepEqual(await all(), before);
  assert.equal(new Set(before).size, 4);
  const { workloads = [] } = meshOf({ api: ports });
  waypoint.apply({ mesh: { removed: [workloads[0]?.uid ?? ''] } });
  const after = await all();
  assert.ok(!after.includes('api-0'));
  const moved = after.filter((name, i) => name !== before[i] && before[i] !== 'api-0').length;
  assert.ok(moved <= 6, `${moved} of ${users.length} moved`);
});

test('a cookie is set once, and later requests with it go to the same endpoint', async (t) => {
  const waypoint = await startWaypoint(t, { backends: { api: await upstreams(t, 4) } });
  const cookie = { kind: 'cookie', name: 's', cookieTtlMs: 60_000, cookiePath: '/' };
  waypoint.apply({ servicePolicies: [policy({ loadBalancing: maglev(cookie) })] });
  for (let i = 0; i < 8; i++) {
    const first = await ask(waypoint.port);
    const [set = ''] = first.headers['set-cookie'] ?? [];
    assert.match(set, /^s=[0-9a-f]{16}; Max-Age=60; Path=\/; HttpOnly$/);
    const [pair = ''] = set.split(';');
    const next = await ask(waypoint.port, { headers: { cookie: pair } });
    assert.equal(next.headers['set-cookie'], undefined);
    assert.equal(next.headers['x-upstream'], first.headers['x-upstream']);
  }
});

test('session persistence goes before the hash', async (t) => {
  const rule = {
    backends: [backend('api')],
    sessionPersistence: { kind: 'header' as const, name: 'x-session', permanent: false },
  };
  const waypoint = await startWaypoint(t, {
    backends: { api: await upstreams(t, 4) },
    routes: [route('sticky', [rule])],
  });
  waypoint.apply({ servicePolicies: [policy({ loadBalancing: maglev({ name: 'x-user' }) })] });
  const first = await ask(waypoint.port, { headers: { 'x-user': 'ann' } });
  const session = String(first.headers['x-session']);
  for (let i = 0; i < 8; i++) {
    const name = await nameOf(waypoint.port, { 'x-session': session, 'x-user': `user-${i}` });
    assert.equal(name, first.headers['x-upstream']);
  }
});

test('a request goes on to the next endpoint of its key if one does not accept connections', async (t) => {
  const [live = 0] = await upstreams(t, 1);
  const waypoint = await startWaypoint(t, { backends: { api: [await deadPort(), live] } });
  waypoint.apply({ servicePolicies: [policy({ loadBalancing: maglev({ name: 'x-user' }) })] });
  for (let i = 0; i < 12; i++) assert.equal(await nameOf(waypoint.port, { 'x-user': `user-${i}` }), 'api-0');
});

test('failover: requests go to another zone while the near endpoints are ejected, and the log names the policy', async (t) => {
  const [far = 0] = await upstreams(t, 1);
  const waypoint = await startWaypoint(t, { backends: { api: [await deadPort(), far] } });
  const locality: LocalityPolicy = {
    preference: ['node'],
    overprovisioningPercent: 140,
    panicPercent: 0,
    minEndpoints: 0,
  };
  const { workloads = [] } = meshOf({ api: [await deadPort(), far] });
  waypoint.apply({
    mesh: { workloads: workloads.map((one, i) => (i === 1 ? { ...one, node: 'node-2' } : one)) },
    servicePolicies: [policy({ locality })],
  });
  for (let i = 0; i < 3; i++) assert.equal((await ask(waypoint.port)).status, 200);
  assert.ok(waypoint.actions.includes('failover did TrafficPolicy shop/near'));
  const cluster = waypoint.clusters.ofService(key('api'), 80)?.dump() as {
    levels: { loadPercent: number; healthy: number }[];
  };
  assert.deepEqual(
    cluster.levels.map(({ healthy, loadPercent }) => [healthy, loadPercent]),
    [
      [0, 0],
      [1, 100],
    ],
  );
  // Without the policy, the Service has no preference: there is one level.
  waypoint.apply({ removedServicePolicies: [`${key('api')}:80`] });
  assert.equal(waypoint.clusters.ofService(key('api'), 80)?.endpoints.length, 2);
});
