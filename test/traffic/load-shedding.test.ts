/** Load shedding by the policies of docs/load-shedding.md, through real tunnels: a slow endpoint is overloaded, and the limit follows its latency. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { adminGet } from '../../src/cli/admin.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import {
  accessLogOf,
  startWaypoint,
  waypointNetns,
  type WaypointReplica,
} from '../../src/cli/standalone/waypoint.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { policyOf } from '../support/docs-policy.js';

const mesh = new DemoMesh('shedding');
const vip = '10.96.0.20';
const waypoint: WaypointReplica = {
  namespace: 'shop',
  name: 'waypoint',
  node: 'node-b',
  workers: 1,
  flags: ['--access-log-mode', 'all'],
};
let testbed: Testbed;

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [
      join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js'),
      `echo-${version}`,
      '8080',
    ]);
  await testbed.up();
  await startWaypoint(testbed, waypoint);
  await until('echo responds', 60_000, async () => (await statuses('/', 1))[0] === 200);
});
after(() => mesh.remove());

/** The statuses of so many requests, `parallel` at a time. */
async function statuses(path: string, count: number, parallel = 1): Promise<number[]> {
  const { stdout } = await run(
    'weft-web',
    'curl',
    [
      ...['-sS', '-m', '30', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}\\n'],
      ...(parallel > 1 ? ['--parallel', '--parallel-immediate', '--parallel-max', String(parallel)] : []),
      `http://${vip}${path}?[1-${count}]`,
    ],
    60_000,
  );
  return stdout.trim().split('\n').map(Number);
}
const countOf = (all: readonly number[], status: number): number =>
  all.filter((one) => one === status).length;

async function metric(name: string): Promise<number> {
  const text = await adminGet(waypointNetns(waypoint), 15020, '/metrics');
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
const gradient = (name: string): Promise<number> =>
  metric(`envoy_http_adaptive_concurrency_gradient_controller_${name}`);

/** Applies a policy and asks until a controller has been made. */
async function apply(yaml: string, holds: () => Promise<boolean>): Promise<void> {
  mesh.write('traffic.yaml', yaml);
  await until('the policy is in force', 30_000, holds);
}
/** The docs' policy with a measurement that a test can wait for, and small limits. */
const enforced = (): string =>
  policyOf('load-shedding', 'shed')
    .replace('minRttInterval: 60s', 'minRttInterval: 300s, minRttRequests: 10')
    .replace('concurrencyMax: 1000', 'concurrencyMax: 20')
    .replace('dryRun: true', 'dryRun: false')
    // What was measured belongs to the policy's name.
    .replace('name: shed,', 'name: enforced,');

test('in dry run nothing is refused, and the log has what would have been', async () => {
  await apply(policyOf('load-shedding', 'shed'), async () => {
    await statuses('/', 1);
    return (await gradient('concurrency_limit')) > 0;
  });
  assert.equal(countOf(await statuses('/slow/300', 12, 12), 200), 12);
  assert.ok((await metric('weft_waypoint_load_shed_total')) > 0);
  await until('the access log says so', 30_000, () =>
    Promise.resolve(
      readFileSync(accessLogOf(testbed, waypoint), 'utf8').includes(
        'load-shedding (dry run) by TrafficPolicy shop/shed',
      ),
    ),
  );
});

test('a slow endpoint is overloaded: the limit falls, requests beyond it get 503, and health checks pass', async () => {
  await apply(enforced(), async () => {
    await statuses('/', 20);
    return (await gradient('min_rtt_calculation_active')) === 0 && (await gradient('min_rtt_msecs')) > 0;
  });
  // Light load: the limit rises above the minimum.
  await until('the limit rises', 30_000, async () => {
    await statuses('/', 60);
    return (await gradient('concurrency_limit')) > 12;
  });
  const high = await gradient('concurrency_limit');
  // The endpoint gets slow: latencies are many times those without load.
  const slow = statuses('/slow/400', 60, 30);
  const checks = await statuses('/healthz', 10);
  const all = await slow;
  assert.equal(countOf(checks, 200), 10, checks.join());
  assert.ok(countOf(all, 503) > 0, all.join());
  assert.ok(countOf(all, 200) > 0, all.join());
  await until('the limit falls', 30_000, async () => {
    await statuses('/slow/400', 4, 4);
    return (await gradient('concurrency_limit')) < high / 2;
  });
  await until('the access log says who refused', 30_000, () => {
    const lines = readFileSync(accessLogOf(testbed, waypoint), 'utf8').split('\n');
    return Promise.resolve(
      lines.some(
        (line) => line.includes('"OM"') && line.includes('load-shedding by TrafficPolicy shop/enforced'),
      ),
    );
  });
  // It adapts again once the endpoint is fast.
  await until('the limit rises again', 30_000, async () => {
    await statuses('/', 60);
    return (await gradient('concurrency_limit')) > 8;
  });
});

test('memory beyond its limit: everything is refused but what has priority', async () => {
  const yaml = policyOf('load-shedding', 'shed-busy')
    .replace('memoryMax: 400Mi', 'memoryMax: 1Mi')
    .replace(
      'loadShedding: {',
      'loadShedding: { priority: [{ matches: [{ path: { type: Exact, value: /healthz } }] }],',
    );
  await apply(yaml, async () => (await statuses('/', 1))[0] === 503);
  assert.equal(countOf(await statuses('/', 5), 503), 5);
  assert.equal(countOf(await statuses('/healthz', 5), 200), 5);
});
