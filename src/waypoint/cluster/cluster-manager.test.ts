import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LoadBalancing } from '../../discovery/gen/weft.js';
import { clustersOf } from '../../../test/support/clusters.js';
import { behind, id, key, service, workload } from '../../../test/support/mesh.js';
import { meshOf, selfReference } from '../../../test/support/waypoint.js';
import { parseIp } from '../../model/address.js';
import { defaultLimits } from '../limits.js';
import { clientOf } from '../listener/client.js';
import { notServed } from '../listener/destination.js';
import type { ServicePolicy } from '../../model/service-policy.js';
import type { ServiceKey } from '../../model/workload.js';
import { WaypointState } from '../state/waypoint-state.js';
import type { Cluster } from './cluster.js';
import { ClusterManager } from './cluster-manager.js';
import type { Dial } from './connection-pool.js';

const stateOf = (mesh: ReturnType<typeof meshOf>): WaypointState => {
  const state = new WaypointState('node-1', key('waypoint'));
  state.apply({ mesh });
  return state;
};

const random: LoadBalancing = { kind: { $case: 'random', value: {} }, slowStart: undefined };

test('the number of clusters stays bounded when clients dial every port of every pod', () => {
  const pods = ['a', 'b'].map((name, i) =>
    workload(name, `10.0.0.${i + 1}`, 'node-1', { ...behind('api'), waypoint: selfReference }),
  );
  const state = stateOf({
    workloads: pods,
    services: [service('api', '10.96.0.1', 8080, { waypoint: selfReference })],
  });
  const clusters = clustersOf(state);
  const listed = clusters.ofService(key('api'), 80);
  assert.ok(listed?.endpoints[0]);
  const at = (pod: (typeof pods)[number], port: number): Cluster =>
    clusters.ofWorkload(pod, { ip: pod.addresses[0] ?? parseIp('10.0.0.1'), port });
  const [first] = pods;
  assert.ok(first);
  const inUse = at(first, 9090);
  const [endpoint] = inUse.endpoints;
  assert.ok(endpoint && inUse.admit(endpoint));
  for (const pod of pods) for (let port = 1; port < 65_536; port++) at(pod, port);
  assert.ok(clusters.size <= 16_385, `${clusters.size}`);
  // Clusters in use and clusters of Services keep their identity.
  assert.equal(at(first, 9090), inUse);
  assert.equal(clusters.ofService(key('api'), 80), listed);
});

test('a cluster and its endpoints survive updates; they end with the Service’s port', () => {
  const state = stateOf(meshOf({ api: [8080, 8081] }));
  const clusters = clustersOf(state);
  const cluster = clusters.ofService(key('api'), 80);
  const [kept, removed] = cluster?.endpoints ?? [];
  assert.ok(cluster && kept && removed);
  assert.ok(cluster.admit(kept));
  cluster.report(kept, 'connect-failed', 0);
  cluster.report(kept, 503, 1);
  const { workloads = [], services = [] } = meshOf({ api: [8080, 8082] });
  state.apply({ mesh: { workloads } });
  assert.equal(clusters.ofService(key('api'), 80), cluster);
  assert.deepEqual(
    cluster.endpoints.map(({ target }) => target.port),
    [8080, 8082],
  );
  assert.equal(cluster.endpoints[0], kept);
  assert.deepEqual([kept.active, kept.health.failures, kept.counts.error], [1, 1, 1]);
  assert.ok(removed.isDraining);
  state.apply({
    mesh: {
      services: services.map((one) => ({
        ...one,
        ports: [{ servicePort: 81, targetPort: 8080, appProtocol: 'unknown' }],
      })),
    },
  });
  assert.equal(clusters.ofService(key('api'), 80), undefined);
  assert.equal(clusters.size, 1, 'its request is still under way');
  assert.ok(kept.isDraining);
  assert.ok(clusters.ofService(key('api'), 81));
});

