/** Circuit breakers through waypoints, between real clients and an endpoint that responds when the test says so. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import { test, type TestContext } from 'node:test';
import { breakerPolicy, clusterOf, sharedCounters, totals } from '../../../../test/support/breakers.js';
import { id } from '../../../../test/support/mesh.js';
import {
  ask,
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../../test/support/waypoint.js';
import { parseIp } from '../../../model/address.js';
import type { ServicePolicy } from '../../../model/service-policy.js';
import type { Upstream } from '../../http/http-stream.js';
import { clientOf } from '../../listener/client.js';
import type { Dial } from '../connection-pool.js';
import { breakerLimitsOf } from './limits.js';

/** Workers of one waypoint before one endpoint, whose responses wait in `held`. */
async function workersWith(
  t: TestContext,
  count: number,
  settings: Partial<ServicePolicy>,
  options: (worker: number) => Partial<WaypointOptions> = () => ({}),
) {
  const held: http.ServerResponse[] = [];
  let connectionsMax = 0;
  let connections = 0;
  const { port } = await httpUpstream(t, (_request, response) => void held.push(response));
  const counted =
    (dial: Dial): Dial =>
    async (...to) => {
      connectionsMax = Math.max(connectionsMax, ++connections);
      const stream = await dial(...to);
      return stream.once('close', () => connections--);
    };
  const counters = sharedCounters(count);
  const workers: TestWaypoint[] = [];
  for (const [i, own] of counters.workers.entries()) {
    const worker = await startWaypoint(t, {
      backends: { api: [port] },
      counters: own,
      dial: counted,
      ...options(i),
    });
    worker.apply({ servicePolicies: [breakerPolicy(settings)] });
    workers.push(worker);
  }
  const apply = (next: Partial<ServicePolicy>): void =>
    workers.forEach((worker) => worker.apply({ servicePolicies: [breakerPolicy(next)] }));
  const release = (): void => held.splice(0).forEach((response) => response.end('ok'));
  return { held, workers, counters, apply, release, connectionsMax: () => connectionsMax };
}

/** Responds to everything until all requests have ended; the number of each status. */
async function ended(
  requests: readonly Promise<{ readonly status: number }>[],
  release: () => void,
): Promise<Record<number, number>> {
  const timer = setInterval(release, 5);
  const found: Record<number, number> = {};
  for (const { status } of await Promise.all(requests)) found[status] = (found[status] ?? 0) + 1;
  clearInterval(timer);
  return found;
}

const many = (count: number, ports: readonly number[]) =>
  Array.from({ length: count }, (_, i) => ask(ports[i % ports.length] ?? 0));

test('requests beyond the limit of all workers together get 503, with what Envoy’s clients know, and those that end make room', async (t) => {
  const { workers, held, release } = await workersWith(t, 2, { requestsMax: 5 });
  const requests = many(
    20,
    workers.map(({ port }) => port),
  );
  await eventually(() => workers.flatMap(({ records }) => records).length === 15, '15 are refused');
  assert.equal(held.length, 5);
  const [worker] = workers;
  assert.ok(worker);
  assert.equal(totals(clusterOf(worker))[2], 5);
  const { flag, code, actions, attempts } = worker.records[0] ?? {};
  assert.deepEqual([flag, code, attempts], ['UO', 'WEFT_REQUESTS_FULL', 0]);
  assert.deepEqual(actions, [{ feature: 'circuit-breaker', mode: 'did', policy: 'TrafficPolicy shop/api' }]);
  assert.equal((await ask(worker.port)).headers['x-envoy-overloaded'], 'true');
  assert.deepEqual(await ended(requests, release), { 200: 5, 503: 15 });
  for (const one of workers) assert.deepEqual(totals(clusterOf(one))[2], 0);
  assert.deepEqual(await ended([ask(worker.port)], release), { 200: 1 });
});

