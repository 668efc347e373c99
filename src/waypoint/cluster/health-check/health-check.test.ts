/** Health checks of a waypoint, of real endpoints that fail in all ways. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import { test, type TestContext } from 'node:test';
import { checkPolicy, outlierDefaults } from '../../../../test/support/outliers.js';
import {
  ask,
  deadPort,
  eventually,
  http2Upstream,
  httpUpstream,
  rawUpstream,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../../test/support/waypoint.js';
import { key } from '../../../../test/support/mesh.js';
import { WeftError } from '../../../base/errors.js';
import type { HealthCheck, HttpCheck } from '../../../discovery/gen/weft.js';
import { HealthCheckRequest, HealthCheckResponse } from '../../../discovery/gen/health.js';
import { timerMsMax } from '../../../model/duration.js';
import type { ServicePolicy } from '../../../model/service-policy.js';
import { containsInOrder } from './check.js';

const http1 = (more: Partial<HttpCheck> = {}): HealthCheck['kind'] => ({
  $case: 'http',
  value: { path: '/healthz', host: '', method: 'GET', statuses: [], headers: [], ...more },
});
const grpc = (service = ''): HealthCheck['kind'] => ({ $case: 'grpc', value: { service } });
const tcp = (send = '', ...receive: string[]): HealthCheck['kind'] => ({
  $case: 'tcp',
  value: { send: Buffer.from(send), receive: receive.map((text) => Buffer.from(text)) },
});

async function checking(
  t: TestContext,
  ports: readonly number[],
  checks: readonly Partial<HealthCheck>[],
  options: Partial<WaypointOptions> = {},
  settings: Partial<ServicePolicy> = {},
): Promise<TestWaypoint> {
  const waypoint = await startWaypoint(t, { backends: { api: ports }, ...options });
  waypoint.apply({ servicePolicies: [checkPolicy(checks, settings)] });
  const cluster = waypoint.clusters.ofService(key('api'), 80);
  assert.ok(cluster);
  cluster.health.isUsed = true;
  return waypoint;
}

/** The states of the endpoints, in their order. */
const states = (waypoint: TestWaypoint): string[] => {
  const [cluster] = waypoint.clusters.dump() as { endpoints: { state: string }[] }[];
  return cluster?.endpoints.map(({ state }) => state) ?? [];
};

test('HTTP: an endpoint that fails its check gets no requests until it passes again', async (t) => {
  const health = { status: 503 };
  const seen: http.IncomingMessage[] = [];
  const sick = await httpUpstream(t, (request, response) => {
    seen.push(request);
    response.writeHead(request.url === '/healthz' ? health.status : 200).end('sick');
  });
  const well = await httpUpstream(t, (_request, response) => void response.end('well'));
  const waypoint = await checking(
    t,
    [sick.port, well.port],
    [{ kind: http1({ headers: [{ name: 'X-Check', value: 'yes' }] }) }],
  );
  await eventually(() => waypoint.checked.length === 1, 'the first check decides');
  assert.deepEqual(waypoint.checked, [`${sick.port} HTTP /healthz: status 503`]);
  assert.deepEqual(waypoint.actions, ['health-check did TrafficPolicy shop/api']);
  assert.deepEqual(states(waypoint), ['unhealthy', 'healthy']);
  for (let i = 0; i < 20; i++) assert.equal((await ask(waypoint.port)).body, 'well');
  const [check] = seen;
  assert.equal(check?.headers['user-agent'], 'weft-health-check');
  assert.equal(check.headers['x-check'], 'yes');
  assert.equal(check.headers.host, 'api.shop.svc.cluster.local');
  health.status = 200;
  await eventually(() => waypoint.checked.length === 2, 'it passes twice');
  assert.equal(waypoint.checked[1], `${sick.port} healthy`);
  assert.deepEqual(states(waypoint), ['healthy', 'healthy']);
});

