import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairLimit } from './fair-limit.js';

/** Takes as often as it may; how often that was. */
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

test('whatever one group takes, another is left a share, and a third', () => {
  const limit = new FairLimit(1000);
  for (let i = 0; i < 50; i++) fill(limit, `evil-${i}`, 'evil');
  assert.ok(fill(limit, 'bank', 'bank') > 150);
  assert.ok(fill(limit, 'shop', 'shop') > 50);
  assert.ok(limit.size < limit.max);
});

test('what is released is free again, and nothing is kept of who has left', () => {
  const limit = new FairLimit(10);
  assert.equal(fill(limit, 'a', 'x'), 5);
  assert.equal(limit.take('a', 'x'), 'share');
  for (let i = 0; i < 5; i++) limit.release('a', 'x');
  assert.equal(limit.size, 0);
  assert.equal(fill(limit, 'a', 'x'), 5);
  assert.equal(fill(new FairLimit(0), 'a'), 0);
  assert.equal(new FairLimit(0).take('a'), 'all');
});
