import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editDistance, nearest } from './nearest.js';

test('the distance of two words is the number of edits, up to the maximum', () => {
  for (const [a, b, expected] of [
    ['mode', 'mode', 0],
    ['mdoe', 'mode', 1],
    ['mod', 'mode', 1],
    ['modee', 'mode', 1],
    ['node', 'mode', 1],
    ['', 'ab', 2],
    ['abcdef', 'x', 3],
    ['kitten', 'sitting', 3],
  ] as const)
    assert.equal(editDistance(a, b, 2), expected, `${a} ${b}`);
});

test('the nearest word is found ignoring case; none is found if all are too far', () => {
  const words = ['weft.dev/mesh', 'weft.dev/mode', 'weft.dev/waypoint'];
  assert.equal(nearest('weft.dev/mseh', words), 'weft.dev/mesh');
  assert.equal(nearest('weft.dev/Mode', words), 'weft.dev/mode');
  assert.equal(nearest('weft.dev/something', words), undefined);
  assert.equal(nearest('weft.dev/mode', words), undefined, 'it is the word itself');
});