test('HTTP: expected statuses, method, host and port', async (t) => {
  const asked: string[] = [];
  const probe = await httpUpstream(t, (request, response) => {
    asked.push(`${request.method} ${request.headers.host} ${request.url}`);
    response.writeHead(404).end();
  });
  const app = await rawUpstream(t, () => undefined);
  const waypoint = await checking(
    t,
    [app],
    [{ kind: http1({ method: 'HEAD', host: 'h', statuses: [{ first: 400, last: 404 }] }), port: probe.port }],
  );
  await eventually(() => asked.length >= 2, 'checks are made');
  assert.equal(asked[0], 'HEAD h /healthz');
  assert.deepEqual([states(waypoint), waypoint.checked], [['healthy'], []]);
});

test('gRPC: the standard health service, by service', async (t) => {
  const status = { value: 1, grpc: '0' };
  const services: string[] = [];
  const server = await http2Upstream(t, (stream, headers) => {
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => {
      assert.equal(headers[':path'], '/grpc.health.v1.Health/Check');
      services.push(HealthCheckRequest.decode(Buffer.concat(parts).subarray(5)).service);
      const message = HealthCheckResponse.encode({ status: status.value }).finish();
      const body = Buffer.alloc(5 + message.length);
      body.writeUInt32BE(message.length, 1);
      body.set(message, 5);
      stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status.grpc }));
      stream.end(status.grpc === '0' ? body : undefined);
    });
  });
  const waypoint = await checking(t, [server.port], [{ kind: grpc('shop.Cart'), healthyThreshold: 1 }], {
    protocol: 'grpc',
  });
  await eventually(() => services.length > 0, 'a check is made');
  assert.equal(services[0], 'shop.Cart');
  status.value = 2;
  await eventually(() => waypoint.checked.length === 1, 'it is unhealthy at once');
  status.value = 1;
  await eventually(() => waypoint.checked.length === 2, 'it is healthy');
  status.grpc = '12';
  await eventually(() => waypoint.checked.length === 3, 'it is unhealthy');
  assert.deepEqual(waypoint.checked, [
    `${server.port} gRPC shop.Cart: NOT_SERVING`,
    `${server.port} healthy`,
    `${server.port} gRPC shop.Cart: gRPC status 12`,
  ]);
});

test('TCP: connecting is enough, or parts of a response in their order', async (t) => {
  assert.ok(containsInOrder(Buffer.from('a+PONG-b'), [Buffer.from('PO'), Buffer.from('b')]));
  assert.ok(!containsInOrder(Buffer.from('b+PONG'), [Buffer.from('PO'), Buffer.from('b')]));
  assert.ok(!containsInOrder(Buffer.from('aa'), [Buffer.from('aa'), Buffer.from('a')]));
  const redis = await rawUpstream(t, (socket) => socket.on('data', () => socket.write('+PONG\r\n')));
  const silent = await rawUpstream(t, () => undefined);
  const closing = await rawUpstream(t, (socket) => socket.end());
  const dead = await deadPort();
  const waypoint = await checking(
    t,
    [redis, silent, closing, dead],
    [{ kind: tcp('PING\r\n', '+PO', '\r\n'), timeoutMs: 500 }],
    { protocol: 'tcp' },
  );
  await eventually(() => waypoint.checked.length === 3, 'three fail');
  assert.deepEqual(states(waypoint), ['healthy', 'unhealthy', 'unhealthy', 'unhealthy']);
  const connecting = await checking(t, [silent, dead], [{ kind: tcp() }], { protocol: 'tcp' });
  await eventually(() => connecting.checked.length === 1, 'one fails');
  assert.deepEqual(states(connecting), ['healthy', 'unhealthy']);
});

test('network failures count up to the threshold, and a flapping endpoint stays', async (t) => {
  let turn = 0;
  let isDown = false;
  const upstream = await httpUpstream(t, (request, response) => {
    if (isDown || ++turn % 2 === 0) request.socket.destroy();
    else response.end();
  });
  const waypoint = await checking(t, [upstream.port], [{ kind: http1() }]);
  await eventually(() => turn >= 5, 'checks are made');
  assert.deepEqual(waypoint.checked, []);
  isDown = true;
  await eventually(() => waypoint.checked.length === 1, 'three in a row fail');
  assert.match(waypoint.checked[0] ?? '', /closed the connection/);
});

