import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writePage } from './write-page.js';

test('a page is readable for its owner alone, also in place of a file that was not', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-page-'));
  try {
    const file = join(dir, 'mesh.html');
    writeFileSync(file, 'old', { mode: 0o644 });
    writePage(file, 'new');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(readFileSync(file, 'utf8'), 'new');
    assert.deepEqual(readdirSync(dir), ['mesh.html']);
    assert.throws(() => writePage(join(dir, 'none', 'mesh.html'), 'x'), {
      code: 'WEFT_DASHBOARD',
      message: /cannot write .*ENOENT.*directory that exists/s,
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
