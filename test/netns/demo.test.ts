import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { cgroupRoot } from '../../daemonset/datapath/loader.js';

const weft = join(projectRoot, 'dist', 'src', 'cli', 'weft.js');
const names = [
  'plain-before-enrolment',
  'enrol-keeps-live-connection',
  'cross-node-mtls',
  'same-node',
  'same-node-spliced',
  'kernel-service-balancing',
  'same-node-survives-agent-kill',
  'addresses-preserved',
  'deny-by-identity',
  'policy-change-cuts-only-forbidden',
  'explain-allowed',
  'explain-denied',
  'explain-what-if',
  'golden-signals-without-waypoint',
  'dashboard',
  'audit-then-enforce',
  'certificate-rotation',
  'agent-restart',
  'control-plane-away',
  'cross-node-survives-agent-kill',
  'cross-node-survives-agent-upgrade',
  'ipv6',
  'waypoint-split',
  'waypoint-header-route',
  'waypoint-retry-and-timeout',
  'waypoint-grpc',
  'waypoint-authorization',
  'tap',
  'waypoint-no-bypass',
  'waypoint-fail-closed',
  'waypoint-circuit-breaker',
  'waypoint-outlier-ejection',
  'waypoint-retry-budget',
  'waypoint-load-balancing',
  'waypoint-external-authorization',
  'waypoint-rate-limit',
  'waypoint-global-rate-limit',
  'waypoint-fault-injection',
  'waypoint-jwt',
  'istio-yaml',
  'waypoint-rolling-update',
  'unenrol',
];

function traces(): string[] {
  const netns = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
    .split('\n')
    .filter((l) => l.startsWith('weft-') && !l.startsWith('weft-t-'));
  const pins = existsSync('/sys/fs/bpf/weft') ? readdirSync('/sys/fs/bpf/weft') : [];
  // Not all programs of the machine are counted: testbeds beside this one have theirs. A program that is attached to nothing, pinned
  // nowhere and held by no process no longer exists.
  const hooks = execFileSync('bpftool', ['cgroup', 'show', cgroupRoot()], { encoding: 'utf8' });
  const mounts = readlinkSync('/proc/self/ns/mnt');
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      return (
        /\/(daemonset\/main\.js|weft-carrier)\0/.test(command) &&
        readlinkSync(`/proc/${pid}/ns/mnt`) === mounts
      );
    } catch {
      return false;
    }
  });
  return [...netns, ...pins, ...(hooks.match(/weft_\w+/g) ?? []), ...processes];
}

/** Evidence on one line, without what is too long for it. */
const oneLine = (evidence: object): string =>
  JSON.stringify(evidence).replaceAll('\\n', ' ').replace(/ +/g, ' ').slice(0, 300);

test('the demo proves every step and leaves nothing behind', () => {
  const run = spawnSync(process.execPath, [weft, 'demo', '--json'], {
    encoding: 'utf8',
    timeout: 900_000,
    maxBuffer: 64 << 20,
  });
  assert.match(
    run.stdout,
    /^\{/,
    `the demo printed no result: ${run.signal ?? run.status} ${run.stderr.slice(-500)}`,
  );
  const result = JSON.parse(run.stdout) as {
    ok: boolean;
    steps: { name: string; ok: boolean; evidence: object }[];
  };
  // One line for each, so that the end of a test run's output says what failed.
  const failed = result.steps
    .filter(({ ok }) => !ok)
    .map(({ name, evidence }) => `${name}: ${oneLine(evidence)}`);
  assert.equal(failed.length, 0, `${failed.length} steps failed: ${failed.join(' | ')}`);
  assert.deepEqual(
    result.steps.map(({ name }) => name),
    names,
  );
  for (const step of result.steps) assert.ok(Object.keys(step.evidence).length > 0, step.name);
  assert.equal(result.ok, true, 'all steps passed, but the demo says that it failed');
  assert.equal(run.status, 0, run.stderr.slice(-500));
  assert.deepEqual(traces(), []);
});

test('without root the demo refuses to start, in one line, with exit code 2, and weft check finds it, with exit code 1', () => {
  for (const [command, exitCode] of [
    ['demo', 2],
    ['check', 1],
  ] as const) {
    const run = spawnSync(
      'setpriv',
      ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, weft, command],
      { encoding: 'utf8' },
    );
    assert.equal(run.status, exitCode, command);
    assert.match(run.stderr, /^weft: not root: .*\n$/);
  }
});
