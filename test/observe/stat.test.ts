/** How well it goes, as `weft stat` and `weft top` show it: real programs report, and each request and connection counts once. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import type { Statistic, Subject } from '../../src/telemetry/observed/statistics.js';
import { apiUrl, echoUrl, ObservedMesh, weftProgram } from '../support/observed-mesh.js';

const observed = new ObservedMesh('stat');
/** Reports come every 10 s, on a slow machine later. */
const reportedMs = 60_000;

interface Stat {
  readonly nowMs: number;
  readonly ratedSinceMs: number | null;
  readonly statistics: readonly Statistic[];
}

async function stat(by: Subject, ...args: string[]): Promise<Stat> {
  const { code, stdout, stderr } = await observed.weft('stat', by, '--json', ...args);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Stat;
}

const isOf = (one: Statistic, wanted: Partial<Statistic>): boolean =>
  Object.entries(wanted).every(([name, value]) => one[name as keyof Statistic] === value);

/** The statistic, once reports have it and `holds`. */
async function reported(
  by: Subject,
  wanted: Partial<Statistic>,
  holds: (one: Statistic) => boolean,
): Promise<Statistic> {
  let found: Statistic | undefined;
  let all: readonly Statistic[] = [];
  try {
    await until(`${by} has ${JSON.stringify(wanted)}`, reportedMs, async () => {
      ({ statistics: all } = await stat(by));
      found = all.find((one) => isOf(one, wanted));
      return found !== undefined && holds(found);
    });
  } catch (error) {
    throw new Error(`${String(error)}; there are ${JSON.stringify(all)}`);
  }
  return found as Statistic;
}

let connections = 0;
before(async () => {
  await observed.up();
  for (let id = 10; id < 20; id++)
    assert.equal(await observed.get('web', `${echoUrl}/orders/${id}?token=secret`), '200');
  for (let i = 0; i < 2; i++) assert.equal(await observed.get('web', `${echoUrl}/status/503`), '503');
  for (; connections < 5; connections++) assert.equal(await observed.get('web', apiUrl), '200');
});
after(() => observed.remove());

test('a route has its requests, its success and its latencies, and the query is in no name', async () => {
  const orders = await reported('routes', { pathTemplate: '/orders/*' }, ({ requests }) => requests >= 10);
  assert.deepEqual([orders.method, orders.requests, orders.failures, orders.successShare], ['GET', 10, 0, 1]);
  assert.ok((orders.latencyMs?.p50 ?? 0) > 0);
  const failing = await reported('routes', { pathTemplate: '/status/*' }, ({ requests }) => requests >= 2);
  assert.deepEqual([failing.requests, failing.failures, failing.successShare], [2, 2, 0]);
  const { stdout } = await observed.weft('stat', 'routes');
  assert.match(stdout, /^shop\/echo-v1 +GET +\/orders\/\* +100% /m);
  assert.match(stdout, /^shop\/echo-v1 +GET +\/status\/\* +0% /m);
  assert.doesNotMatch(stdout, /secret/);
});

test('a connection that both agents report, and a request that waypoint and agents see, count once in every subject', async () => {
  const wanted = { source: 'shop/web', destination: 'shop/api' };
  const toApi = await reported('edges', wanted, (one) => one.connections >= connections);
  assert.deepEqual([toApi.connections, toApi.requests, toApi.mutualTlsShare], [connections, 0, 1]);
  const { statistics: routes } = await stat('routes');
  const requests = routes.reduce((sum, one) => sum + one.requests, 0);
  const { statistics: workloads } = await stat('workloads');
  const of = (wantedNames: Partial<Statistic>): Statistic | undefined =>
    workloads.find((one) => isOf(one, wantedNames));
  assert.equal(of({ workload: 'shop/echo', direction: 'inbound' })?.requests, requests);
  assert.equal(of({ workload: 'shop/web', direction: 'outbound' })?.requests, requests);
  assert.equal(of({ workload: 'shop/api', direction: 'inbound' })?.connections, connections);
  assert.equal(of({ workload: 'shop/web', direction: 'outbound' })?.connections, connections);
  const { statistics: services } = await stat('services');
  const service = services.find((one) => one.service === 'echo-v1.shop.svc.cluster.local');
  assert.deepEqual([service?.requests, service?.mutualTlsShare], [requests, 1]);
});

test('a policy has what it refused', async () => {
  const policy = await reported('policies', { policy: 'shop/only-web' }, ({ refused }) => refused > 0);
  assert.equal(policy.audited, 0);
  const intruder = await reported('workloads', { workload: 'shop/intruder' }, ({ refused }) => refused > 0);
  assert.deepEqual(
    [intruder.direction, intruder.connections, intruder.refused],
    ['outbound', 0, policy.refused],
  );
});

test('only what is asked for is shown, and what is not known is -', async () => {
  const { stdout } = await observed.weft('stat', 'edges', '--from', 'web', '--to', 'shop/api');
  const lines = stdout.split('\n');
  assert.match(lines[0] ?? '', /^SOURCE +DESTINATION +SUCCESS +REQ\/S +P50 +P95 +P99 +CONN\/S /);
  assert.match(lines[1] ?? '', /^shop\/web +shop\/api +- +- +- +- +- /);
  assert.equal(lines.filter((line) => line.startsWith('shop/')).length, 1);
  assert.match((await observed.weft('stat', '--from', 'bank/')).stdout, /nothing was observed/);
  assert.match((await observed.weft('stat', '-n', 'bank')).stdout, /nothing was observed/);
  assert.match(
    (await observed.weft('stat', '--since', '2h')).stdout,
    /keeps 15m, not 2h: to look back further, ask Prometheus with --prometheus URL/,
  );
});