test('an endpoint to which the way has changed is another one: its connections are not used any more', () => {
  const state = stateOf(meshOf({ api: [8080] }));
  const clusters = clustersOf(state);
  const cluster = clusters.ofService(key('api'), 80);
  const seen = new Set<unknown>(cluster?.endpoints);
  const { workloads = [], services = [] } = meshOf({ api: [8080] });
  const other = { ...selfReference, service: key('other') };
  for (const mesh of [
    { workloads: workloads.map((one) => ({ ...one, tunnel: 'none' as const })) },
    { services: services.map((one) => ({ ...one, waypoint: other })) },
    { services: services.map((one) => ({ ...one, waypoint: { ...other, service: key('third') } })) },
  ]) {
    state.apply({ mesh });
    assert.equal(clusters.ofService(key('api'), 80), cluster);
    const [endpoint] = cluster?.endpoints ?? [];
    assert.ok(endpoint && !seen.has(endpoint));
    seen.add(endpoint);
  }
});

test('10000 clusters come and go, used or not, and nothing of them stays', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval', 'Date'] });
  const state = new WaypointState('node-1', key('waypoint'));
  const clusters = clustersOf(state);
  const many = 10_000;
  const names = Array.from({ length: many }, (_, i) => `s${i}`);
  state.apply({
    mesh: {
      services: names.map((name, i) => service(name, `10.${96 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`)),
      workloads: names.map((name, i) => workload(name, `10.1.${i >> 8}.${i & 255}`, 'node-1', behind(name))),
    },
  });
  for (const name of names) assert.equal(clusters.ofService(key(name), 80)?.endpoints.length, 1, name);
  assert.equal(clusters.size, many);
  const removed: ServiceKey[] = names.map((name) => key(name));
  state.apply({ mesh: { removed } });
  // Some are asked for again; the sweep finds the others.
  for (const name of names.slice(0, 100)) assert.equal(clusters.ofService(key(name), 80), undefined);
  t.mock.timers.tick(1_000);
  for (let turn = 0; clusters.size > 0 && turn < many; turn++)
    await new Promise((resolve) => setImmediate(resolve));
  assert.equal(clusters.size, 0);
  assert.equal(clusters.connections, 0);
});

test('the cluster of a dialed workload is forgotten when it was idle for a minute, or its workload is gone', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval', 'Date'] });
  const pods = ['a', 'b'].map((name, i) => workload(name, `10.0.0.${i + 1}`, 'node-1'));
  const state = stateOf({ workloads: pods, services: [] });
  const clusters = clustersOf(state);
  const [a, b] = pods;
  const [ofA, ofB] = pods.map((pod) =>
    clusters.ofWorkload(pod, { ip: pod.addresses[0] ?? parseIp('::'), port: 80 }),
  );
  const [endpoint] = ofA?.endpoints ?? [];
  assert.ok(a && b && ofA && ofB && endpoint && ofA.admit(endpoint));
  t.mock.timers.tick(1_000);
  assert.equal(clusters.size, 2);
  t.mock.timers.tick(120_000);
  assert.equal(clusters.size, 1, 'the one in use stays');
  state.apply({ mesh: { removed: [a.uid] } });
  t.mock.timers.tick(1_000);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(clusters.size, 1, 'it drains');
  ofA.release(endpoint);
  t.mock.timers.tick(1_000);
  assert.equal(clusters.size, 0);
});

test('settings of a Service’s port apply to its cluster, which stays the same object, at once and until they are removed', () => {
  const services = [service('api', '10.96.0.1', 8080, { waypoint: selfReference })];
  const state = stateOf({ workloads: [workload('a', '10.0.0.1', 'node-1', behind('api'))], services });
  const clusters = clustersOf(state);
  const cluster = clusters.ofService(key('api'), 80);
  const [endpoint] = cluster?.endpoints ?? [];
  assert.ok(cluster && endpoint);
  const policy = (more: Partial<ServicePolicy>): ServicePolicy => ({
    service: key('api'),
    port: 80,
    origins: [],
    ...more,
  });
  const applied = (): unknown => (clusters.ofService(key('api'), 80)?.dump() as { policy: unknown }).policy;
  const before = applied();
  state.apply({
    servicePolicies: [
      policy({ loadBalancing: random, requestsMax: 1, pendingRequestsMax: 7, retryBudgetMin: 1 }),
    ],
  });
  assert.deepEqual(applied(), {
    balancer: 'random',
    pendingRequestsMax: 7,
    requestsMax: 1,
    retryBudget: { percent: 20, retriesMin: 1 },
  });
  assert.equal(clusters.ofService(key('api'), 80), cluster);
  assert.ok(cluster.admit(endpoint));
  assert.ok(!cluster.admit(endpoint));
  // Settings of another port and another Service.
  state.apply({
    servicePolicies: [policy({ port: 81, requestsMax: 9 }), { ...policy({}), service: key('web') }],
  });
  assert.equal((applied() as { requestsMax: number }).requestsMax, 1);
  state.apply({ removedServicePolicies: [`${key('api')}:80`] });
  assert.deepEqual(applied(), before);
  assert.ok(cluster.admit(endpoint));
});