test('there are never more connections than the limit of all workers; requests wait for one, those of every worker', async (t) => {
  const { workers, release, connectionsMax } = await workersWith(t, 2, { connectionsMax: 3 });
  const found = await ended(
    many(
      60,
      workers.map(({ port }) => port),
    ),
    release,
  );
  assert.deepEqual(found, { 200: 60 });
  assert.ok(connectionsMax() <= 3, `${connectionsMax()} connections`);
  for (const { limitsReached } of workers) assert.ok(limitsReached.includes('cluster-connections'));
});

test('a client at its own limit of connections gets the idle connection of another worker closed', async (t) => {
  const { workers, release, connectionsMax } = await workersWith(t, 2, { clientConnectionsMax: 1 }, () => ({
    limits: { idleUpstreamMsMax: 60_000 },
  }));
  const [first, second] = workers;
  assert.ok(first && second);
  const startMs = performance.now();
  for (const worker of [first, second, first]) {
    assert.deepEqual(await ended([ask(worker.port)], release), { 200: 1 });
    await eventually(() => totals(clusterOf(worker))[2] === 0, 'the connection is idle');
  }
  // While the other worker is busy, too.
  const busy = Array.from({ length: 20 }, () => ask(first.port));
  assert.deepEqual(await ended([...busy, ask(second.port)], release), { 200: 21 });
  assert.equal(connectionsMax(), 1);
  assert.ok(
    performance.now() - startMs < 55_000,
    'no request waits until the connection has been idle for too long',
  );
  await eventually(
    () => [first, second].every((one) => clusterOf(one).breaker.clientsWanted().length === 0),
    'no worker waits',
  );
});

test('one client cannot take all: another one is served at once', async (t) => {
  const settings = { requestsMax: 10, clientRequestsMax: 4 };
  const names = ['greedy', 'greedy', 'modest'].map((name) => id(name));
  const { workers, held, release } = await workersWith(t, 3, settings, (i) => ({
    identity: names[i] ?? id('a'),
  }));
  const [first, second, other] = workers;
  assert.ok(first && second && other);
  const greedy = many(40, [first.port, second.port]);
  await eventually(() => first.records.length + second.records.length === 36, 'all but four are refused');
  const modest = many(4, [other.port]);
  await eventually(() => held.length === 8, 'those of the other client are under way');
  assert.equal(other.records.length, 0);
  assert.deepEqual(await ended(greedy, release), { 200: 4, 503: 36 });
  assert.deepEqual(await ended(modest, release), { 200: 4 });
});

test('a request waits for a connection no longer than the policy says; only so many wait', async (t) => {
  const settings = { connectionsMax: 1, pendingRequestsMax: 2, pendingTimeoutMs: 1_500 };
  const { workers, held, release } = await workersWith(t, 1, settings);
  const [worker] = workers;
  assert.ok(worker);
  const first = ask(worker.port);
  await eventually(() => held.length === 1, 'the connection is in use');
  const waiting = many(3, [worker.port]);
  assert.deepEqual(
    (await Promise.all(waiting)).map(({ status }) => status),
    [503, 503, 503],
  );
  const reasons = worker.records.map(({ why }) => why ?? '').sort();
  assert.match(reasons[0] ?? '', /limit of connections to this Service reached \(1\)/);
  assert.match(reasons[2] ?? '', /that wait for a connection reached \(2\)/);
  assert.deepEqual(await ended([first], release), { 200: 1 });
  await eventually(() => String(totals(clusterOf(worker))) === '1,0,0', 'the connection is idle');
});

test('a connection serves so many requests', async (t) => {
  const { workers, release } = await workersWith(t, 1, { requestsPerConnectionMax: 2 });
  const [worker] = workers;
  assert.ok(worker);
  for (let i = 0; i < 6; i++) await ended([ask(worker.port)], release);
  const [endpoint] = clusterOf(worker).endpoints;
  assert.equal(endpoint?.counts.connected, 3);
});

