import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IntrusiveSet } from './intrusive-set.js';

test('members are added and removed in any order, and removing a non-member does nothing', () => {
  const slots = new IntrusiveSet<{ slot: number }>();
  const known = new Set<{ slot: number }>();
  const all = Array.from({ length: 50 }, () => ({ slot: -1 }));
  for (let i = 0; i < 2_000; i++) {
    const one = all[(i * 7919 + (i >> 3)) % all.length] as { slot: number };
    if (known.has(one)) {
      slots.delete(one);
      known.delete(one);
    } else {
      slots.add(one);
      known.add(one);
    }
    assert.equal(slots.size, known.size);
  }
  assert.deepEqual(new Set(slots), known);
  slots.delete({ slot: -1 });
  for (const one of slots) slots.delete(one);
  assert.equal(slots.size, 0);
});
