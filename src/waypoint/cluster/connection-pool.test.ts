import assert from 'node:assert/strict';
import type http2 from 'node:http2';
import { test, type TestContext } from 'node:test';
import { ask2, connect } from '../../../test/support/http2-client.js';
import { id, key } from '../../../test/support/mesh.js';
import {
  ask,
  eventually,
  http2Upstream,
  httpUpstream,
  meshOf,
  RawClient,
  startWaypoint,
  type ClientResponse,
} from '../../../test/support/waypoint.js';
import { parseIp } from '../../model/address.js';
import type { WaypointLimits } from '../limits.js';
import { clientOf, type Client } from '../listener/client.js';
import { breakerLimitsOf } from './breaker/limits.js';
import type { Dial } from './connection-pool.js';
import { defaultPolicy } from './policy.js';

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

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A waypoint with few connections to an HTTP/1 endpoint that responds when the test says so. */
async function held(t: TestContext, limits: Partial<WaypointLimits>, dial?: (dial: Dial) => Dial) {
  const requests: { readonly path: string; respond(): void; readonly port: number | undefined }[] = [];
  const upstream = await httpUpstream(t, (request, response) => {
    const path = request.url ?? '';
    requests.push({ path, respond: () => response.end(path), port: request.socket.remotePort });
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    limits,
    ...(dial ? { dial } : {}),
  });
  const cluster = waypoint.clusters.ofService(key('api'), 80);
  assert.ok(cluster);
  const queued = async (path: string, waiting: number): Promise<{ response: Promise<ClientResponse> }> => {
    const response = ask(waypoint.port, { path });
    response.catch(() => undefined);
    await eventually(() => cluster.waiting === waiting, `${path} waits`);
    return { response };
  };
  return { waypoint, cluster, requests, upstream, queued };
}

test('at the connection limit requests wait, and get the connection that becomes free in their order', async (t) => {
  const { waypoint, cluster, requests, queued } = await held(t, { connectionsPerEndpointMax: 1 });
  const first = ask(waypoint.port, { path: '/0' });
  await eventually(() => requests.length === 1, 'the first is under way');
  const others = [await queued('/1', 1), await queued('/2', 2), await queued('/3', 3)];
  await sleep(50);
  assert.equal(requests.length, 1);
  for (let i = 0; i < 4; i++) {
    await eventually(() => requests.length === i + 1, `${i} is under way`);
    requests[i]?.respond();
  }
  assert.equal((await first).body, '/0');
  for (const [i, { response }] of others.entries()) assert.equal((await response).body, `/${i + 1}`);
  assert.deepEqual(
    requests.map(({ path }) => path),
    ['/0', '/1', '/2', '/3'],
  );
  assert.equal(new Set(requests.map(({ port }) => port)).size, 1, 'one connection');
  assert.equal(cluster.waiting, 0);
  assert.deepEqual(waypoint.limitsReached, []);
});

test('a request that waits too long for a connection is refused; one whose client leaves no longer waits', async (t) => {
  const limits = { connectionsPerEndpointMax: 1, connectTimeoutMsMax: 400 };
  const { waypoint, cluster, requests, queued } = await held(t, limits);
  void ask(waypoint.port, { path: '/0' });
  await eventually(() => requests.length === 1, 'the first is under way');
  const leaving = await RawClient.open(waypoint.port);
  leaving.write('GET /left HTTP/1.1\r\nhost: a\r\n\r\n');
  await eventually(() => cluster.waiting === 1, 'it waits');
  const late = await queued('/late', 2);
  const beganMs = performance.now();
  leaving.socket.resetAndDestroy();
  await eventually(() => cluster.waiting === 1, 'the one that left does not wait');
  assert.equal((await late.response).status, 503);
  assert.ok(performance.now() - beganMs > 250, 'it has waited');
  const record = waypoint.records.at(-1);
  assert.deepEqual([record?.flag, record?.code], ['UO', 'WEFT_REQUESTS_FULL']);
  assert.deepEqual(waypoint.limitsReached, ['upstream-connections']);
  assert.equal(cluster.endpoints[0]?.counts.overflow, 1);
  // The endpoint's connection failed nobody: it is not ejected, and serves the next request.
  const next = await queued('/next', 1);
  requests[0]?.respond();
  await eventually(() => requests.length === 2, 'the next is under way');
  requests[1]?.respond();
  assert.equal((await next.response).body, '/next');
});