test('a failure that is not the endpoint’s changes nothing', async (t) => {
  const upstream = await httpUpstream(t, (_request, response) => void response.writeHead(500).end());
  const waypoint = await checking(t, [upstream.port], [{ kind: http1() }], {
    dial: () => () => Promise.reject(new WeftError('WEFT_NO_CERTIFICATE', 'no certificate yet')),
  });
  await eventually(() => waypoint.checked.length > 0, 'it is reported');
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(waypoint.checked, [`${upstream.port} impossible WEFT_NO_CERTIFICATE: no certificate yet`]);
  assert.deepEqual(states(waypoint), ['healthy']);
});

test('checks do not count as requests, and all checks of a Service must pass', async (t) => {
  const upstream = await httpUpstream(
    t,
    (request, response) => void response.writeHead(request.url === '/live' ? 200 : 500).end(),
  );
  const waypoint = await checking(
    t,
    [upstream.port],
    [{ kind: http1({ path: '/live' }) }, { kind: http1({ path: '/ready' }) }],
    {},
    { outlierDetection: { ...outlierDefaults, consecutive5xx: 1 } },
  );
  await eventually(() => waypoint.checked.length === 1, 'one check fails');
  assert.match(waypoint.checked[0] ?? '', /HTTP \/ready: status 500/);
  assert.deepEqual(waypoint.outliers, []);
  waypoint.apply({ servicePolicies: [checkPolicy([{ kind: http1({ path: '/live' }) }])] });
  waypoint.clusters.ofService(key('api'), 80);
  assert.deepEqual(states(waypoint), ['healthy'], 'without the check that fails');
});

test('dry run counts and changes nothing; without the policy nothing is unhealthy', async (t) => {
  const upstream = await httpUpstream(t, (_request, response) => void response.writeHead(500).end());
  const waypoint = await checking(t, [upstream.port], [{ kind: http1(), dryRun: true }]);
  await eventually(() => waypoint.checked.length === 1, 'it would be unhealthy');
  assert.deepEqual(waypoint.checked, [`${upstream.port} (dry run) HTTP /healthz: status 500`]);
  assert.deepEqual(waypoint.actions, ['health-check would TrafficPolicy shop/api']);
  assert.deepEqual(states(waypoint), ['healthy']);
  waypoint.apply({ servicePolicies: [checkPolicy([{ kind: http1() }])] });
  waypoint.clusters.ofService(key('api'), 80);
  assert.deepEqual(states(waypoint), ['unhealthy'], 'enforced at once');
  waypoint.apply({ removedServicePolicies: [`${key('api')}:80`] });
  waypoint.clusters.ofService(key('api'), 80);
  assert.deepEqual(states(waypoint), ['healthy']);
});

test('a successful check ends an ejection', async (t) => {
  const upstream = await httpUpstream(
    t,
    (request, response) => void response.writeHead(request.url === '/healthz' ? 200 : 500).end(),
  );
  const waypoint = await checking(
    t,
    [upstream.port],
    [{ kind: http1() }],
    {},
    { outlierDetection: { ...outlierDefaults, consecutive5xx: 2 } },
  );
  for (let i = 0; i < 2; i++) await ask(waypoint.port);
  await eventually(() => waypoint.outliers.length === 2, 'it is ejected, and returns');
  assert.match(waypoint.outliers[0] ?? '', / ejected consecutive_5xx$/);
  assert.equal(waypoint.outliers[1], `${upstream.port} returned`);
});

