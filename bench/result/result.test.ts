import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readResult, type BenchResult } from './result.js';
import { schemaName } from './schema.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const file = join(dir, 'result.json');
const read = (value: unknown): BenchResult => {
  writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value));
  return readResult(file);
};
const good: BenchResult = {
  schema: schemaName,
  where: 'standalone',
  startedAt: '2026-01-01T00:00:00Z',
  endedAt: '2026-01-01T00:00:01Z',
  interrupted: false,
  settings: {},
  machine: {},
  versions: {},
  variants: [],
  workloads: [],
  samples: [
    { round: 0, placement: 'own', variant: 'none', workload: 'http1', point: '', values: { p50: 1 } },
  ],
  figures: [],
  missing: [],
  failures: [],
  evidence: [],
  generators: [],
  goals: [],
};

test('reads what was written', () => {
  assert.deepEqual(read(good), good);
});

test('refuses a file of another schema and says what to do', () => {
  assert.throws(() => read({ ...good, schema: 'weft.dev/bench/v0' }), {
    code: 'WEFT_BENCH_FILE',
    message: /is of the schema weft\.dev\/bench\/v0, this version reads weft\.dev\/bench\/v1: measure again/,
  });
  // What --json of the suites before the comparison wrote.
  assert.throws(() => read({ suite: 'l4', ratios: {} }), /of the schema \(none\)/);
});

test('refuses a damaged file and names the place', () => {
  assert.throws(() => read({ ...good, samples: [{ ...good.samples[0], round: -1 }] }), /\/samples\/0\/round/);
  assert.throws(() => read('{"schema":'), /cannot be read/);
  assert.throws(() => read('[]'), { code: 'WEFT_BENCH_FILE' });
  assert.throws(() => readResult(join(dir, 'none.json')), /cannot be read: ENOENT/);
});
