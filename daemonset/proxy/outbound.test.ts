import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pod } from '../../test/support/mesh.js';
import { tunnelSource } from './outbound.js';

test('a pod that reuses a name in another network namespace shares no tunnel connection with the former pod', () => {
  const at = (cookie: bigint) => tunnelSource({ pod: pod('db-0', '10.0.0.1'), netns: { cookie, path: '' } });
  assert.equal(at(1n), at(1n));
  assert.notEqual(at(1n), at(2n));
  // The pool separates the parts of its keys by spaces.
  assert.doesNotMatch(at(1n), / /);
});
