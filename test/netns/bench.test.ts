import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { distRoot } from '../../src/cli/run.js';

test('the l4 bench writes its rounds and a ratio for every path and metric', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
  try {
    const file = join(dir, 'l4.json');
    const state = join(dir, 'testbed');
    const args = ['l4', '--rounds', '1', '--seconds', '0.2', '--json', file, '--state', state];
    const run = spawnSync(process.execPath, [join(distRoot, 'bench', 'main.js'), ...args], {
      encoding: 'utf8',
      timeout: 120_000,
    });
    assert.equal(run.status, 0, run.stderr);
    assert.match(run.stdout, /cross-node throughput/);
    const report = JSON.parse(readFileSync(file, 'utf8')) as {
      ratios: Record<string, number>;
      rounds: { round: number; path: string; variant: string; values: Record<string, number> }[];
    };
    const expected = ['same-node', 'cross-node'].flatMap((path) =>
      [
        'p50',
        'p99',
        'p999',
        'throughput',
        'connections',
        'p50Blocking',
        'requestsMixed',
        'throughputMixed',
      ].map((metric) => `${path}.${metric}`),
    );
    assert.deepEqual(Object.keys(report.ratios).sort(), expected.sort());
    for (const [key, ratio] of Object.entries(report.ratios)) assert.ok(ratio > 0, key);
    assert.deepEqual(
      report.rounds.map(({ path, variant }) => `${path} ${variant}`).sort(),
      ['same-node', 'cross-node']
        .flatMap((path) => ['direct', 'direct-again', 'mesh'].map((variant) => `${path} ${variant}`))
        .sort(),
    );
    for (const { values } of report.rounds) assert.equal(values['failed'], 0);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
