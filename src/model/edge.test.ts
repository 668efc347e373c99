import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyNames, policyText } from './edge.js';

test('the policies of an edge are one text and are names again', () => {
  for (const names of [[], ['shop/a'], ['shop/a', 'bank/b']])
    assert.deepEqual(policyNames(policyText(names)), names);
});
