import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ReadyFile, ReadyMark } from './readiness.js';

test('an uninstall removes the files of the agent and no others', () => {
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

test('the readiness probe accepts a ready agent, and no agent that is not ready, hangs or ran before', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-own-'));
  const file = join(dir, 'ready');
  const probe = fileURLToPath(new URL('../../native/ready/build/weft-ready', import.meta.url));
  const status = (): number | null => spawnSync(probe, [file, '5']).status;
  try {
    writeFileSync(file, '');
    const mark = new ReadyMark(dir, (error) => assert.fail(String(error)));
    assert.equal(status(), 1, 'a file of a previous process of the container does not count');
    mark.write(true);
    assert.equal(status(), 0);
    const longAgo = Date.now() / 1000 - 60;
    utimesSync(file, longAgo, longAgo);
    assert.equal(status(), 1, 'the file is no longer written');
    mark.write(true);
    assert.equal(status(), 0);
    mark.write(false);
    assert.equal(status(), 1);
    assert.equal(spawnSync(probe, []).status, 1);
    const toCome = Date.now() / 1000 + 3600;
    mark.write(true);
    utimesSync(file, toCome, toCome);
    assert.equal(status(), 1, 'a clock was set back after the file was written');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
