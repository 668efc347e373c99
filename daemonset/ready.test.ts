import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ReadyFile } from './ready.js';

test('once the mesh goes nothing is left of it, and what is not its own stays', () => {
  const run = mkdtempSync(join(tmpdir(), 'weft-ready-'));
  try {
    const ready = new ReadyFile(run, (error) => assert.fail(String(error)));
    ready.write({ ready: true });
    assert.deepEqual(JSON.parse(readFileSync(join(run, 'ready'), 'utf8')), { ready: true });
    writeFileSync(join(run, 'other'), '');
    ready.remove();
    assert.ok(!existsSync(join(run, 'ready')));
    assert.ok(existsSync(join(run, 'other')));
    rmSync(join(run, 'other'));
    ready.remove();
    assert.ok(!existsSync(run));
  } finally {
    rmSync(run, { recursive: true, force: true });
  }
});

test('the probe takes an old file for none, and so one of a time to come: clocks are set back', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-ready-'));
  const file = join(dir, 'ready');
  const probe = fileURLToPath(new URL('../../native/ready/build/weft-ready', import.meta.url));
  const statusAt = (agoS: number): number | null => {
    const at = Date.now() / 1000 - agoS;
    utimesSync(file, at, at);
    return spawnSync(probe, [file, '5']).status;
  };
  try {
    assert.equal(spawnSync(probe, [file, '5']).status, 1);
    writeFileSync(file, '');
    assert.deepEqual([0, 2, 30, -3600].map(statusAt), [0, 0, 1, 1]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
