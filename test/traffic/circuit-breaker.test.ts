/** Circuit breakers by the policies of docs/circuit-breaking.md, through real tunnels and two workers of a waypoint. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { run } from '../../src/cli/run.js';
import { accessLogOf, waypointNetns, waypointProcess } from '../../src/cli/standalone/waypoint.js';
import { RouteMesh, vips } from '../support/routes.js';
import { policiesOf } from '../support/docs-policy.js';
import { metricOf } from '../support/waypoint-state.js';

const mesh = new RouteMesh('breakers', 2);
before(() => mesh.up());
after(() => mesh.down());

const cluster = 'outbound|80||echo.shop.svc.cluster.local';
const [http = '', tcp = ''] = policiesOf('circuit-breaking');
/** The docs' limits would need many connections. */
const small = http.replace(/1024/g, '5').replace(/100/g, '3');
const dryRun = small.replace('circuitBreaker:', 'circuitBreaker:\n    dryRun: true');

/** The statuses of so many simultaneous requests, each on a connection of its own, so that both workers get some. */
async function statuses(path: string, count: number, from = 'weft-web'): Promise<string[]> {
  const asked = Array.from({ length: count }, () =>
    run(from, 'curl', [
      ...['-sS', '-m', '20', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}'],
      `http://${vips.echo}${path}`,
    ]),
  );
  return (await Promise.all(asked)).map(({ stdout }) => stdout.trim());
}
const numberOf = (found: readonly string[], status: string): number =>
  found.filter((one) => one === status).length;

interface Breaker {
  readonly requests?: { readonly active: number; readonly max: number; readonly dryRun?: boolean };
}
/** The circuit breaker of `echo`, as each worker that has used the Service shows it. */
async function breakers(): Promise<Breaker[]> {
  const workers = JSON.parse(await adminGet(waypointNetns(mesh.waypoint), adminPort, '/clusters')) as {
    clusters: { name: string; circuitBreaker: Breaker }[];
  }[];
  return workers.flatMap(({ clusters }) =>
    clusters.filter(({ name }) => name === cluster).map(({ circuitBreaker }) => circuitBreaker),
  );
}
/** The workers that get requests have the policy. A pod's tunnels may all be of one worker. */
const applies = (isDryRun: boolean) => async (): Promise<boolean> => {
  await statuses('/', 4);
  await statuses('/', 4, 'weft-visitor');
  const found = await breakers();
  return found.every(({ requests }) => requests?.max === 5 && (requests.dryRun === true) === isDryRun);
};
const isIdle = async (): Promise<boolean> =>
  (await breakers()).every(({ requests }) => requests?.active === 0);
const logged = (text: string): number =>
  readFileSync(accessLogOf(mesh.testbed, mesh.waypoint), 'utf8')
    .split('\n')
    .filter((line) => line.includes(text)).length;

test('one client gets its share, another one the rest, of both workers together', () =>
  mesh.withRoute(small, applies(false), async () => {
    const first = statuses('/slow/4000', 12);
    await until('the first client has its share', 30_000, async () =>
      (await breakers()).some(({ requests }) => requests?.active === 3),
    );
    const second = await statuses('/slow/100', 6, 'weft-visitor');
    assert.ok(numberOf(second, '200') >= 2, `the other client: ${second.join()}`);
    assert.ok(numberOf(second, '503') >= 1, `the other client: ${second.join()}`);
    const found = await first;
    assert.deepEqual([numberOf(found, '200'), numberOf(found, '503')], [3, 9]);
    await until('all has ended', 30_000, isIdle);
    await until('the access log says which policy acted', 30_000, () =>
      Promise.resolve(logged('circuit-breaker by TrafficPolicy shop/api') >= 10),
    );
    const remaining = 'envoy_cluster_circuit_breakers_default_remaining_rq';
    assert.equal(await metricOf(mesh.waypoint, remaining, cluster), 5, 'not the sum of both workers');
    assert.ok((await metricOf(mesh.waypoint, 'envoy_cluster_upstream_rq_pending_overflow', cluster)) >= 10);
  }));

test('what workers counted that die is free again', () =>
  mesh.withRoute(small, applies(false), async () => {
    const lost = statuses('/slow/15000', 3);
    await until('all is in use', 30_000, async () =>
      (await breakers()).some(({ requests }) => requests?.active === 3),
    );
    const { pid = 0 } = mesh.testbed.mark(waypointProcess(mesh.waypoint)) ?? {};
    const pids = execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' })
      .split('\n')
      .filter(Boolean);
    assert.equal(pids.length, 2);
    for (const one of pids) process.kill(Number(one), 'SIGKILL');
    await lost;
    await until('the client is served again', 30_000, async () => {
      const found = await statuses('/slow/500', 3);
      return numberOf(found, '200') === 3;
    });
    assert.deepEqual(
      (await statuses('/slow/1500', 9)).filter((status) => status === '200').length,
      3,
      'the limit holds',
    );
  }));

test('dry run refuses nothing and counts', () =>
  mesh.withRoute(dryRun, applies(true), async () => {
    assert.equal(numberOf(await statuses('/slow/500', 12), '200'), 12);
    const text = await adminGet(waypointNetns(mesh.waypoint), 15020, '/metrics');
    assert.match(text, /traffic_policy_actions_total\{[^}]*feature="circuit-breaker",mode="would"/);
  }));

/** Opens so many connections, sends a byte on each, and prints how many are open once none has changed for a while. */
const opener = `import net from 'node:net';
let open = 0;
const quiet = setTimeout(() => { console.log(open); process.exit(0); }, 3000);
for (let i = 0; i < Number(process.argv[1]); i++) {
  const socket = net.connect(80, '10.96.0.31', () => { socket.write('G'); quiet.refresh(); });
  open++;
  socket.on('error', () => undefined).on('close', () => { open--; quiet.refresh(); });
}`;

test('TCP: a client gets so many connections, and further ones are reset', () => {
  const service = `
---
kind: Service
metadata: { name: raw, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  selector: { app: echo }
  clusterIPs: [10.96.0.31]
  ports: [{ name: tcp, port: 80, targetPort: 8080, appProtocol: tcp }]
`;
  const policy = tcp.replace('name: echo', 'name: raw').replace('connectionsMax: 20', 'connectionsMax: 2');
  const open = async (count: number, from: string): Promise<number> => {
    const { stdout } = await run(from, process.execPath, [
      ...['--input-type=module', '-e', opener],
      String(count),
    ]);
    return Number(stdout.trim());
  };
  return mesh.withRoute(
    `${policy}${service}`,
    async () => (await open(3, 'weft-web')) === 2,
    async () => {
      const [first, second] = await Promise.all([open(8, 'weft-web'), open(2, 'weft-visitor')]);
      assert.deepEqual([first, second], [2, 2]);
    },
  );
});