test('in dry run nothing is refused, and everything is counted', async (t) => {
  const settings = { requestsMax: 1, connectionsMax: 1, pendingRequestsMax: 0, clientRequestsMax: 1 };
  const { workers, release } = await workersWith(t, 1, { ...settings, circuitBreakerDryRun: true });
  const [worker] = workers;
  assert.ok(worker);
  assert.deepEqual(await ended(many(4, [worker.port]), release), { 200: 4 });
  assert.deepEqual([...new Set(worker.actions)], ['circuit-breaker would TrafficPolicy shop/api']);
  assert.ok(worker.records.filter(({ actions }) => actions.length > 0).length >= 3);
  assert.deepEqual(worker.limitsReached, []);
});

test('an annotation’s limit stays in force beside a policy in dry run', () => {
  const origins = [
    { setting: 'requestsMax', object: 'Service shop/api' },
    { setting: 'connectionsMax', object: 'TrafficPolicy shop/api' },
    { setting: 'circuitBreakerDryRun', object: 'TrafficPolicy shop/api' },
  ];
  const { all } = breakerLimitsOf({ requestsMax: 1, connectionsMax: 2, circuitBreakerDryRun: true, origins });
  assert.deepEqual(
    all.map(({ isDryRun }) => isDryRun),
    [true, false, false],
  );
});

test('one client may have all waiting requests that a policy allows, and a share of those that an annotation does', () => {
  const shares = (object: string): boolean =>
    breakerLimitsOf({ pendingRequestsMax: 50, origins: [{ setting: 'pendingRequestsMax', object }] })
      .hasFairShares;
  assert.deepEqual(
    ['TrafficPolicy shop/a', 'DestinationRule shop/a', 'Service shop/a', 'Namespace shop'].map(shares),
    [false, false, true, true],
  );
});

test('a policy that changes all the time loses no count and invents none', async (t) => {
  const { workers, apply, release } = await workersWith(t, 2, { requestsMax: 6 });
  let changes = 0;
  const changing = setInterval(() => {
    const limits = { requestsMax: 6, connectionsMax: 6, pendingRequestsMax: 50, clientRequestsMax: 6 };
    const names = Object.keys(limits) as (keyof typeof limits)[];
    apply(
      Object.fromEntries(
        names.filter((_, i) => ((changes >> i) & 1) === 0).map((name) => [name, limits[name]]),
      ),
    );
    changes++;
    for (const worker of workers) for (const total of totals(clusterOf(worker))) assert.ok(total >= 0);
  }, 3);
  const ports = workers.map(({ port }) => port);
  for (let round = 0; round < 15; round++) await ended(many(40, ports), release);
  clearInterval(changing);
  assert.ok(changes > 15);
  apply({ requestsMax: 3, clientRequestsMax: 3 });
  for (const worker of workers) assert.deepEqual(totals(clusterOf(worker)).slice(1), [0, 0]);
  const found = await ended(many(3, ports), release);
  assert.deepEqual(found, { 200: 3 }, 'nothing is counted any more');
});

test('what a dead worker had counted is free again', async (t) => {
  const { workers, counters, held, release } = await workersWith(t, 2, {
    requestsMax: 4,
    clientRequestsMax: 4,
  });
  const [dying, other] = workers;
  assert.ok(dying && other);
  const lost = many(4, [dying.port]);
  await eventually(() => held.length === 4, 'all are in use');
  assert.equal((await ask(other.port)).status, 503);
  counters.main.forgetWorker(0);
  const requests = many(5, [other.port]);
  await eventually(() => held.length === 8, 'the other worker may use them');
  assert.deepEqual(await ended(requests, release), { 200: 4, 503: 1 });
  await ended(lost, release);
});