test('configuration changes ten times a second neither stop checks nor repeat them', async (t) => {
  let checks = 0;
  const upstream = await httpUpstream(t, (_request, response) => {
    checks++;
    response.writeHead(500).end();
  });
  const waypoint = await checking(t, [upstream.port], [{ kind: http1(), intervalMs: 200 }]);
  await eventually(() => waypoint.checked.length === 1, 'it is unhealthy');
  const [before, beganMs] = [checks, performance.now()];
  for (let i = 0; i < 40 || checks < before + 3; i++) {
    waypoint.apply({ servicePolicies: [checkPolicy([{ kind: http1(), intervalMs: 200 }])] });
    waypoint.clusters.ofService(key('api'), 80);
    assert.deepEqual(states(waypoint), ['unhealthy']);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const most = 2 + (performance.now() - beganMs) / 200;
  assert.ok(checks - before <= most, `${checks - before} of ${most}`);
  assert.equal(waypoint.checked.length, 1);
});

test('a Service without requests is checked once a minute, and at its interval from its first request on', async (t) => {
  let checks = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    if (request.url === '/healthz') checks++;
    response.end();
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  waypoint.apply({ servicePolicies: [checkPolicy([{ kind: http1() }])] });
  waypoint.clusters.ofService(key('api'), 80);
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(checks, 1);
  await ask(waypoint.port);
  await eventually(() => checks >= 4, 'it is checked often');
});

test('checks end with the Service', async (t) => {
  let checks = 0;
  const upstream = await httpUpstream(t, (_request, response) => {
    checks++;
    response.end();
  });
  const waypoint = await checking(t, [upstream.port], [{ kind: http1() }]);
  await eventually(() => checks >= 2, 'checks are made');
  waypoint.apply({ mesh: { removed: [key('api')] } });
  assert.equal(waypoint.clusters.ofService(key('api'), 80), undefined);
  const before = checks;
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.ok(checks <= before + 1, 'at most the one under way');
  assert.deepEqual(waypoint.clusters.dump(), []);
});

test('endpoints of other namespaces are not checked', async (t) => {
  const upstream = await rawUpstream(t, () => assert.fail('the waypoint connects'));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream] } });
  const { workload, uid } = await import('../../../../test/support/mesh.js');
  const foreign = {
    ...workload('api-0', '127.0.0.1', 'node-1', {
      services: new Map([
        [key('api'), [{ servicePort: 80, targetPort: upstream, appProtocol: 'http1' as const }]],
      ]),
    }),
    namespace: 'other',
  };
  waypoint.apply({ mesh: { workloads: [foreign] }, servicePolicies: [checkPolicy([{ kind: tcp() }])] });
  assert.equal(waypoint.clusters.ofService(key('api'), 80)?.endpoints[0]?.workload.uid, uid('api-0'));
  await new Promise((resolve) => setTimeout(resolve, 300));
});

test('the longest interval with jitter is within what a timer can wait: the endpoint is not checked all the time', async (t) => {
  let checks = 0;
  const { port } = await httpUpstream(t, (_request, response) => {
    checks++;
    response.end();
  });
  await checking(t, [port], [{ kind: http1(), intervalMs: timerMsMax, jitterPercent: 100 }]);
  await eventually(() => checks > 0, 'the first check');
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(checks, 1);
});

test('a check that was under way when another thing is to be checked decides nothing', async (t) => {
  const old: http.ServerResponse[] = [];
  let passed = 0;
  const { port } = await httpUpstream(t, (request, response) => {
    if (request.url === '/old') return void old.push(response);
    passed++;
    response.end();
  });
  const waypoint = await checking(t, [port], [{ kind: http1({ path: '/old' }) }]);
  await eventually(() => old.length === 1, 'the first check');
  waypoint.apply({ servicePolicies: [checkPolicy([{ kind: http1({ path: '/new' }) }])] });
  assert.ok(waypoint.clusters.ofService(key('api'), 80), 'the policy is in force');
  old[0]?.writeHead(500).end();
  await eventually(() => passed > 2, 'the other checks');
  assert.deepEqual([states(waypoint), waypoint.checked], [['healthy'], []]);
});
