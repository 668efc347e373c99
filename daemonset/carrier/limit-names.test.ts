import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boundedLimits } from './limit-names.js';

test('a carrier that invents names of limits makes no more than 65 labels', () => {
  const counts = new Map<string, number>();
  const reach = boundedLimits((limit, times) => counts.set(limit, (counts.get(limit) ?? 0) + times));
  reach('descriptors', 2);
  for (let i = 0; i < 1000; i++) reach(`invented-${i}`, 1);
  reach('descriptors', 3);
  assert.equal(counts.size, 65);
  assert.equal(counts.get('descriptors'), 5);
  assert.equal(counts.get('carrier-other'), 1000 - 63);
});