test('a request takes the connection that is free first, not only the one that was opened for it', async (t) => {
  let dials = 0;
  let release: (() => void) | undefined;
  const { waypoint, cluster, requests, queued } = await held(t, {}, (dial) => async (endpoint, client) => {
    if (dials++ > 0) await new Promise<void>((resolve) => (release = resolve));
    return dial(endpoint, client);
  });
  const first = ask(waypoint.port, { path: '/0' });
  await eventually(() => requests.length === 1, 'the first is under way');
  const second = await queued('/1', 1);
  assert.equal(dials, 2);
  requests[0]?.respond();
  await first;
  await eventually(() => requests.length === 2, 'the second is under way');
  requests[1]?.respond();
  assert.equal((await second.response).status, 200);
  assert.equal(requests[0]?.port, requests[1]?.port);
  release?.();
  // The connection that was opened for it is kept for the next ones.
  await eventually(() => waypoint.clusters.connections === 2 && cluster.waiting === 0, 'both are idle');
  const both = [ask(waypoint.port, { path: '/2' }), ask(waypoint.port, { path: '/3' })];
  await eventually(() => requests.length === 4, 'both are under way');
  for (const { respond } of requests.slice(2)) respond();
  assert.deepEqual(
    (await Promise.all(both)).map(({ status }) => status),
    [200, 200],
  );
  assert.equal(dials, 2);
});

test('the limit of pending requests is shared by clients: one of them does not use it up', async (t) => {
  const { waypoint, cluster, requests } = await held(t, { connectionsPerEndpointMax: 1 });
  const [endpoint] = cluster.endpoints;
  assert.ok(endpoint);
  cluster.configure({ ...defaultPolicy, breaker: breakerLimitsOf({ pendingRequestsMax: 8 }) });
  const [greedy, modest] = ['greedy', 'modest'].map((name) =>
    clientOf(id(name), { ip: parseIp('127.0.0.1'), port: 1 }),
  );
  assert.ok(greedy && modest);
  const failures: (string | undefined)[] = [];
  const acquire = (client: Client): void => {
    cluster.acquire(endpoint, client, 'http1', false, (_upstream, failure) => failures.push(failure?.kind));
  };
  for (let i = 0; i < 20; i++) acquire(greedy);
  // Each of the two opens one connection, which the first of its requests gets.
  await eventually(() => failures.length === 17, 'the greedy client is refused beyond its share');
  assert.deepEqual(new Set(failures), new Set(['overflow', undefined]));
  assert.equal(cluster.waiting, 3);
  for (let i = 0; i < 3; i++) acquire(modest);
  await eventually(() => failures.length === 18, 'the modest client gets its connection');
  assert.equal(failures.at(-1), undefined);
  assert.equal(cluster.waiting, 5);
  assert.deepEqual(new Set(waypoint.limitsReached), new Set(['pending-requests']));
  assert.equal(requests.length, 0);
});

test('a removed endpoint closes its idle connections at once, and others after their request', async (t) => {
  const { waypoint, cluster, requests, upstream } = await held(t, {});
  const both = [ask(waypoint.port, { path: '/0' }), ask(waypoint.port, { path: '/1' })];
  await eventually(() => requests.length === 2, 'both are under way');
  requests[0]?.respond();
  await both[0];
  assert.equal(waypoint.clusters.connections, 2);
  const { workloads = [] } = meshOf({ api: [upstream.port] });
  waypoint.apply({ mesh: { workloads: workloads.map((one) => ({ ...one, healthy: false })) } });
  // Nobody asks for the cluster: the sweep finds it.
  await eventually(() => waypoint.clusters.connections === 1, 'the idle one is closed');
  assert.ok(cluster.hasDraining);
  requests[1]?.respond();
  assert.equal((await both[1])?.status, 200);
  await eventually(() => waypoint.clusters.connections === 0 && !cluster.hasDraining, 'nothing is left');
});

