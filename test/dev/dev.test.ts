import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { Live } from '../../src/cli/demo/stage.js';
import { markOf, run } from '../../src/cli/run.js';
import { agentProcess, readReadiness, runDirOf } from '../../src/cli/standalone/agent.js';
import { readLedger } from '../../src/cli/standalone/ledger.js';

/** A copy of the project, which this test edits and builds. Other tests read the files of the project itself. */
const copy = mkdtempSync(join(tmpdir(), 'weft-dev-'));
const state = '/run/weft/test-dev';
const builtMsMax = 180_000;
let child: ChildProcess;
let output = '';
let ended: Promise<number | null>;

async function printed(what: string): Promise<void> {
  await until(`dev prints "${what}"`, builtMsMax, () => output.includes(what)).catch((error: unknown) =>
    assert.fail(`${String(error)}:\n${output}`),
  );
}
const echo = async (): Promise<string> =>
  (await run('weft-web', 'curl', ['-sS', '-m', '10', '--noproxy', '*', 'http://10.96.0.20/'], 15_000)).stdout;
const pidOf = (name: string): number | undefined => readLedger(state)?.processes[name]?.pid;
const netnsNames = (): string[] => (existsSync('/run/netns') ? readdirSync('/run/netns') : []);

before(async () => {
  for (const name of [
    'src',
    'daemonset',
    'control',
    'native',
    'bpf',
    'dist',
    'docs/examples',
    'test',
    'bench',
    'package.json',
    'tsconfig.json',
  ])
    cpSync(join(projectRoot, name), join(copy, name), { recursive: true, preserveTimestamps: true });
  symlinkSync(join(projectRoot, 'node_modules'), join(copy, 'node_modules'));
  child = spawn(process.execPath, [join(copy, 'dist/src/cli/dev/main.js'), '--state', state], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (bytes: Buffer) => (output += bytes.toString()));
  ended = new Promise((resolve) => child.once('exit', resolve));
  await printed('watching the sources');
});
after(() => {
  child.kill('SIGKILL');
  rmSync(copy, { recursive: true, force: true });
});

test('npm run dev replaces the agents one node after the other when their source changes, and connections survive', async () => {
  const live = new Live('weft-web', ['connect', '10.96.0.12', '6379']);
  try {
    await live.wait('connected', 20_000);
    assert.equal(await live.ask('PING\r\n'), '+PONG\r\n');
    const before = ['control', 'agent-node-a', 'agent-node-b'].map(pidOf);
    output = '';
    appendFileSync(join(copy, 'daemonset', 'main.ts'), 'process.env["WEFT_TEST_DEV"] = "1";\n');
    await printed('dev: up to date');
    assert.match(output, /dev: daemonset\/main\.ts changed: building\n/);
    assert.match(output, /dev: agent of node-a restarted in [^]*dev: agent of node-b restarted in /);
    const [control, ...agents] = ['control', agentProcess('node-a'), agentProcess('node-b')].map(pidOf);
    assert.equal(control, before[0]);
    for (const [index, pid] of agents.entries()) {
      assert.notEqual(pid, before[index + 1]);
      assert.equal(readReadiness(runDirOf(state, `node-${'ab'[index]}`)).pid, pid);
    }
    assert.match(readFileSync(join(copy, 'dist/daemonset/main.js'), 'utf8'), /WEFT_TEST_DEV/);
    assert.equal(await live.ask('PING\r\n'), '+PONG\r\n');
  } finally {
    live.end();
  }
});

test('npm run dev starts a new waypoint replica before the former one ends when the waypoint source changes', async () => {
  assert.match(await echo(), /"pod":"echo-v[12]"/);
  output = '';
  appendFileSync(join(copy, 'src', 'waypoint', 'main.ts'), 'export {};\n');
  await printed('dev: up to date');
  assert.match(output, /dev: waypoint shop\/waypoint restarted in /);
  assert.doesNotMatch(output, /agent of|control plane/);
  assert.equal(pidOf('waypoint-shop-waypoint-0'), undefined);
  assert.ok(pidOf('waypoint-shop-waypoint-25'));
  assert.match(await echo(), /"pod":"echo-v[12]"/);
});

test('npm run dev prints compiler errors and leaves the running programs alone when the build fails', async () => {
  const file = join(copy, 'control', 'main.ts');
  const text = readFileSync(file, 'utf8');
  const control = pidOf('control');
  output = '';
  writeFileSync(file, `${text}const wrong: string = 1;\nwrong;\n`);
  await printed('the build FAILED');
  assert.match(output, /control\/main\.ts\(\d+,\d+\): error TS2322/);
  assert.equal(pidOf('control'), control);
  output = '';
  writeFileSync(file, text);
  await printed('dev: up to date');
  assert.match(output, /dev: control plane restarted in /);
  assert.notEqual(pidOf('control'), control);
});

test('Ctrl-C ends npm run dev and removes its processes, namespaces and pinned maps', async () => {
  const pids = Object.values(readLedger(state)?.processes ?? {}).map(({ pid }) => pid);
  assert.ok(pids.length > 5);
  child.kill('SIGINT');
  assert.equal(await ended, 0, output);
  assert.equal(existsSync(state), false);
  assert.deepEqual(netnsNames(), []);
  assert.equal(existsSync('/sys/fs/bpf/weft'), false);
  assert.deepEqual(
    // A process that has ended may still have an entry until its new parent collects its status.
    pids.filter((pid) => markOf(pid)),
    [],
  );
});
