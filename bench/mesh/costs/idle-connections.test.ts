import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectionsWithin } from './idle-connections.js';

test('holds as many connections as are wanted where files allow it, else whole thousands that fit', () => {
  assert.equal(connectionsWithin(10_000, 1_048_576), 10_000);
  assert.equal(connectionsWithin(10_000, 20_000), 9_000);
  assert.equal(connectionsWithin(1_000, 20_000), 1_000);
  assert.equal(connectionsWithin(10_000, 1_024), 0);
});
