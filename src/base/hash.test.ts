import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hash32, mix32 } from './hash.js';

test('hash32 is MurmurHash3 of 32 bits', () => {
  // Values of the reference implementation (MurmurHash3_x86_32).
  assert.equal(hash32(''), 0);
  assert.equal(hash32('', 1), 0x514e28b7);
  assert.equal(hash32('', 0xffffffff), 0x81f16f39);
  assert.equal(hash32('\0\0\0\0'), 0x2362f9de);
  assert.equal(hash32('a', 0x9747b28c), 0x7fa09ea6);
  assert.equal(hash32('aa', 0x9747b28c), 0x5d211726);
  assert.equal(hash32('aaa', 0x9747b28c), 0x283e0130);
  assert.equal(hash32('aaaa', 0x9747b28c), 0x5a97808a);
  assert.equal(hash32('Hello, world!', 0x9747b28c), 0x24884cba);
});

test('hashes of similar texts are spread evenly', () => {
  const counts = new Array<number>(64).fill(0);
  for (let i = 0; i < 64_000; i++) counts[hash32(`user-${i}`) >>> 26]!++;
  for (const count of counts) assert.ok(Math.abs(count - 1000) < 160, `${count}`);
  assert.notEqual(mix32(1), mix32(2));
});
