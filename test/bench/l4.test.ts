/** `npm run bench -- l4` as a user runs it: to see that it works, never to judge times. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { distRoot } from '../../src/cli/run.js';

test('the l4 bench writes its rounds and a ratio for every path, relay and metric', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
  try {
    const file = join(dir, 'l4.json');
    const state = join(dir, 'testbed');
    const args = ['l4', '--rounds', '1', '--seconds', '0.2', '--variants', 'mesh', 'typescript'];
    args.push('--json', file, '--state', state);
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
    const expected = ['same-node', 'cross-node', 'cross-node.typescript'].flatMap((path) =>
      [
        'p50',
        'p99',
        'p999',
        'p50Large',
        'p99Large',
        'p99Mixed',
        'throughput',
        'throughput16',
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
      [
        ...['same-node', 'cross-node'].flatMap((path) =>
          ['direct', 'direct-again', 'mesh'].map((variant) => `${path} ${variant}`),
        ),
        'cross-node typescript',
      ].sort(),
    );
    for (const { values } of report.rounds) assert.equal(values['failed'], 0);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