test('1 000 clients, one of which floods: no other is refused', async (t) => {
  const settings = {
    connectionsMax: 2_000,
    clientConnectionsMax: 10,
    clientPendingRequestsMax: 5,
    clientRequestsMax: 15,
  };
  const { workers, held } = await workersWith(t, 1, settings);
  const [worker] = workers;
  assert.ok(worker);
  const cluster = clusterOf(worker);
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  const clientNamed = (name: string) => clientOf(id(name), { ip: parseIp('127.0.0.1'), port: 1 });
  const served: Upstream[] = [];
  const outcome = { refused: 0, served: 0 };
  const releases: (() => void)[] = [];
  const send = (name: string): Promise<boolean> =>
    new Promise((resolve) => {
      const client = clientNamed(name);
      const admitted = cluster.admit(endpoint, client);
      if (!admitted) return resolve(false);
      releases.push(() => cluster.release(endpoint, admitted));
      cluster.acquire(endpoint, client, 'http1', false, (upstream) => {
        if (upstream) served.push(upstream);
        resolve(upstream !== undefined);
      });
    });
  const flood = Array.from({ length: 1_000 }, () => send('flooding'));
  const others = Array.from({ length: 999 }, (_, i) => send(`client-${i}`));
  for (const isServed of await Promise.all(others)) outcome[isServed ? 'served' : 'refused']++;
  assert.deepEqual(outcome, { refused: 0, served: 999 });
  for (const upstream of served) upstream.cancel();
  const flooded = await Promise.all(flood);
  assert.ok(flooded.filter((isServed) => isServed).length <= 15, 'the flood gets no more than its share');
  for (const upstream of served) upstream.cancel();
  for (const release of releases) release();
  assert.equal(held.length, 0);
  await eventually(() => String(totals(cluster)) === '0,0,0', 'everything is released');
  // Clients of which nothing is under way are forgotten, and with them their counts.
  for (let i = 0; i < 12; i++) cluster.sweep();
  assert.equal((cluster.breaker.dump() as { clients: object[] }).clients.length, 0);
});

test('TCP: connections beyond the limit are reset and logged with a code; one that ends makes room', async (t) => {
  const port = await rawUpstream(
    t,
    (socket) => void socket.on('data', (bytes: Buffer) => socket.write(bytes)),
  );
  const options = { protocol: 'tcp', backends: { api: [port] } } as const;
  const { workers } = await workersWith(t, 2, { connectionsMax: 2 }, () => options);
  const open = async (worker: TestWaypoint | undefined): Promise<RawClient> => {
    const client = await RawClient.open(worker?.port ?? 0);
    client.write('x');
    return client;
  };
  const echoed = (client: RawClient): Promise<unknown> => client.until((got) => got === 'x', 'an echo');
  const first = await open(workers[0]);
  const second = await open(workers[1]);
  await echoed(first);
  await echoed(second);
  const refused = await open(workers[0]);
  await refused.untilClosed();
  assert.equal(refused.text, '');
  assert.deepEqual(workers[0]?.relayed, [undefined, 'limit of connections to this Service reached (2)']);
  assert.deepEqual(workers[0]?.actions, ['circuit-breaker did TrafficPolicy shop/api']);
  second.socket.resetAndDestroy();
  const [worker] = workers;
  assert.ok(worker);
  await eventually(() => totals(clusterOf(worker))[0] === 1, 'it has ended');
  await echoed(await open(worker));
});

test('TCP: a connection without a byte ends after the time that the policy says', async (t) => {
  const port = await rawUpstream(
    t,
    (socket) => void socket.on('data', (bytes: Buffer) => socket.write(bytes)),
  );
  const worker = await startWaypoint(t, { protocol: 'tcp', backends: { api: [port] } });
  worker.apply({ servicePolicies: [breakerPolicy({ timeouts: { tcpIdleMs: 1_500, dryRun: false } })] });
  const client = await RawClient.open(worker.port);
  for (let i = 0; i < 10; i++) {
    client.write('x');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await client.until((text) => text === 'x'.repeat(10), 'it lives as long as bytes move');
  await client.untilClosed();
  assert.deepEqual(worker.actions, ['timeout did TrafficPolicy shop/api']);
  await eventually(() => totals(clusterOf(worker))[2] === 0, 'it is released');
});
