import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextRequestsTurn } from './node.js';

const turn = (turns: bigint, made: bigint): bigint => (turns << 32n) | made;

test('entries of weft_requests that pods made while others were taken out count in the next turn', () => {
  assert.equal(nextRequestsTurn(turn(7n, 100n), turn(7n, 100n)), turn(8n, 0n));
  assert.equal(nextRequestsTurn(turn(7n, 100n), turn(7n, 15_360n)), turn(8n, 15_260n));
  assert.equal(nextRequestsTurn(0n, 0n), turn(1n, 0n));
  // Another agent began a turn meanwhile.
  assert.equal(nextRequestsTurn(turn(7n, 100n), turn(8n, 5n)), turn(9n, 0n));
  assert.equal(nextRequestsTurn(turn(0xffff_ffffn, 1n), turn(0xffff_ffffn, 3n)), turn(0n, 2n));
});
