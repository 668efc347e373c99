/** native/prepare.sh on a machine that lacks every package: a package manager that only takes notes, in a mount namespace of its own. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { projectRoot } from '../../native/index.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-prepare-'));
after(() => rmSync(dir, { recursive: true, force: true }));

test('packages are installed while no service may start, and services may start again afterwards', () => {
  const program = (name: string, text: string): void =>
    writeFileSync(join(dir, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  const notes = join(dir, 'notes');
  program('dpkg-query', 'exit 1');
  program('apt-get', `/usr/sbin/policy-rc.d; echo "$1, a start of a service ends with $?" >>${notes}`);
  const { status, stderr } = spawnSync(
    'unshare',
    [
      '--mount',
      'bash',
      '-c',
      'mount -t tmpfs none /usr/sbin && bash native/prepare.sh && if [ -e /usr/sbin/policy-rc.d ]; then exit 3; fi',
    ],
    { cwd: projectRoot, encoding: 'utf8', env: { ...process.env, PATH: `${dir}:${process.env['PATH']}` } },
  );
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^installing: build-essential /);
  assert.equal(
    readFileSync(notes, 'utf8'),
    'update, a start of a service ends with 101\ninstall, a start of a service ends with 101\n',
  );
});
