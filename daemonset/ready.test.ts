import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
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
