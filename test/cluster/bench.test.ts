/**
 * The benchmark comparison on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed
 * afterwards. Expects a cluster without Weft.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readResult, type BenchResult } from '../../bench/result/result.js';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import {
  env,
  gatewayKinds,
  here,
  kubectl,
  releaseCluster,
  run,
  takeCluster,
  weftImage,
} from '../support/cluster.js';

const image = 'docker.io/testcluster/weft-bench:0.1.0';

const files = mkdtempSync(join(tmpdir(), 'weft-bench-cluster-'));
const page = readFileSync(join(projectRoot, 'docs', 'bench-cluster.md'), 'utf8');

/** A command of docs/bench-cluster.md, with the image of this cluster and the files of this test. */
function documented(command: string): string[] {
  assert.ok(page.includes(command), `docs/bench-cluster.md does not say: ${command}`);
  return command
    .split(' ')
    .map((word) => (word === 'IMAGE' ? image : /\.(json|html)$/.test(word) ? join(files, word) : word));
}

interface Ended {
  readonly code: number | null;
  readonly said: string;
}
/** Runs a command in its own process group, as a shell does. `watch` is called with all output so far. */
async function bench(
  [command = '', ...args]: readonly string[],
  watch?: (said: string, child: ChildProcess) => void,
): Promise<Ended> {
  const child = spawn(command, args, {
    env,
    cwd: projectRoot,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      watch?.(said, child);
    });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}
/** Like Ctrl-C in a terminal: sends a signal to the whole process group, once, when the output matches. */
function signalOnce(when: RegExp, signal: NodeJS.Signals): (said: string, child: ChildProcess) => void {
  let sent = false;
  return (said, { pid }) => {
    if (sent || pid === undefined || !when.test(said)) return;
    sent = true;
    process.kill(-pid, signal);
  };
}

/** Everything that a run could leave behind. */
async function inventory(): Promise<string> {
  const kinds =
    'namespaces,clusterroles,clusterrolebindings,crds,persistentvolumes,validatingwebhookconfigurations';
  return `${await kubectl('get', kinds, '-o', 'name')}\n${await run('helm', 'list', '--all-namespaces', '--all', '-q')}`;
}
const cellsOf = ({ samples }: BenchResult): Set<string> =>
  new Set(samples.map(({ placement, variant }) => `${variant} ${placement}`));

before(async () => {
  await takeCluster();
  await run(join(here, 'bench-image'), image);
});
after(async () => {
  rmSync(files, { recursive: true, force: true });
  await releaseCluster();
});

test("on a cluster without Weft, Weft's variants are reported as missing with the remedy, and the others are measured", async () => {
  const earlier = await inventory();
  const { code, said } = await bench(
    documented(
      'npm run bench -- cluster --image IMAGE --rounds 1 --seconds 0.5 --variants weft weft-waypoint --json result.json',
    ),
  );
  assert.equal(code, 0, said);
  const result = readResult(join(files, 'result.json'));
  for (const what of ['weft', 'weft-waypoint'])
    assert.match(result.missing.find((one) => one.what === what)?.why ?? '', /npx weft install/);
  assert.deepEqual(
    cellsOf(result),
    new Set(['none same-node', 'none-again same-node', 'none cross-node', 'none-again cross-node']),
  );
  assert.equal(await inventory(), earlier);
});

