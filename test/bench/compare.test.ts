/** `npm run bench` as a user runs it: to see that it works, never to judge times. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { costs } from '../../bench/mesh/costs/index.js';
import { readResult } from '../../bench/result/result.js';
import { cgroupRoot } from '../../daemonset/datapath/loader.js';
import { sleep, until } from '../../src/base/wait.js';
import { distRoot } from '../../src/cli/run.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
const bench = join(distRoot, 'bench', 'main.js');
const stateOf = (name: string): string => join(dir, name);
after(() => rmSync(dir, { recursive: true, force: true }));

const pids: (number | undefined)[] = [];
/** Namespaces, pins and cgroups that a run has left. */
const leftovers = (): string[] => [
  ...(existsSync('/run/netns') ? readdirSync('/run/netns').filter((name) => name.startsWith('weft-')) : []),
  ...(existsSync('/sys/fs/bpf/weft') ? readdirSync('/sys/fs/bpf/weft') : []),
  ...pids.filter((pid) => existsSync(join(cgroupRoot(), `weft-bench-${pid}`))).map(String),
];

function run(
  name: string,
  ...args: string[]
): { status: number | null; stdout: string; stderr: string; file: string } {
  const file = join(dir, `${name}.json`);
  const { pid, status, stdout, stderr } = spawnSync(
    process.execPath,
    [bench, ...args, '--json', file, '--state', stateOf(name)],
    { encoding: 'utf8', timeout: 900_000, maxBuffer: 16 << 20 },
  );
  pids.push(pid);
  return { status, stdout, stderr, file };
}

test('a quick run measures every variant and every workload, and the sidecars really carried it', () => {
  const { status, stdout, stderr, file } = run('quick', '--quick');
  assert.equal(status, 0, stderr);
  const result = readResult(file);
  assert.deepEqual(result.failures, []);
  assert.equal(result.interrupted, false);
  const cells = new Set(result.samples.map(({ placement, variant }) => `${placement} ${variant}`));
  for (const cell of [
    ...['none', 'none-again', 'sidecar', 'weft', 'weft-waypoint'].flatMap((variant) => [
      `same-node ${variant}`,
      `cross-node ${variant}`,
    ]),
    'same-node weft-spliced',
    'same-node weft-encrypted',
    'same-node weft-encrypted-typescript',
    'cross-node weft-typescript',
  ])
    assert.ok(cells.has(cell), `${cell} was not measured: ${JSON.stringify(result.missing)}`);
  const names = new Set(result.samples.map(({ workload }) => workload));
  for (const name of [
    'ping-pong',
    'bulk',
    'churn',
    'memory',
    'http1',
    'http2',
    'grpc',
    ...costs.map(({ workload }) => workload.name),
  ])
    assert.ok(names.has(name), name);
  const counted = (variant: string, what: string): number[] =>
    result.evidence
      .filter((one) => one.variant === variant && one.what.includes(what))
      .map(({ value }) => value);
  for (const counter of ['ssl.handshake', 'tcp.inbound_tcp.downstream_cx_total', 'downstream_rq_completed']) {
    const values = counted('sidecar', counter);
    assert.equal(values.length, 2, counter);
    assert.ok(
      values.every((value) => value > 100),
      `${counter}: ${values.join(' ')}`,
    );
  }
  assert.ok(counted('weft', '"same_node"').every((value) => value > 0));
  assert.ok(counted('weft-waypoint', 'istio_requests_total').every((value) => value > 0));
  assert.ok(counted('none', 'connections of these pods').every((value) => value === 0));
  const lost = new Map(result.missing.map(({ what, why }) => [what, why]));
  if (cells.has('same-node ztunnel')) {
    assert.ok(cells.has('cross-node ztunnel'));
    assert.ok(counted('ztunnel', '"mutual_tls"').every((value) => value > 100));
  } else assert.match(lost.get('ztunnel') ?? '', /^not on PATH: put a ztunnel binary there/);
  assert.match(lost.get('linkerd2-proxy') ?? '', /on PATH/);
  assert.ok(result.figures.some(({ noise }) => noise !== undefined));
  assert.deepEqual(result.goals, [], 'two short rounds judge no goal');
  assert.ok(!result.samples.some(({ short }) => short !== undefined && short.includes('NaN')));
  assert.match(stdout, /sidecar/);
  assert.deepEqual(leftovers(), []);
});

