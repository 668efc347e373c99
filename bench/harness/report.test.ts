import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { figure, readRatios, table } from './report.js';

test('a table has aligned columns', () => {
  assert.equal(
    table(
      ['what', 'x'],
      [
        ['same-node', '1.25'],
        ['c', '100'],
      ],
    ),
    ['what          x', '---------  ----', 'same-node  1.25', 'c           100'].join('\n'),
  );
});

test('figures keep what matters', () => {
  assert.deepEqual([0, 0.1234, 1.234, 12.34, 1234.5, undefined].map(figure), [
    '0',
    '0.123',
    '1.23',
    '12.3',
    '1235',
    '',
  ]);
});

test('ratios of an earlier run are read, anything else is refused with what to do', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
  try {
    const path = join(dir, 'run.json');
    writeFileSync(path, JSON.stringify({ ratios: { 'same-node.p50': 2.5, odd: 'x' }, rounds: [] }));
    assert.deepEqual(readRatios(path), { 'same-node.p50': 2.5 });
    for (const text of ['', '[]', '{"ratios":null}', '{']) {
      writeFileSync(path, text);
      assert.throws(() => readRatios(path), { code: 'WEFT_BENCH_FILE' });
    }
    assert.throws(() => readRatios(join(dir, 'none')), { code: 'WEFT_BENCH_FILE' });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