test('every variant and placement is measured by Jobs, with the counters of its proxies as evidence, and nothing is left', async () => {
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await run(
    ...(['helm', 'install', 'weft', 'daemonset/chart', '-n', 'weft-system', '--create-namespace'] as const),
    ...['--set', `image.repository=${weftImage}`, '--wait', '--timeout', '120s'],
  );
  await kubectl('-n', 'weft-system', 'rollout', 'status', 'ds/weft-agent', '--timeout=60s');
  await until('the GatewayClass exists', 60_000, () =>
    kubectl('get', 'gatewayclass', 'weft-waypoint').catch(() => ''),
  );
  const earlier = await inventory();
  const { code, said } = await bench(
    documented(
      'npm run bench -- cluster --image IMAGE --rounds 1 --seconds 0.5 --json result.json --html result.html',
    ),
  );
  assert.equal(code, 0, said);
  const result = readResult(join(files, 'result.json'));
  assert.match(readFileSync(join(files, 'result.html'), 'utf8'), /^<!doctype html>[^]*Weft, waypoint/);
  assert.equal(result.where, 'cluster');
  assert.equal(result.interrupted, false);
  assert.deepEqual(result.failures, []);
  const both = ['none', 'none-again', 'sidecar', 'weft', 'weft-waypoint'];
  const wanted = [
    ...both.flatMap((name) => [`${name} same-node`, `${name} cross-node`]),
    'weft-encrypted same-node',
    'weft-spliced same-node',
  ];
  assert.deepEqual([...cellsOf(result)].sort(), wanted.sort());

  const workloads = new Set(result.samples.map(({ workload }) => workload));
  for (const name of [
    'ping-pong',
    'bulk',
    'churn',
    'http1-max',
    'http1',
    'http2-max',
    'http2',
    'grpc-max',
    'grpc',
  ])
    assert.ok(workloads.has(name), name);
  for (const cell of wanted) {
    const [variant, placement] = cell.split(' ');
    const measured = result.samples.filter((one) => one.variant === variant && one.placement === placement);
    assert.equal(new Set(measured.map(({ workload }) => workload)).size, workloads.size, cell);
    for (const { values } of measured) {
      assert.ok(Object.keys(values).length > 0);
      for (const [metric, value] of Object.entries(values)) assert.ok(value >= 0, `${cell} ${metric}`);
    }
    const full = measured.find(({ workload }) => workload === 'http1-max')?.values ?? {};
    assert.ok((full['perSecond'] ?? 0) > 0 && (full['applicationUs'] ?? 0) > 0, cell);
    assert.equal('proxyUs' in full, variant !== 'none' && variant !== 'none-again', cell);
  }

  const counted = (variant: string, what: RegExp): number =>
    result.evidence
      .filter((one) => one.variant === variant && what.test(one.what))
      .reduce((sum, { value }) => sum + value, 0);
  for (const placement of ['same-node', 'cross-node']) {
    assert.ok(counted('sidecar', new RegExp(`${placement}, server .*15006.ssl.handshake`)) > 0);
    assert.ok(counted('sidecar', new RegExp(`${placement}, client .*outbound_tcp.ssl.handshake`)) > 0);
    assert.ok(counted('sidecar', new RegExp(`${placement}, server .*downstream_rq_completed`)) > 0);
  }
  assert.ok(counted('weft', /istio_tcp_connections_opened_total, mutual_tls/) > 0);
  assert.ok(counted('weft', /istio_tcp_connections_opened_total, same_node/) > 0);
  assert.ok(counted('weft-encrypted', /istio_tcp_connections_opened_total, mutual_tls/) > 0);
  assert.equal(counted('weft-encrypted', /same_node/), 0);
  assert.ok(counted('weft-waypoint', /istio_requests_total/) > 0);
  assert.equal(result.evidence.filter(({ variant }) => variant.startsWith('none')).length, 0);
  assert.equal(await inventory(), earlier);
});

test('Ctrl-C keeps the results of finished rounds and leaves no object', async () => {
  const earlier = await inventory();
  const { code, said } = await bench(
    documented(
      'npm run bench -- cluster --image IMAGE --rounds 50 --seconds 0.5 --variants sidecar --json long.json',
    ),
    signalOnce(/round 2 of 50: same-node none-again/, 'SIGINT'),
  );
  assert.equal(code, 130, said);
  const result = readResult(join(files, 'long.json'));
  assert.equal(result.interrupted, true);
  assert.deepEqual([...new Set(result.samples.map(({ round }) => round))], [0]);
  assert.ok(cellsOf(result).has('sidecar cross-node'));
  assert.equal(await inventory(), earlier);
});

test('a signal before the first round has finished writes no result and leaves no object', async () => {
  const earlier = await inventory();
  const { code, said } = await bench(
    [
      'node',
      'dist/bench/main.js',
      'cluster',
      '--image',
      image,
      '--variants',
      'none',
      '--json',
      join(files, 'none.json'),
    ],
    signalOnce(/installing/, 'SIGTERM'),
  );
  assert.equal(code, 1, said);
  assert.match(said, /WEFT_INTERRUPTED/);
  assert.equal(existsSync(join(files, 'none.json')), false);
  assert.equal(await inventory(), earlier);
});

test('the next run names the objects that a killed run has left, and --remove deletes them', async () => {
  const earlier = await inventory();
  const again = ['node', 'dist/bench/main.js', 'cluster', '--image', image, '--variants', 'none'];
  await bench(again, signalOnce(/trying/, 'SIGKILL'));
  const { code, said } = await bench(again);
  assert.equal(code, 1, said);
  assert.match(said, /WEFT_BENCH_CLUSTER_BUSY.*weft-bench-none.*--remove/);
  const removed = await bench(documented('npm run bench -- cluster --remove'));
  assert.equal(removed.code, 0, removed.said);
  assert.match(removed.said, /removed weft-bench-none/);
  assert.equal(await inventory(), earlier);
});

test('the error of a missing image names the image, and no object is left', async () => {
  const earlier = await inventory();
  const { code, said } = await bench([
    ...['node', 'dist/bench/main.js', 'cluster', '--image', 'docker.io/testcluster/no-such-image:1'],
    ...['--variants', 'none'],
  ]);
  assert.equal(code, 1, said);
  assert.match(said, /WEFT_BENCH_INSTALL.*no-such-image/s);
  assert.equal(await inventory(), earlier);
});