test('a port whose settings are not understood has no cluster until they are', () => {
  const services = [service('api', '10.96.0.1', 8080, { waypoint: selfReference })];
  const state = stateOf({ workloads: [workload('a', '10.0.0.1', 'node-1', behind('api'))], services });
  const clusters = clustersOf(state);
  assert.ok(clusters.ofService(key('api'), 80));
  const closed = { service: key('api'), port: 80, origins: [], closed: 'field 50' };
  state.apply({ servicePolicies: [closed] });
  assert.equal(clusters.ofService(key('api'), 80), undefined);
  state.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [] }] });
  assert.ok(clusters.ofService(key('api'), 80));
});

test('a connection older than a change of its workload does not take the workload’s cluster back to what it was', () => {
  const before = workload('a', '10.0.0.1', 'node-1', { tunnel: 'none', waypoint: selfReference });
  const state = stateOf({ workloads: [before], services: [] });
  const clusters = clustersOf(state);
  const target = { ip: parseIp('10.0.0.1'), port: 80 };
  clusters.ofWorkload(before, target);
  state.apply({ mesh: { workloads: [{ ...before, tunnel: 'hbone', identity: id('b') }] } });
  const [endpoint] = clusters.ofWorkload(before, target).endpoints;
  assert.deepEqual([endpoint?.workload.tunnel, endpoint?.workload.identity], ['hbone', id('b')]);
});

test('a connection to the address that a workload no longer has is not served', () => {
  const before = workload('a', '10.0.0.1', 'node-1', { waypoint: selfReference });
  const state = stateOf({ workloads: [before], services: [] });
  const dialed = { ip: parseIp('10.0.0.1'), port: 80 };
  const destination = { kind: 'workload', workload: before, dialed } as const;
  assert.equal(notServed(state, destination), undefined);
  state.apply({ mesh: { workloads: [{ ...before, addresses: [parseIp('10.0.0.2')] }] } });
  assert.match(notServed(state, destination) ?? '', /no longer has the address 10\.0\.0\.1/);
});

for (const version of ['http1', 'http2'] as const) {
  test(`${version}: no connection is opened to an endpoint that an update removed, for requests that wait or are repeated`, async () => {
    const state = stateOf(meshOf({ api: [8080] }));
    const dials: { readonly fail: (error: Error) => void }[] = [];
    const dial: Dial = () => new Promise((_, fail) => dials.push({ fail }));
    const clusters = new ClusterManager(
      state,
      dial,
      { ...defaultLimits, connectionsPerEndpointMax: 1 },
      () => undefined,
    );
    const cluster = clusters.ofService(key('api'), 80);
    const [endpoint] = cluster?.endpoints ?? [];
    assert.ok(cluster && endpoint);
    const client = clientOf(id('web'), { ip: parseIp('10.9.9.9'), port: 1 });
    const failed: (string | undefined)[] = [];
    const acquire = (fresh: boolean): void =>
      void cluster.acquire(endpoint, client, version, fresh, (_, failure) => failed.push(failure?.kind));
    acquire(false);
    acquire(false);
    assert.equal(dials.length, 1);
    // The address may belong to a workload of somebody else from here on.
    state.apply({ mesh: { workloads: meshOf({ api: [8081] }).workloads ?? [] } });
    dials[0]?.fail(new Error('unreachable'));
    await new Promise((resolve) => setImmediate(resolve));
    acquire(true);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(dials.length, 1);
    assert.deepEqual(failed, ['connect', 'connect', 'connect']);
    await assert.rejects(cluster.dial(endpoint, client), /removed/);
    assert.equal(clusters.connections, 0);
    clusters.drain();
  });
}
