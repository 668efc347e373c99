/** Global rate limits: the policies of docs/global-rate-limits.md, two replicas of a waypoint, Weft's service and a real Redis. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run, signalProcess } from '../../src/cli/run.js';
import {
  rateLimiterProcess,
  redisProcess,
  startRateLimiter,
  startRedis,
} from '../../src/cli/standalone/rate-limiter.js';
import { underlayNetns } from '../../src/cli/standalone/topology.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { startWaypoint, waypointNetns, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { examples } from '../support/examples.js';

const mesh = new DemoMesh('global-limits');
const replicas: readonly WaypointReplica[] = [
  { namespace: 'shop', name: 'waypoint', node: 'node-b', replica: 0, workers: 2 },
  { namespace: 'shop', name: 'waypoint', node: 'node-a', replica: 1, workers: 1 },
];
const url = 'http://10.96.0.20';
let testbed: Testbed;

const example = (name: string): string => {
  const found = examples().find(
    ({ where, objects }) =>
      where.startsWith('docs/global-rate-limits.md') &&
      objects.some(({ metadata }) => metadata?.name === name),
  );
  assert.ok(found, name);
  return found.text;
};
/** A busy machine must not make a limit fail open, so requests wait longer than by default. */
const patient = (yaml: string): string =>
  yaml.replace('global: {}', 'global: { timeout: 5s }').replace('timeout: 100ms', 'timeout: 300ms');

/** Statuses of requests, by how many had them. */
async function statuses(path: string, count: number, header = 'x-none: 1'): Promise<Record<string, number>> {
  const urls = `${url}${path}?[1-${count}]`;
  const args = ['-sS', '-o', '/dev/null', '-m', '60', '--noproxy', '*', '-H', header];
  const { stdout } = await run('weft-web', 'curl', [...args, '-w', '%{http_code}\n', urls], 60_000);
  const counts: Record<string, number> = {};
  for (const status of stdout.trim().split('\n')) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}
const status = async (path: string, header?: string): Promise<string> =>
  Object.keys(await statuses(path, 1, header))[0] ?? '';
const metric = async (replica: WaypointReplica, name: string): Promise<number> => {
  const { stdout } = await run(waypointNetns(replica), 'curl', ['-sS', 'http://127.0.0.1:15020/metrics']);
  return [...stdout.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  );
};
const sumOf = async (name: string): Promise<number> =>
  (await Promise.all(replicas.map((one) => metric(one, name)))).reduce((sum, one) => sum + one, 0);
const signal = (name: string, how: NodeJS.Signals): void => {
  const mark = testbed.mark(name);
  assert.ok(mark && signalProcess(mark, how), `${name} gets ${how}`);
};

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  mesh.write('limits.yaml', patient(example('shared-limits')));
  testbed = mesh.create();
  assert.ok(testbed.topology.hasGlobalLimits);
  const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [
      echo,
      `echo-${version}`,
      '8080',
    ]);
  await testbed.up();
  await startRateLimiter(testbed);
  for (const replica of replicas) await startWaypoint(testbed, replica);
  await until('the Service responds', 30_000, async () => (await status('/')) === '200');
  for (const replica of replicas)
    await until('both replicas have requests', 60_000, async () => {
      await statuses('/', 4);
      return (await metric(replica, 'istio_requests_total')) > 0;
    });
});
after(() => mesh.remove());

test('two replicas share the limit of each user', async () => {
  const all: Record<string, number> = {};
  // Each curl has a connection of its own, so both replicas get some.
  for (let i = 0; i < 10; i++)
    for (const [code, count] of Object.entries(await statuses('/orders', 20, 'x-user: ann')))
      all[code] = (all[code] ?? 0) + count;
  assert.deepEqual(all, { 200: 20, 429: 180 });
  assert.equal(await status('/orders', 'x-user: bob'), '200');
  assert.equal(await status('/orders'), '200', 'a request without the header is not limited');
  assert.equal(await sumOf('envoy_cluster_ratelimit_over_limit'), 180);
  assert.equal(await sumOf('envoy_cluster_ratelimit_error'), 0);
  const { stdout } = await run('weft-web', 'curl', [
    '-si',
    '--noproxy',
    '*',
    '-H',
    'x-user: ann',
    `${url}/orders`,
  ]);
  assert.match(stdout, /^HTTP\/1.1 429/);
  assert.match(stdout, /^ratelimit-policy: "per-user";q=20;w=3600/m);
});

test('Redis hangs: limits fail open or closed at once, and count again afterwards', async () => {
  signal(redisProcess, 'SIGSTOP');
  const began = Date.now();
  assert.deepEqual(await statuses('/reports', 1), { 503: 1 });
  // One request in each worker may wait for its timeout.
  assert.equal((await statuses('/reports', 50))['503'], 50);
  assert.ok(Date.now() - began < 20_000);
  signal(redisProcess, 'SIGCONT');
  await until('the limit counts again', 30_000, async () => (await status('/reports')) === '200');
  assert.equal(await status('/orders', 'x-user: ann'), '429', 'what was counted before counts on');
});

test('Redis is killed and started again: its data is lost, and the service finds it', async () => {
  await testbed.stop(redisProcess, 'SIGKILL');
  await until('the limit fails closed', 30_000, async () => (await status('/reports')) === '503');
  assert.equal(await status('/orders', 'x-user: new'), '200', 'and the other one open');
  await startRedis(testbed);
  await until('the limit counts again', 30_000, async () => (await status('/reports')) === '200');
});

test('the rate limit service hangs, ends and comes back', async () => {
  signal(rateLimiterProcess, 'SIGSTOP');
  await until('the limit fails closed', 30_000, async () => (await status('/reports')) === '503');
  assert.ok((await sumOf('envoy_cluster_ratelimit_error')) > 0);
  signal(rateLimiterProcess, 'SIGCONT');
  await until('the limit counts again', 30_000, async () => (await status('/reports')) === '200');
  await testbed.stop(rateLimiterProcess, 'SIGKILL');
  await until('it fails closed', 30_000, async () => (await status('/reports')) === '503');
  await startRateLimiter(testbed, { redis: 'redis://127.0.0.1:6379' });
  await until('it counts again', 30_000, async () => (await status('/reports')) === '200');
});

test('only waypoints are served: another identity of the mesh is refused, and Redis is not reachable from pods', async () => {
  const { controlIp } = testbed.topology;
  // The agent of the pod's node accepts the connection before it dials.
  const ping = `exec 3<>/dev/tcp/${controlIp}/6379 && echo PING >&3 && timeout 3 head -c 5 <&3`;
  assert.doesNotMatch((await run('weft-web', 'bash', ['-c', ping])).stdout, /PONG/);
  const plain = await run('weft-web', 'curl', [
    '-sS',
    '-m',
    '5',
    '--noproxy',
    '*',
    `http://${controlIp}:15013/`,
  ]);
  assert.notEqual(plain.code, 0);
  const { stdout } = await run(underlayNetns, 'curl', ['-sS', 'http://127.0.0.1:15022/metrics']);
  assert.match(stdout, /^weft_rate_limiter_redis_up 1$/m);
});
