import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sample } from '../harness/statistics.js';
import { printL4, reportOf } from './report.js';

const settings = { rounds: 2, seconds: 1, atOnce: 8, messageBytes: 128, largeMessageBytes: 65_536 };
const sample = (round: number, variant: string, p50: number): Sample => ({
  round,
  path: 'cross-node',
  variant,
  values: { p50 },
});

test('each variant has its own ratio to direct of the same round, and a column where it was measured', () => {
  const report = reportOf(settings, [
    sample(0, 'direct', 50),
    sample(0, 'mesh', 100),
    sample(0, 'ztunnel', 150),
    sample(0, 'direct-again', 55),
    sample(1, 'direct', 100),
    sample(1, 'mesh', 300),
    sample(1, 'ztunnel', 300),
    sample(1, 'direct-again', 100),
  ]);
  assert.equal(report.ratios['cross-node.p50'], 2.5);
  assert.equal(report.ratios['cross-node.ztunnel.p50'], 3);
  assert.deepEqual(report.noise['cross-node.p50'], { median: 1.05, min: 1, max: 1.1 });
  const text = printL4(report);
  const head = text.split('\n').find((line) => line.includes('ztunnel')) ?? '';
  assert.match(head, /direct +mesh +\/ direct +ztunnel +\/ direct/);
  assert.ok(!head.includes('sidecar'));
  assert.ok(!text.includes('same-node'), 'a path that was not measured has no table');
});
