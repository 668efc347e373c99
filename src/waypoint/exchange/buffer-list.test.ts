import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BufferList } from './buffer-list.js';
import { ReplayBuffer } from './replay-buffer.js';

test('bytes are returned unchanged, whatever the sizes of their pieces', () => {
  const pieces = new BufferList();
  const expected: Buffer[] = [];
  const got: Buffer[] = [];
  for (let i = 0; i < 5_000; i++) {
    const bytes = Buffer.alloc([1, 7, 300, 4_095, 4_096, 20_000][(i * 7919) % 6] ?? 1, i % 251);
    pieces.add(bytes);
    expected.push(bytes);
    if (i % 37 !== 0) continue;
    // Read while further bytes are added.
    const taken = pieces.buffers.slice(0, i % 3 === 0 ? pieces.buffers.length : 1);
    got.push(...taken);
    pieces.drop(taken.length);
  }
  got.push(...pieces.buffers);
  assert.ok(Buffer.concat(got).equals(Buffer.concat(expected)));
});

test('a body in many small pieces takes as much memory as one in a few large pieces', () => {
  const replay = new ReplayBuffer(64 << 10);
  const read = Buffer.alloc(64 << 10, 'x');
  for (let i = 0; i < read.length; i++) replay.add(read.subarray(i, i + 1), true);
  assert.ok(replay.isWhole);
  assert.ok(Buffer.concat(replay.buffers).equals(read));
  assert.ok(replay.buffers.length <= 8, `${replay.buffers.length} pieces`);
});
