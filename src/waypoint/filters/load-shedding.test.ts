import assert from 'node:assert/strict';
import http from 'node:http';
import { test, type TestContext } from 'node:test';
import { noMore } from '../../../test/support/filters.js';
import { id, identity, key } from '../../../test/support/mesh.js';
import {
  ask,
  eventually,
  httpUpstream,
  startWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import type { LoadSheddingFilter, RouteMatch } from '../../discovery/gen/weft.js';
import type { ServicePolicy } from '../../model/service-policy.js';

const healthz: RouteMatch = {
  pathKind: 'exact',
  path: '/healthz',
  method: '',
  headers: [],
  query: [],
  unreadable: false,
  ...noMore,
};
const filterOf = (more: Partial<LoadSheddingFilter> = {}): LoadSheddingFilter => ({
  name: 'TrafficPolicy shop/shed',
  adaptiveConcurrency: {
    samplePercentile: 50,
    updateIntervalMs: 50,
    minRttIntervalMs: 60_000,
    minRttRequests: 5,
    minConcurrency: 2,
    concurrencyMax: 4,
    bufferPercent: 25,
    jitterPercent: 0,
  },
  eventLoopDelayMsMax: 0,
  memoryBytesMax: 0,
  priorityMatches: [healthz],
  priorityClients: [],
  dryRun: false,
  ...more,
});
const policyOf = (more?: Partial<LoadSheddingFilter>): ServicePolicy => ({
  service: key('api'),
  port: 80,
  origins: [],
  filters: [{ $case: 'loadShedding', value: filterOf(more) }],
});

/** A waypoint in front of an endpoint whose responses wait until they are released. */
async function start(
  t: TestContext,
  more?: Partial<LoadSheddingFilter>,
  options: Partial<WaypointOptions> = {},
) {
  const waiting: http.ServerResponse[] = [];
  const upstream = await httpUpstream(t, (request, response) => {
    if (request.url === '/hang') waiting.push(response);
    else response.end('ok');
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, ...options });
  waypoint.apply({ servicePolicies: [policyOf(more)] });
  const status = async (path = '/'): Promise<number> => (await ask(waypoint.port, { path })).status;
  return {
    waypoint,
    status,
    hang: async (count: number) => {
      const asked = Array.from({ length: count }, () => status('/hang'));
      await eventually(() => waiting.length === count, 'requests at the endpoint');
      return asked;
    },
    release: () => {
      for (const one of waiting.splice(0)) one.end('ok');
    },
    controller: () => [...waypoint.context.shedding.states()][0]?.state,
  };
}

test('requests beyond the limit get 503 with flag OM; health checks pass and are not counted', async (t) => {
  const { waypoint, status, hang, release, controller } = await start(t);
  const asked = await hang(2);
  assert.equal(await status(), 503);
  assert.equal(await status('/healthz'), 200);
  assert.equal(controller()?.outstanding, 2);
  release();
  assert.deepEqual(await Promise.all(asked), [200, 200]);
  assert.equal(controller()?.outstanding, 0);
  assert.equal(await status(), 200);
  const shed = waypoint.records.find((one) => one.status === 503);
  assert.deepEqual([shed?.flag, shed?.code], ['OM', 'WEFT_LOAD_SHED']);
  assert.deepEqual(shed?.actions, [
    { feature: 'load-shedding', mode: 'did', policy: 'TrafficPolicy shop/shed' },
  ]);
  assert.equal(waypoint.context.shedding.refused.concurrency, 1);
});

test('nothing of a request makes it one of priority but what the policy says', async (t) => {
  const { waypoint, hang, release } = await start(t);
  const asked = await hang(2);
  const tried = [
    { path: '/healthz/x' },
    { path: '/x/../healthz/..' },
    { path: '/?/healthz' },
    { path: '/healthz%2f' },
    { path: '/', headers: { host: '/healthz', 'x-envoy-original-path': '/healthz', priority: 'u=0' } },
  ];
  for (const one of tried) assert.notEqual((await ask(waypoint.port, one)).status, 200, one.path);
  // The same path in another spelling is the same path.
  for (const path of ['/healthz?x=1', '/a/../healthz', '/%68ealthz'])
    assert.equal((await ask(waypoint.port, { path })).status, 200, path);
  release();
  await Promise.all(asked);
});

test('clients of priority pass, by their identity', async (t) => {
  const priorityClients = [{ namespace: 'monitoring', serviceAccount: '' }];
  for (const [client, expected] of [
    [identity('monitoring', 'prober'), 200],
    [id('web'), 503],
    [undefined, 503],
  ] as const) {
    const options = client ? { identity: client } : {};
    const { status, hang, release, waypoint } = await start(t, { priorityMatches: [] }, options);
    if (expected === 503) {
      const asked = await hang(2);
      waypoint.apply({ servicePolicies: [policyOf({ priorityMatches: [], priorityClients })] });
      assert.equal(await status(), expected);
      release();
      await Promise.all(asked);
    } else {
      waypoint.apply({ servicePolicies: [policyOf({ priorityMatches: [], priorityClients })] });
      const asked = await hang(3);
      assert.equal(await status(), expected);
      release();
      await Promise.all(asked);
    }
  }
});

test('in dry run nothing is refused, and everything is counted', async (t) => {
  const { waypoint, status, hang, release, controller } = await start(t, { dryRun: true });
  const asked = await hang(4);
  assert.equal(await status(), 200);
  assert.ok(waypoint.actions.every((one) => one === 'load-shedding would TrafficPolicy shop/shed'));
  assert.equal(waypoint.actions.length, 3, 'two beyond the limit of those that hang, and the last one');
  release();
  await Promise.all(asked);
  assert.equal(controller()?.outstanding, 0);
});

test('requests under way are counted right over changes of the configuration, and however they end', async (t) => {
  const { waypoint, hang, release, controller, status } = await start(t);
  const asked = await hang(2);
  for (let i = 0; i < 10; i++)
    waypoint.apply({ servicePolicies: [policyOf({ memoryBytesMax: 2 ** 40 + i })] });
  assert.equal(await status(), 503);
  waypoint.apply({ removedServicePolicies: [`${key('api')}:80`] });
  assert.equal(await status(), 200);
  release();
  await Promise.all(asked);
  waypoint.apply({ servicePolicies: [policyOf()] });
  assert.equal(controller()?.outstanding, 0);
  // The client leaves.
  const request = http.get({
    port: waypoint.port,
    host: '127.0.0.1',
    path: '/hang',
    headers: { host: 'api' },
  });
  request.on('error', () => undefined);
  await eventually(() => controller()?.outstanding === 1, 'the request is under way');
  request.socket?.resetAndDestroy();
  await eventually(() => controller()?.outstanding === 0, 'the request has ended');
  assert.equal(controller()?.sampleRttMs, 0);
});

test('an upgraded connection is no request under way', async (t) => {
  const upstream = await httpUpstream(t, (_request, response) => void response.end('ok'));
  upstream.server.on('upgrade', (_request, socket) =>
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'),
  );
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  waypoint.apply({ servicePolicies: [policyOf()] });
  const request = http.get({
    port: waypoint.port,
    host: '127.0.0.1',
    headers: { host: 'api', connection: 'upgrade', upgrade: 'echo' },
  });
  await new Promise<void>((resolve) => {
    request.on('upgrade', (_response, socket) => {
      t.after(() => socket.destroy());
      socket.on('error', () => undefined);
      resolve();
    });
  });
  assert.equal([...waypoint.context.shedding.states()][0]?.state.outstanding, 0);
});

test('memory and the delay of the event loop have limits', async (t) => {
  const { waypoint, status } = await start(t, { adaptiveConcurrency: undefined, memoryBytesMax: 1 });
  assert.equal(await status(), 503);
  assert.equal(await status('/healthz'), 200);
  assert.equal(waypoint.context.shedding.refused.memory, 1);
  waypoint.apply({
    servicePolicies: [policyOf({ adaptiveConcurrency: undefined, memoryBytesMax: 2 ** 40 })],
  });
  assert.equal(await status(), 200);
  const { process } = waypoint.context.shedding;
  Object.defineProperty(process, 'delayMs', { value: 101 });
  const limit = (eventLoopDelayMsMax: number): ServicePolicy =>
    policyOf({ adaptiveConcurrency: undefined, eventLoopDelayMsMax });
  waypoint.apply({ servicePolicies: [limit(100)] });
  assert.equal(await status(), 503);
  assert.equal(waypoint.context.shedding.refused['event-loop-delay'], 1);
  waypoint.apply({ servicePolicies: [limit(101)] });
  assert.equal(await status(), 200);
});
