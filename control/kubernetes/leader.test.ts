import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mayTake } from './leader.js';

test('the lease may be taken if it has no holder, or if the holder has not renewed it for the lease duration', () => {
  const held = { renewTime: 'x', holder: 'other', sinceMs: 1_000 };
  assert.equal(mayTake(held, 'self', 15_000, 15_999), false);
  assert.equal(mayTake(held, 'self', 15_000, 16_000), true);
  assert.equal(mayTake({ ...held, holder: 'self' }, 'self', 15_000, 1_000), true);
  assert.equal(mayTake({ ...held, holder: '' }, 'self', 15_000, 1_000), true, 'a released lease');
});
