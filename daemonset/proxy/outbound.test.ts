import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pod } from '../../test/support/mesh.js';
import { tunnelSource } from './outbound.js';

test('a pod that comes again under its name, in another network namespace, shares no tunnel connection with the former one', () => {
  const at = (cookie: bigint) => tunnelSource({ pod: pod('db-0', '10.0.0.1'), netns: { cookie, path: '' } });
  assert.equal(at(1n), at(1n));
  assert.notEqual(at(1n), at(2n));
  // A key of the pool is made of words.
  assert.doesNotMatch(at(1n), / /);
});
