/**
 * The configuration of a Service changes ten times a second in all sections of its TrafficPolicy, under load. Counts of the circuit breaker,
 * ejections and buckets of rate limits survive, and no request fails for it.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { load } from '../../src/cli/demo/stage.js';
import { run } from '../../src/cli/run.js';
import {
  accessLogOf,
  startWaypoint,
  waypointNetns,
  type WaypointReplica,
} from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('churn');
const vip = '10.96.0.20';
const waypoint: WaypointReplica = {
  namespace: 'shop',
  name: 'waypoint',
  node: 'node-b',
  workers: 2,
  flags: ['--access-log-mode', 'all'],
};
let testbed: Testbed;

const balancers = [
  '{ type: RoundRobin }',
  '{ type: LeastRequest, choices: 3 }',
  '{ type: Random }',
  '{ type: RingHash, hashOn: [{ header: x-user }] }',
  '{ type: Maglev, hashOn: [{ clientIdentity: {} }], maglev: { tableSize: 251 } }',
  '{ type: PeakEwma, peakEwma: { decay: 10s } }',
];
const underWay = 6;
const allowed = 20;
/** Each version differs from the one before in every section. What it allows stays the same. */
const policy = (version: number): string => {
  const odd = version % 2;
  return `apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: churn, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  loadBalancing: ${balancers[version % balancers.length]}
  locality: { overprovisioningPercent: ${140 + odd}, panicPercent: 0 }
  circuitBreaker:
    connectionsMax: ${1000 + version}
    pendingRequestsMax: ${1000 + version}
    requestsMax: ${1000 + version}
    perClient: { requestsMax: ${underWay}, connectionsMax: ${500 + version} }
  outlierDetection:
    consecutive5xx: 3
    interval: ${odd ? '1s' : '2s'}
    baseEjectionTime: ${odd ? '200s' : '201s'}
    ejectedPercentMax: ${50 + odd}
  # As in Envoy, a check that passes ends an ejection. In dry run it does not.
  healthChecks: [{ http: { path: /healthy }, interval: ${odd ? '2s' : '3s'}, timeout: 1s, dryRun: true }]
  retry: { conditions: [connect-failure, refused-stream], attempts: ${1 + odd}, budget: { percent: ${20 + odd}, minRetries: 3 } }
  timeouts: { request: ${60 + odd}s, connect: ${5 + odd}s }
  rateLimits:
    - name: few
      matches: [{ path: { type: PathPrefix, value: /limited } }]
      keys: [{ clientIdentity: {} }]
      requests: ${allowed}
      per: 1h
      burst: ${allowed}
    - name: unused-${version % 5}
      matches: [{ path: { type: PathPrefix, value: /unused } }]
      requests: ${10 + version}
      per: 1s
  faults:
    - name: never
      matches: [{ path: { type: Exact, value: /never-${odd} } }]
      abort: { httpStatus: 418, percent: '100' }
  loadShedding: { adaptiveConcurrency: { concurrencyMax: ${1000 + version}, minConcurrency: 500 } }
`;
};
/** Shows that a version is in force, whatever the order of its fields. */
const markOf = (version: number): string => `"connectionsMax":${1000 + version}`;
const inForce = (version: number): Promise<unknown> =>
  until(`version ${version} is in force`, 30_000, async () => {
    const dump = await adminGet(waypointNetns(waypoint), adminPort, '/dump');
    return dump.includes(markOf(version));
  });

async function statusesOf(netns: string, path: string, count: number): Promise<string[]> {
  const args = ['-sS', '-m', '20', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}\n'];
  const { stdout } = await run(netns, 'curl', [...args, `http://${vip}${path}?[1-${count}]`], 60_000);
  return stdout.trim().split('\n');
}
const count = (statuses: readonly string[], status: string): number =>
  statuses.filter((one) => one === status).length;

interface Line {
  readonly source: string;
  readonly path: string;
  readonly status: number;
  readonly flags: string;
}
const accessLog = (): Line[] =>
  readFileSync(accessLogOf(testbed, waypoint), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [
      echo,
      `echo-${version}`,
      '8080',
    ]);
  await testbed.up();
  await startWaypoint(testbed, waypoint);
  mesh.write('traffic.yaml', policy(0));
  await inForce(0);
  await until('echo responds', 30_000, async () => (await statusesOf('weft-web', '/', 1))[0] === '200');
});
after(() => mesh.remove());

test('counts, ejections and buckets survive ten changes a second, and no request fails', async () => {
  // An ejected endpoint, in each worker: connections reach one of them each.
  let without = 0;
  await until('an endpoint is ejected in all workers', 30_000, async () => {
    const failed = count(await statusesOf('weft-web', '/fail-at/echo-v2', 10), '500');
    without = failed > 0 ? 0 : without + 1;
    return without >= 12;
  });
  // Half of a bucket.
  assert.equal(count(await statusesOf('weft-web', '/limited', allowed / 2), '200'), allowed / 2);
  // All that one client may have under way, for longer than the changes.
  const changesMs = 8_000;
  const held = Array.from({ length: underWay }, async () => {
    // A request that asks whether all are under way may have the place of one of them for a moment.
    for (;;) {
      const statuses = await statusesOf('weft-intruder', `/slow/${changesMs + 4_000}`, 1);
      if (statuses[0] !== '503') return statuses;
    }
  });
  await until('the client has all that it may have', 30_000, async () => {
    return (await statusesOf('weft-intruder', '/', 1))[0] === '503';
  });
  // With the requests for `/limited` fewer than one client may have under way, however slow this machine is.
  const running = load(`http://${vip}/`, underWay - 2);
  let version = 0;
  const refused: string[] = [];
  const limited: string[] = [];
  const end = Date.now() + changesMs;
  const changes = (async () => {
    while (Date.now() < end) {
      mesh.write('traffic.yaml', policy(++version));
      await sleep(100);
    }
  })();
  while (Date.now() < end) {
    refused.push(...(await statusesOf('weft-intruder', '/', 1)));
    limited.push(...(await statusesOf('weft-web', '/limited', 2)));
    await sleep(200);
  }
  await changes;
  await inForce(version);
  const { answered, failures, by } = await running.stop();
  assert.ok(version > 40, `${version} changes`);
  const ofLoad = accessLog().filter(
    ({ source, path, status }) => !source.endsWith('/intruder') && path === '/' && status !== 200,
  );
  assert.deepEqual(failures, {}, `of ${answered} requests: ${JSON.stringify(ofLoad)}`);
  assert.ok(answered > 200, `${answered} answered`);
  assert.deepEqual(by, { 'echo-v1': answered }, 'the ejected endpoint got no request');
  assert.deepEqual([...new Set(refused)], ['503'], 'the count of requests under way survived');
  assert.equal(count(limited, '200'), allowed / 2, 'the bucket survived');
  assert.equal(count(limited, '429'), limited.length - allowed / 2);
  for (const one of held) assert.deepEqual(await one, ['200'], 'requests under way were not cut');
  // Counts go down again.
  assert.deepEqual(
    await statusesOf('weft-intruder', '/', 5),
    Array.from({ length: 5 }, () => '200'),
  );
  const flags = new Set(accessLog().map(({ flags }) => flags));
  assert.deepEqual(
    [...flags].filter((flag) => !['-', 'UO', 'RL'].includes(flag)),
    [],
  );
});