test('weft edges shows success and latencies of requests', async () => {
  const { stdout } = await observed.weft('edges', '--to', 'echo-v1');
  assert.match(stdout, /^SOURCE .* FAILED +SUCCESS +P50 +P99 +LAST SEEN$/m);
  assert.match(stdout, /^shop\/web +shop\/echo +8080 +waypoint +mutual TLS +0 +\d+ +0 +2 +\d\d\.\d% /m);
});

/** It goes on until it is ended: test/observe/tap.test.ts has what it shows. */
async function assertTaps(args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [weftProgram, ...args, '--state', observed.mesh.state], {
    env: { ...process.env, KUBECONFIG: '' },
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (part: Buffer) => (said += part.toString()));
  try {
    await until(`${args.join(' ')} begins`, 60_000, () => {
      assert.equal(child.exitCode, null, said);
      return /^tapping \d+ programs; Ctrl-C ends$|"programs"/m.test(said);
    });
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}

test('each command of docs/observe.md that needs no Prometheus shows something', async () => {
  const page = readFileSync(join(projectRoot, 'docs', 'observe.md'), 'utf8');
  const commands = [...page.matchAll(/^npx weft ([^#\n]*)/gm)]
    .map(([, args = '']) => args.trim())
    .filter((args) => !/prometheus|--since 24h|explain ID/.test(args));
  assert.ok(commands.length >= 6);
  for (const args of commands) {
    if (args.startsWith('tap')) {
      await assertTaps(args.split(/ +/).map((arg) => arg.replaceAll("'", '')));
      continue;
    }
    const { code, stdout, stderr } = await observed.weft(...args.split(/ +/));
    assert.equal(code, 0, `${args}: ${stderr}`);
    assert.match(stdout, /^shop\/web|^shop\/echo/m, args);
  }
});

test('without a terminal weft top is one table', async () => {
  const { code, stdout } = await observed.weft('top', '--since', '10m', '--sort', 'failures');
  assert.equal(code, 0);
  assert.match(stdout, /^DESTINATION +METHOD +PATH +COUNT .*CHANGE$/m);
  assert.match(stdout.split('\n')[1] ?? '', /^shop\/echo-v1 +GET +\/status\/\* +2 /);
  assert.ok(!stdout.includes('\x1b'));
});

test('on a terminal weft top draws over itself, follows the size of the terminal, and leaves it as it was', async (t) => {
  const weft = [process.execPath, weftProgram, 'top', '--since', '10m', '--state', observed.mesh.state].join(
    ' ',
  );
  // The terminal becomes smaller once the first table is there: the file says so.
  const go = `${observed.mesh.state}/resize`;
  const resize = `(until [ -e ${go} ]; do sleep 0.1; done; stty cols 40 rows 3 </dev/tty)`;
  const child = spawn('script', ['-qefc', `stty cols 100 rows 24; ${resize} & exec ${weft}`, '/dev/null'], {
    env: { ...process.env, KUBECONFIG: '' },
  });
  // A test that fails would otherwise wait for it.
  t.after(() => child.kill('SIGKILL'));
  let out = '';
  child.stdout.on('data', (part: Buffer) => (out += part.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  await until('the table is drawn', 60_000, () => out.includes('/orders/*'));
  const before = out.length;
  writeFileSync(go, '');
  const frames = (): string[] => out.slice(before).split('\x1b[H').slice(1);
  await until('the table is drawn in the smaller terminal', 60_000, () =>
    frames().some((frame) => frame.includes('\x1b[J') && frame.split('\r\n').length === 3),
  );
  const last = frames().at(-1) ?? '';
  for (const line of last.split('\r\n'))
    assert.ok(line.replaceAll(/\x1b\[[^a-zA-Z]*[a-zA-Z]|\r/g, '').length <= 40, line);
  child.stdin.write('\x03');
  assert.equal(await ended, 0, out);
  assert.ok(out.trimEnd().endsWith('\x1b[?7h\x1b[?25h\x1b[?1049l'));
  assert.ok(!out.includes('\x1b[2J'), 'no frame clears the screen first');
});

test('rates are of the time that the control plane has observed, once it is long enough', async () => {
  let found: Stat | undefined;
  await until(
    'there are rates',
    120_000,
    async () => (found = await stat('workloads')).ratedSinceMs !== null,
  );
  const { nowMs, ratedSinceMs, statistics } = found as Stat;
  const seconds = (nowMs - (ratedSinceMs ?? 0)) / 1_000;
  assert.ok(seconds < 600, 'the window is 10 minutes, the control plane is younger');
  for (const {
    requests,
    requestsPerSecond = -1,
    connections: all,
    connectionsPerSecond = -1,
  } of statistics) {
    assert.ok(requestsPerSecond >= 0 && requestsPerSecond * seconds <= requests + 0.001);
    assert.ok(connectionsPerSecond >= 0 && connectionsPerSecond * seconds <= all + 0.001);
  }
});
