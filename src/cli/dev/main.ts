/**
 * `npm run dev`: a testbed that follows the sources. On each change it builds the project and replaces the programs that the
 * change affects. Ctrl-C removes the testbed.
 *
 *   node dist/src/cli/dev/main.js [-f MANIFESTS] [--state DIR] [--relay RELAY]
 *
 * Edits of the manifests take effect at once. Without `-f` the manifests are a copy of the demo's in the state directory: the
 * applications of the demo, all enrolled, and a waypoint for the Service `echo`.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { errorText, WeftError } from '../../base/errors.js';
import { sleep } from '../../base/wait.js';
import { relayDefault, type Relay } from '../../model/relay.js';
import { needMachine } from '../check.js';
import { Stage } from '../demo/stage.js';
import { distRoot } from '../run.js';
import { relayOption } from '../standalone/command.js';
import { testbedVariable } from '../standalone/ledger.js';
import { interruption } from '../standalone/interruption.js';
import { removeAbandoned, tearDown } from '../standalone/teardown.js';
import { Testbed } from '../standalone/testbed.js';
import { startPrograms } from '../standalone/up.js';
import { changedPaths, restartsFor, takeSnapshot, type Snapshot } from './changes.js';
import { drainMs, Programs } from './restart.js';

const projectRoot = dirname(distRoot);
const lookEveryMs = 400;

const print = (line: string): void => console.log(`dev: ${line}`);

/** Resolves once the sources differ from `known` and have stopped changing. */
async function nextChange(known: Snapshot): Promise<Snapshot> {
  let last = known;
  for (;;) {
    await sleep(lookEveryMs);
    const now = takeSnapshot(projectRoot);
    const isSettled = changedPaths(last, now).length === 0;
    if (isSettled && changedPaths(known, now).length > 0) return now;
    last = now;
  }
}

/** False if the build failed. The build prints its errors. */
function build(script: 'build' | 'build:ts', state: string): Promise<boolean> {
  return new Promise((done) => {
    const child = spawn('npm', ['run', '--silent', script], {
      cwd: projectRoot,
      stdio: 'inherit',
      // tearDown ends every program with this variable, and so the build.
      env: { ...process.env, [testbedVariable]: state },
    });
    child.on('error', () => done(false));
    child.on('exit', (code) => done(code === 0));
  });
}

/** Never resolves. A failed build leaves the running programs alone. */
async function follow(programs: Programs, begin: Snapshot, state: string): Promise<never> {
  for (let known = begin; ;) {
    const now = await nextChange(known);
    const paths = changedPaths(known, now);
    known = now;
    const more = paths.length > 3 ? ` and ${paths.length - 3} more` : '';
    print(`${paths.slice(0, 3).join(', ')}${more} changed: building`);
    const restarts = restartsFor(paths);
    const beganMs = Date.now();
    if (!(await build(restarts.native ? 'build' : 'build:ts', state))) {
      print('the build FAILED: running programs are not replaced');
      continue;
    }
    print(`built in ${((Date.now() - beganMs) / 1000).toFixed(1)} s`);
    await programs.restart(restarts);
    print('up to date');
  }
}

/** Returns the directory of the manifests. */
function copyDemo(state: string): string {
  const manifests = join(state, 'manifests');
  mkdirSync(state, { recursive: true, mode: 0o700 });
  cpSync(join(distRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  cpSync(join(projectRoot, 'docs', 'examples', 'waypoint', 'gateway.yaml'), join(manifests, 'gateway.yaml'));
  writeFileSync(
    join(manifests, 'namespace.yaml'),
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled } }\n',
  );
  return manifests;
}

async function dev(options: { from?: string; state: string; relay?: Relay }): Promise<void> {
  const { interrupted, release } = interruption('the testbed is removed');
  const state = resolve(options.state);
  await removeAbandoned(state, 'another npm run dev is running');
  const from = options.from === undefined ? copyDemo(state) : resolve(options.from);
  const begin = takeSnapshot(projectRoot);
  let testbed: Testbed | undefined;
  try {
    testbed = Testbed.create({
      from,
      state,
      ...(options.relay === undefined ? {} : { relay: options.relay }),
      agentFlags: ['--drain-ms', String(drainMs)],
    });
    if (options.from === undefined) new Stage(testbed, from, state).startApplications();
    await Promise.race([startPrograms(testbed), interrupted]);
    for (const node of testbed.topology.nodes)
      print(`node ${node.name} in ${node.netns}: pods in ${node.pods.map(({ netns }) => netns).join(', ')}`);
    print('run a program in a pod with: nsenter --net=/run/netns/NETNS -- PROGRAM');
    print(`logs are in ${state}, manifests in ${from}`);
    print('watching the sources; Ctrl-C removes the testbed');
    await Promise.race([follow(new Programs(testbed, print), begin, state), interrupted]);
  } catch (error) {
    // An earlier testbed at this place must not be removed.
    if (error instanceof WeftError && error.code === 'WEFT_BED_EXISTS') throw error;
    testbed?.close();
    await tearDown(state);
    if (!(error instanceof WeftError && error.code === 'WEFT_INTERRUPTED')) throw error;
    print(error.message);
  } finally {
    release();
  }
}

new Command('dev')
  .description('run a testbed that rebuilds and restarts its programs when sources change')
  .option('-f, --from <dir>', 'directory of manifests (default: a copy of the demo manifests)')
  .option('--state <dir>', 'state directory of the testbed', '/run/weft/dev')
  .addOption(relayOption())
  .action(async (options: { from?: string; state: string; relay?: Relay }) => {
    needMachine(options.from === undefined ? 'demo' : 'testbed', options.relay ?? relayDefault());
    await dev(options);
    // A restart in progress may still hold timers, which would keep this process alive.
    process.exit(0);
  })
  .parseAsync()
  .catch((error: unknown) => {
    console.error(`dev: ${errorText(error)}`);
    process.exit(1);
  });
