import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NativeError } from '../../native/index.js';
import { observe } from './netns.js';

function directory(t: { after(call: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-observe-'));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

test('a file that is not a network namespace is absent, at once and without being opened; a network namespace is present', (t) => {
  const dir = directory(t);
  const fifo = join(dir, 'fifo');
  execFileSync('mkfifo', [fifo]);
  writeFileSync(join(dir, 'file'), '');
  const own = observe('/proc/self/ns/net');
  assert.ok(own.kind === 'present' && own.cookie > 0n);
  for (const path of [
    fifo,
    join(dir, 'file'),
    dir,
    '/dev/tty',
    '/dev/null',
    '/proc/self/ns/mnt',
    join(dir, 'none'),
  ]) {
    const began = process.hrtime.bigint();
    assert.equal(observe(path).kind, 'absent', path);
    assert.ok(process.hrtime.bigint() - began < 1_000_000_000n, `${path} blocked`);
  }
});

test('any other error of the kernel means unknown', () => {
  for (const errno of [4, 5, 12, 13, 20, 23, 24, 36, 40]) {
    const seen = observe('/run/netns/a', () => {
      throw new NativeError('NATIVE_SYSTEM', `errno ${errno}`, errno, '');
    });
    assert.equal(seen.kind, 'unknown', String(errno));
  }
  const seen = observe('/run/netns/a', () => {
    throw new Error('anything else');
  });
  assert.equal(seen.kind, 'unknown');
});
