import assert from 'node:assert/strict';
import { test } from 'node:test';
import { observationGaps } from '../policy/observed.js';
import { durationText, keptText } from './kept.js';

test('durations are texts for people', () => {
  assert.deepEqual([90_000, 900_000, 3_600_000, 5_400_000 + 3_600_000].map(durationText), [
    '90s',
    '15m',
    '60m',
    '2h30m',
  ]);
});

test('commands that ask for more than the control plane keeps say so, those of weft policy too; a file has what it has', () => {
  const nowMs = 10_000_000;
  const observed = { edges: [], sinceMs: nowMs - 900_000, missing: [] };
  assert.match(keptText(3_600_000), /collect edges in a file \(docs\/adopt\.md\)$/);
  assert.deepEqual(observationGaps(observed, { since: 3_600_000 }, nowMs), [
    keptText(3_600_000),
    'watched only 15m of 60m: what is rarer than that is missing',
  ]);
  assert.deepEqual(observationGaps(observed, {}, nowMs), []);
  assert.deepEqual(observationGaps(observed, { since: 3_600_000, edges: 'edges.jsonl' }, nowMs), [
    'watched only 15m of 60m: what is rarer than that is missing',
  ]);
});
