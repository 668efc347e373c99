import assert from 'node:assert/strict';
import { test } from 'node:test';
import { durationMsOf } from './duration.js';

test('durations have the Gateway API’s format', () => {
  const all = ['0s', '90s', '1h30m', '250ms', '1h1m1s1ms', '99999h'];
  assert.deepEqual(all.map(durationMsOf), [0, 90_000, 5_400_000, 250, 3_661_001, 359_996_400_000]);
  for (const bad of ['', '5', '5 s', '5 minutes', '-1s', '1.5h', '100000h', 's', '1d'])
    assert.equal(durationMsOf(bad), undefined, bad);
});
