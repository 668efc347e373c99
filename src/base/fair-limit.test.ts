import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairLimit } from './fair-limit.js';

/** Takes until refused and returns how often it succeeded. */
function fill(limit: FairLimit, member: string, group?: string): number {
  let taken = 0;
  while (limit.take(member, group) === undefined) taken++;
  return taken;
}

test('one member gets half, one group two thirds, however many members it has', () => {
  assert.equal(fill(new FairLimit(1000), 'a'), 500);
  const limit = new FairLimit(900);
  let taken = 0;
  for (let i = 0; i < 100; i++) taken += fill(limit, `evil-${i}`, 'evil');
  assert.ok(taken >= 598 && taken <= 602, `${taken}`);
});

test('however much one group takes, a second and a third group still get a share', () => {
  const limit = new FairLimit(1000);
  for (let i = 0; i < 50; i++) fill(limit, `evil-${i}`, 'evil');
  assert.ok(fill(limit, 'bank', 'bank') > 150);
  assert.ok(fill(limit, 'shop', 'shop') > 50);
  assert.ok(limit.size < limit.max);
});

test('a release frees its place, and members that released everything leave no state', () => {
  const limit = new FairLimit(10);
  assert.equal(fill(limit, 'a', 'x'), 5);
  assert.equal(limit.take('a', 'x'), 'share');
  for (let i = 0; i < 5; i++) limit.release('a', 'x');
  assert.equal(limit.size, 0);
  assert.equal(fill(limit, 'a', 'x'), 5);
  assert.equal(fill(new FairLimit(0), 'a'), 0);
  assert.equal(new FairLimit(0).take('a'), 'all');
});