test('HTTP/2: streams go to several connections when one is full, and within what the endpoint accepts', async (t) => {
  const streams = new Map<unknown, number>();
  let most = 0;
  const held2: http2.ServerHttp2Stream[] = [];
  const upstream = await http2Upstream(
    t,
    (stream) => {
      const open = (streams.get(stream.session) ?? 0) + 1;
      streams.set(stream.session, open);
      most = Math.max(most, open);
      held2.push(stream);
    },
    { settings: { maxConcurrentStreams: 10 } },
  );
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http2' });
  const session = connect(t, waypoint.port);
  const first = ask2(session, { ':path': '/first' });
  await eventually(() => held2.length === 1, 'the first is under way');
  const others = Array.from({ length: 34 }, () => ask2(session, { ':path': '/' }));
  await eventually(() => held2.length === 35, 'all are under way');
  assert.equal(most, 10);
  assert.equal(streams.size, 4);
  for (const stream of held2) stream.respond({ ':status': 200 }, { endStream: true });
  for (const { status } of await Promise.all([first, ...others])) assert.equal(status, 200);
});

test('HTTP/2: at the connection limit requests wait for a stream, in their order', async (t) => {
  const held2: { readonly path: string; readonly stream: http2.ServerHttp2Stream }[] = [];
  const upstream = await http2Upstream(
    t,
    (stream, headers) => held2.push({ path: headers[':path'] ?? '', stream }),
    { settings: { maxConcurrentStreams: 1 } },
  );
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    protocol: 'http2',
    limits: { connectionsPerEndpointMax: 1 },
  });
  const cluster = waypoint.clusters.ofService(key('api'), 80);
  const session = connect(t, waypoint.port);
  const responses = [ask2(session, { ':path': '/0' })];
  await eventually(() => held2.length === 1, 'the first is under way');
  for (let i = 1; i < 4; i++) {
    responses.push(ask2(session, { ':path': `/${i}` }));
    await eventually(() => cluster?.waiting === i, `${i} waits`);
  }
  for (let i = 0; i < 4; i++) {
    await eventually(() => held2.length === i + 1, `${i} is under way`);
    held2[i]?.stream.respond({ ':status': 200 }, { endStream: true });
  }
  for (const { status } of await Promise.all(responses)) assert.equal(status, 200);
  assert.deepEqual(
    held2.map(({ path }) => path),
    ['/0', '/1', '/2', '/3'],
  );
});

test('HTTP/2: many streams use more than one connection, but only a few', async (t) => {
  const sessions = new Map<unknown, number>();
  const held2: http2.ServerHttp2Stream[] = [];
  const upstream = await http2Upstream(t, (stream) => {
    sessions.set(stream.session, (sessions.get(stream.session) ?? 0) + 1);
    held2.push(stream);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http2' });
  const session = connect(t, waypoint.port);
  const responses: Promise<{ status: number }>[] = [];
  for (let i = 0; i < 180; i++) {
    responses.push(ask2(session, { ':path': '/' }));
    if (i % 20 === 0) await eventually(() => held2.length === responses.length, `${i} are under way`);
    if (i === 20) assert.equal(sessions.size, 1, 'few streams share one');
  }
  await eventually(() => held2.length === 180, 'all are under way');
  assert.equal(sessions.size, 4);
  assert.ok(Math.max(...sessions.values()) < 70, [...sessions.values()].join());
  for (const stream of held2) stream.respond({ ':status': 200 }, { endStream: true });
  for (const { status } of await Promise.all(responses)) assert.equal(status, 200);
});
