/**
 * `weft tap` on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed afterwards. The API server
 * streams it, by the caller's own rights. The tests share the cluster and run in this order.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import type { TapEvent } from '../../src/model/mesh-snapshot.js';
import type { TapLine } from '../../src/model/tap.js';
import { env, kubectl, releaseCluster, run, takeCluster } from '../support/cluster.js';
import { impersonating, installBeside } from '../support/observed-cluster.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-tap-'));
const program = join(projectRoot, 'dist/src/cli/weft.js');

const weftAs = (user: string, ...args: string[]): Promise<string> =>
  run('env', `KUBECONFIG=${impersonating(dir, user)}`, process.execPath, program, ...args);

const call = (from: string): Promise<string> =>
  kubectl(
    ...from.split(' '),
    '--',
    'node',
    '-e',
    "fetch('http://web.shop/').then((r) => r.text()).then(console.log, (e) => console.log(e.message))",
  ).catch(() => '');
const client = 'exec -n shop deploy/client';
const teller = 'exec -n bank deploy/teller';

/** The events of a tap, while `act` is repeated, until one holds. */
async function seen(
  kubeconfig: string,
  args: readonly string[],
  act: () => Promise<unknown>,
  holds: (event: TapEvent) => boolean,
): Promise<readonly TapEvent[]> {
  const child = spawn(process.execPath, [program, 'tap', '--json', ...args], {
    env: { ...process.env, KUBECONFIG: kubeconfig },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (out += part));
  child.stderr.setEncoding('utf8').on('data', (part: string) => (errors += part));
  const events = (): readonly TapEvent[] =>
    out
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as TapLine)
      .flatMap((line) => ('event' in line ? [line.event] : []));
  try {
    await until('an event is shown', 120_000, async () => {
      assert.equal(child.exitCode, null, errors);
      await act();
      return events().some(holds);
    });
    return events();
  } finally {
    child.kill('SIGINT');
    await until('weft tap has ended', 30_000, () => child.exitCode !== null || child.signalCode !== null);
    assert.equal(child.exitCode, 0, errors);
  }
}

before(async () => {
  await takeCluster();
  await installBeside('smi-metrics.yaml', 'shop web', 'shop client', 'bank teller');
  await kubectl(
    'create',
    'rolebinding',
    'tap',
    '-n',
    'shop',
    '--clusterrole=weft-tap-reader',
    '--user=tapper',
  );
});
after(async () => {
  rmSync(dir, { recursive: true, force: true });
  await releaseCluster('shop', 'bank');
});

test('forbidden: a tap by who may only view, of another namespace, or of all', async () => {
  for (const [user, ...args] of [
    ['shopper', 'tap', '-n', 'shop'],
    ['tapper', 'tap', '-n', 'bank'],
    ['tapper', 'tap'],
    ['tapper', 'tap', '-n', 'shop', '--workload', 'bank/teller'],
  ] as const)
    await assert.rejects(
      weftAs(user, ...args),
      /cannot watch resource "taps" in API group "observe\.weft\.dev"/,
    );
});

test('an administrator sees connections of all namespaces as they happen', async () => {
  const events = await seen(
    env.KUBECONFIG,
    [],
    () => Promise.all([call(client), call(teller)]),
    ({ source, outcome }) => source.workload === 'teller' && outcome === 'allowed',
  );
  assert.ok(events.every(({ reporter }) => reporter !== ''));
});

test('a reader of one namespace sees what it is an end of, without names of others', async () => {
  const events = await seen(
    impersonating(dir, 'tapper'),
    ['-n', 'shop'],
    () => Promise.all([call(client), call(teller)]),
    ({ source }) => source.namespace === 'bank',
  );
  for (const { source, destination } of events)
    assert.ok([source.namespace, destination.namespace].includes('shop'));
  assert.ok(events.some(({ destination }) => destination.workload === 'web'));
  assert.doesNotMatch(JSON.stringify(events.map(({ source }) => [source.workload, source.pod])), /teller/);
});

test('a tap goes on for longer than other requests of the API server may take', async () => {
  const begun = Date.now();
  await seen(
    impersonating(dir, 'tapper'),
    ['-n', 'shop'],
    () => call(client),
    ({ timeMs }) => timeMs - begun > 75_000,
  );
});