test('an interrupted run keeps the rounds that were done, says so, and leaves nothing behind', async () => {
  const file = join(dir, 'interrupted.json');
  const args = ['--variants', 'weft', '--quick', '--rounds', '50', '--seconds', '0.1', '--no-costs'];
  const child = spawn(process.execPath, [bench, ...args, '--json', file, '--state', stateOf('interrupted')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  pids.push(child.pid);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  await until('the second round', 300_000, () => /round [2-9] of 50/.test(said) || child.exitCode !== null);
  await sleep(300);
  child.kill('SIGINT');
  assert.equal(await ended, 130, said);
  const result = readResult(file);
  assert.equal(result.interrupted, true);
  const rounds = Math.max(...result.samples.map(({ round }) => round)) + 1;
  assert.ok(rounds >= 1 && rounds < 50);
  const perRound = result.samples.length / rounds;
  assert.ok(Number.isInteger(perRound), 'no round is there in part');
  assert.deepEqual(leftovers(), []);
});

test('a proxy that does not start is left out, with the reason, and the rest measured', (t) => {
  const path = process.env['PATH'] ?? '';
  t.after(() => (process.env['PATH'] = path));
  const version = 'version.BuildInfo{GitRevision:"1", IstioVersion:"unknown"}';
  writeFileSync(
    join(dir, 'ztunnel'),
    `#!/bin/sh\n[ "$1" = version ] && echo '${version}' || { echo no pod here; exit 1; }\n`,
    { mode: 0o755 },
  );
  process.env['PATH'] = `${dir}:${path}`;
  const { status, stderr, file } = run(
    'no-envoy',
    ...['--variants', 'sidecar', 'ztunnel', 'weft', '--envoy', '/bin/false', '--quick', '--no-costs'],
    ...['--rounds', '1', '--seconds', '0.1'],
  );
  assert.equal(status, 0, stderr);
  const result = readResult(file);
  assert.ok(result.missing.some(({ what, why }) => what === 'sidecar' && why.includes('/bin/false')));
  assert.ok(result.missing.some(({ what, why }) => what === 'ztunnel' && why.includes('no pod here')));
  assert.ok(result.samples.some(({ variant }) => variant === 'weft'));
  assert.ok(!result.samples.some(({ variant }) => variant === 'sidecar' || variant === 'ztunnel'));
});

test("the user's own application is measured behind every variant", async () => {
  const hits: string[] = [];
  const server = createServer((request, response) => {
    hits.push(request.url ?? '');
    response.end('mine');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    const file = join(dir, 'own.json');
    const child = spawn(
      process.execPath,
      [
        ...[
          bench,
          '--target',
          `http://127.0.0.1:${port}/mine?a=1`,
          '--variants',
          'sidecar',
          'weft',
          '--quick',
        ],
        ...['--rounds', '1', '--seconds', '0.2', '--json', file, '--state', stateOf('own')],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 0, said);
    const result = readResult(file);
    assert.equal(result.where, 'own');
    assert.deepEqual([...new Set(result.samples.map(({ workload }) => workload))].sort(), [
      'http1',
      'http1-max',
      'memory',
    ]);
    assert.ok(result.samples.some(({ variant }) => variant === 'sidecar'));
    assert.ok(hits.length > 1000 && hits.every((url) => url === '/mine?a=1'));
  } finally {
    server.close();
  }
});

test('a quick run of the features of traffic policies measures each of them, for Weft and for Envoy', () => {
  const file = join(dir, 'resilience.json');
  const args = ['waypoint', '--only', 'resilience', '--quick', '--json', file];
  const { status, stderr } = spawnSync(process.execPath, [bench, ...args], {
    encoding: 'utf8',
    timeout: 600_000,
  });
  assert.equal(status, 0, stderr);
  const { goals, medians } = JSON.parse(readFileSync(file, 'utf8')) as {
    goals: { what: string; state: string }[];
    medians: Record<string, number>;
  };
  assert.deepEqual(
    goals.filter(({ state }) => state === 'not measured'),
    [],
  );
  for (const name of ['envoy', 'weft']) assert.equal(medians[`resilience-reaction.${name}.past`], 0);
  assert.equal(medians['resilience-reaction.weft.recovered'], 1);
});

test('what cannot be measured is refused with the way out, before anything is made', () => {
  const refused = (...args: string[]): string => {
    const { status, stderr } = run('refused', ...args);
    assert.equal(status, 1, stderr);
    return stderr;
  };
  assert.match(refused('--variants', 'nobody'), /WEFT_BENCH_VARIANT: no variant nobody: there are none,/);
  assert.match(refused('--target', 'https://127.0.0.1/'), /WEFT_BENCH_TARGET: .*give its http:\/\/ address/);
  assert.match(refused('--target', 'mine'), /WEFT_BENCH_TARGET: .*give http:\/\/HOST:PORT\/PATH/);
  assert.deepEqual(leftovers(), []);
  assert.ok(!existsSync(join(dir, 'refused.json')));
});

test('the result is one JSON object that names its schema', () => {
  const value = JSON.parse(readFileSync(join(dir, 'quick.json'), 'utf8')) as { schema: string };
  assert.equal(value.schema, 'weft.dev/bench/v1');
});
