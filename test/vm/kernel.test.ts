import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../../native/index.js';

/** The machine is emulated, and the host may be busy: a minute here is seconds elsewhere. */
const patienceS = 1500;
const vm = (seconds: number, command: string): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(join(projectRoot, 'test', 'vm', 'run'), ['-t', String(seconds), '--', 'bash', '-c', command], {
    cwd: projectRoot,
    encoding: 'utf8',
    timeout: (seconds + 60) * 1000,
    maxBuffer: 16 << 20,
  });

test("the verifier of Debian's kernel accepts every program", () => {
  const load =
    'uname -r; mkdir /sys/fs/bpf/t; for o in bpf/build/*.bpf.o; do bpftool prog loadall $o /sys/fs/bpf/t/$(basename $o .bpf.o) || exit 1; done; find /sys/fs/bpf/t -type f | wc -l';
  const { status, stdout, stderr } = vm(120, load);
  assert.equal(status, 0, stderr);
  const [release = '', programs] = stdout.trim().split('\n');
  assert.match(release, /^6\.1\./);
  assert.ok(Number(programs) >= 9, stdout);
});

test("all steps of the demo pass on Debian's kernel", () => {
  const { status, stdout, stderr } = vm(
    patienceS,
    // Chromium takes minutes on an emulated processor. The group `observe` loads the page.
    `uname -r; CHROMIUM=none ${process.execPath} dist/src/cli/weft.js demo --json`,
  );
  const [release = '', json = ''] = stdout.trim().split('\n');
  assert.match(release, /^6\.1\./, stderr);
  assert.notEqual(status, 124, `not done after ${patienceS} s: ${stderr.slice(-2000)}`);
  const { ok, steps } = JSON.parse(json) as { ok: boolean; steps: { name: string; ok: boolean }[] };
  assert.deepEqual(
    steps.filter((step) => !step.ok),
    [],
  );
  assert.equal(ok, true);
  assert.ok(steps.length >= 12);
  assert.equal(status, 0, stderr);
});

test("splicing, handover and every way to close a connection lose no byte on Debian's kernel", () => {
  const command = `uname -r; SOAK_SECONDS=45 SOAK_CONNECTIONS=20 ${process.execPath} --test --test-reporter=tap --test-name-pattern='by the kernel' dist/test/soak/soak.test.js`;
  const { status, stdout, stderr } = vm(patienceS, command);
  assert.match(stdout, /^6\.1\./, stderr);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^# pass 2$/m, stdout);
});

test("an agent takes over from a build with another map layout on Debian's kernel", () => {
  const command = `uname -r; ${process.execPath} --test --test-reporter=tap dist/test/netns/upgrade.test.js`;
  const { status, stdout, stderr } = vm(patienceS, command);
  assert.match(stdout, /^6\.1\./, stderr);
  assert.equal(status, 0, stdout);
});
