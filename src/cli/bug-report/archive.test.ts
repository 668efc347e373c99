import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readArchive } from '../../../test/support/archive.js';
import { writeArchive } from './archive.js';

test('an archive is for its owner only, and never replaces a file', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-archive-'));
  try {
    const path = join(dir, 'a.tar.gz');
    const files = [
      { path: 'a.txt', text: 'ä'.repeat(100_000) },
      { path: 'b/c.json', text: '{}' },
    ];
    await writeArchive(path, 'report', files, new Date());
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(
      [...(await readArchive(path))],
      files.map(({ path: name, text }) => [name, text]),
    );
    const other = join(dir, 'other');
    writeFileSync(other, 'mine');
    await assert.rejects(writeArchive(other, 'report', files, new Date()), { code: 'WEFT_BUG_REPORT' });
    assert.equal(readFileSync(other, 'utf8'), 'mine');
    await assert.rejects(writeArchive(join(dir, 'none', 'x'), 'report', files, new Date()), {
      code: 'WEFT_BUG_REPORT',
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
