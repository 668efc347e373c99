/** Load balancing and locality by the policies of docs/load-balancing.md, through real tunnels and two workers of a waypoint. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
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

const mesh = new DemoMesh('balancing');
const vip = '10.96.0.20';
const waypoint: WaypointReplica = {
  namespace: 'shop',
  name: 'waypoint',
  node: 'node-b',
  workers: 2,
  flags: ['--access-log-mode', 'all'],
};
let testbed: Testbed;

const startEcho = (version: string, netns: string): unknown =>
  testbed.start(`echo-${version}`, netns, process.execPath, [
    join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js'),
    `echo-${version}`,
    '8080',
  ]);
/** A third endpoint, on the node of echo-v2. */
const third = `kind: Pod
metadata: { name: echo-v3, namespace: shop, labels: { app: echo, version: v3 }, annotations: { weft.dev/netns: weft-echo-v3 } }
spec: { nodeName: node-a, serviceAccountName: echo }
status: { podIPs: [{ ip: 10.244.1.63 }] }
`;

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  mesh.write('third.yaml', third);
  testbed = mesh.create();
  for (const version of ['v1', 'v2', 'v3']) startEcho(version, `weft-echo-${version}`);
  await testbed.up();
  await startWaypoint(testbed, waypoint);
  await until('all endpoints respond', 60_000, async () => (await podsOf('', 40)).size === 3);
});
after(() => mesh.remove());

interface Echoed {
  readonly pod: string;
}
/**
 * Asks by curl, many at once: the client's node spreads the connections over several tunnel connections, so that both workers are asked.
 * `raw`: with the heads of the responses.
 */
async function ask(header: string, count: number): Promise<{ pods: string[]; raw: string }> {
  const { stdout } = await run(
    'weft-web',
    'curl',
    [
      ...['-sS', '-m', '20', '--noproxy', '*', '-H', 'connection: close'],
      ...(count > 1 ? ['--parallel', '--parallel-immediate', '--parallel-max', '24'] : ['-i']),
      ...(header === '' ? [] : ['-H', header]),
      `http://${vip}/?[1-${count}]`,
    ],
    60_000,
  );
  const pods = stdout
    .split('\n')
    .flatMap((line) => (line.startsWith('{') ? [(JSON.parse(line) as Echoed).pod] : []));
  return { pods, raw: stdout };
}
const podsOf = async (header: string, count: number): Promise<Set<string>> =>
  new Set((await ask(header, count)).pods);

interface Shown {
  readonly policy: { readonly balancer: string };
  readonly levels: readonly {
    readonly endpoints: number;
    readonly healthy: number;
    readonly loadPercent: number;
  }[];
}
/** The cluster of `echo`, of each worker. */
async function clusters(): Promise<Shown[]> {
  const text = await adminGet(waypointNetns(waypoint), adminPort, '/clusters');
  const workers = JSON.parse(text) as { clusters: (Shown & { name: string })[] }[];
  return workers.flatMap((one) =>
    one.clusters.filter(({ name }) => name === 'outbound|80||echo.shop.svc.cluster.local'),
  );
}
/** The policy is in force in both workers. */
async function apply(name: string, holds: (shown: Shown) => boolean): Promise<void> {
  mesh.write('traffic.yaml', policyOf('load-balancing', name));
  await until(`the policy ${name} is in force`, 30_000, async () => {
    await ask('', 24);
    const shown = await clusters();
    return shown.length === 2 && shown.every(holds);
  });
}
/** The pod of each user: all workers choose the same. */
async function placesOf(users: readonly string[]): Promise<Map<string, string>> {
  const places = new Map<string, string>();
  for (const user of users) {
    const pods = await podsOf(`x-user: ${user}`, 16);
    assert.equal(pods.size, 1, `${user}: ${[...pods].join()}`);
    places.set(user, [...pods][0] ?? '');
  }
  return places;
}

test('ring hash: users keep their endpoints in both workers, also when another endpoint leaves and returns', async () => {
  await apply('balanced', ({ policy }) => policy.balancer === 'ringHash');
  const users = Array.from({ length: 18 }, (_, i) => `user-${i}`);
  const before = await placesOf(users);
  assert.equal(new Set(before.values()).size, 3);
  rmSync(join(mesh.manifests, 'third.yaml'));
  await until('the endpoint is gone', 30_000, async () => {
    await ask('', 24);
    return (await clusters()).every(({ levels }) => levels[0]?.endpoints === 2);
  });
  const without = await placesOf(users);
  const moved = users.filter((user) => without.get(user) !== before.get(user));
  const own = users.filter((user) => before.get(user) === 'echo-v3');
  assert.ok(own.every((user) => moved.includes(user)));
  assert.ok(moved.length - own.length <= 3, `${moved.length - own.length} other users moved`);
  mesh.write('third.yaml', third);
  await until('the endpoint is back', 30_000, async () => {
    await ask('', 24);
    return (await clusters()).every(({ levels }) => levels[0]?.endpoints === 3);
  });
  assert.deepEqual(await placesOf(users), before);
});

test('Maglev on a cookie: the cookie is set once and keeps its client at one endpoint', async () => {
  await apply('sticky', ({ policy }) => policy.balancer === 'maglev');
  const { raw } = await ask('', 1);
  const [, cookie = ''] =
    /^set-cookie: (s=[0-9a-f]{16}); Max-Age=3600; Path=\/; HttpOnly\r?$/im.exec(raw) ?? [];
  assert.notEqual(cookie, '');
  assert.equal((await podsOf(`cookie: ${cookie}`, 24)).size, 1);
  assert.doesNotMatch((await ask(`cookie: ${cookie}`, 1)).raw, /set-cookie/i);
});

test('least request, peak EWMA and slow start are applied, and all endpoints are used', async () => {
  for (const [name, balancer] of [
    ['warm', 'leastRequest'],
    ['fast', 'peakEwma'],
  ] as const) {
    await apply(name, ({ policy }) => policy.balancer === balancer);
    assert.equal((await podsOf('', 60)).size, 3);
  }
});

test('locality: near endpoints first; when they fail, requests go on to the others, and return', async () => {
  // The waypoint and echo-v1 are on node-b.
  await apply('near', ({ levels }) => levels.length === 2);
  assert.deepEqual(await podsOf('', 40), new Set(['echo-v1']));
  await testbed.stop('echo-v1', 'SIGKILL');
  try {
    const { pods } = await ask('', 40);
    assert.equal(pods.length, 40, 'no request failed');
    assert.deepEqual(new Set(pods), new Set(['echo-v2', 'echo-v3']));
    await until('the near level has no requests', 30_000, async () => {
      await ask('', 4);
      return (await clusters()).some(
        ({ levels }) => levels[0]?.healthy === 0 && levels[1]?.loadPercent === 100,
      );
    });
    await until('the access log names the policy', 30_000, () =>
      Promise.resolve(
        readFileSync(accessLogOf(testbed, waypoint), 'utf8').includes('failover by TrafficPolicy shop/near'),
      ),
    );
    const metrics = await adminGet(waypointNetns(waypoint), 15020, '/metrics');
    assert.match(metrics, /envoy_cluster_lb_zone_routing_cross_zone\{[^}]*echo\.shop[^}]*\} [1-9]/);
  } finally {
    startEcho('v1', 'weft-echo-v1');
  }
  await until('requests return', 60_000, async () => {
    const pods = await podsOf('', 12);
    return pods.size === 1 && pods.has('echo-v1');
  });
});
