/** Every command that is called in a wrong way ends with one exit code, does nothing, and says what to do. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Command } from 'commander';
import { entries } from './commands.js';
import { distRoot } from './run.js';

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
const weft = (...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(distRoot, 'src', 'cli', 'weft.js'), ...args],
      { encoding: 'utf8', timeout: 60_000, env: { ...process.env, KUBECONFIG: '' } },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr }),
    );
  });

function* namesOf(command: Command): Generator<readonly string[]> {
  yield [command.name()];
  for (const one of command.commands) for (const names of namesOf(one)) yield [command.name(), ...names];
}

/** Of the programs that `weft` starts: their commands are theirs. */
const ofPrograms = [
  ...['serve', 'release-nodes', 'check-nodes', 'apply-crds', 'check-manifests', 'policy-mesh'].map((one) => [
    'control',
    one,
  ]),
  ['migrate', 'check'],
  ['migrate', 'convert'],
];

test('an unknown option ends every command with exit code 2 and says where the options are', async () => {
  const own = (await Promise.all(entries.map(({ load }) => load()))).flat();
  const all = [...own.flatMap((one) => [...namesOf(one)]), ...ofPrograms];
  assert.ok(all.length > 35);
  for (const names of all) {
    const { code, stdout, stderr } = await weft(...names, '--no-such-option');
    assert.deepEqual([code, stdout], [2, ''], `${names.join(' ')}: ${stdout}${stderr}`);
    if (names[0] === 'carrier') assert.match(stderr, /an option is not known\n\nUsage: weft-carrier/);
    // What is required is asked for first.
    else
      assert.match(
        stderr,
        /^error: (unknown|required) option .*\nweft .*--help says which /,
        names.join(' '),
      );
  }
});

test('an unknown command, a missing argument and a value that cannot be used end with exit code 2; help is no error', async () => {
  for (const [args, message] of [
    [[], /^Usage: weft/],
    [['nothing'], /unknown command 'nothing'\nweft --help says which commands there are/],
    [['waypoint', 'nothing'], /unknown command 'nothing'\nweft waypoint --help says which commands/],
    [['edges', '--jsn'], /unknown option '--jsn'\n\(Did you mean --json\?\)\nweft edges --help says which/],
    [['explain'], /missing required argument 'source'\nweft explain --help says which options/],
    [['edges', '--since', 'yesterday'], /'yesterday' is invalid/],
    [['tap', '--status', '9xx'], /WEFT_TAP_INPUT/],
    [['dashboard', '--listen', 'nowhere'], /WEFT_DASHBOARD/],
    [['stat', 'nothing'], /Allowed choices are workloads, services/],
    [['migrate', 'check'], /give either -f/],
    [['token', '--state', '/nonexistent'], /WEFT_TOKEN_SUBJECT: give one of --node/],
  ] as const) {
    const { code, stderr } = await weft(...args);
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
  }
  for (const args of [['--help'], ['edges', '--help'], ['help', 'tap'], ['policy', 'diff', '-h'], ['-V']]) {
    const { code, stdout, stderr } = await weft(...args);
    assert.deepEqual([code, stderr], [0, ''], args.join(' '));
    assert.notEqual(stdout, '');
  }
});
