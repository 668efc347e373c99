import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteQueue } from './byte-queue.js';

test('what a queue holds in memory is in proportion to its bytes', () => {
  const queue = new ByteQueue();
  for (let i = 0; i < 64; i++) queue.push(Buffer.alloc(64 << 10, i).subarray(100, 100 + 1024 + i * 512));
  const { bytes } = queue;
  const held = new Set<ArrayBufferLike>();
  let i = 0;
  for (; queue.bytes > 0; i++) {
    const chunk = queue.shift(64 << 10);
    assert.deepEqual([chunk.length, chunk[0], chunk.at(-1)], [1024 + i * 512, i, i]);
    held.add(chunk.buffer);
  }
  assert.equal(i, 64);
  const memory = [...held].reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert.ok(memory <= 4 * bytes, `${memory} bytes for ${bytes}`);
});

test('large chunks are not copied', () => {
  const queue = new ByteQueue();
  const chunk = Buffer.allocUnsafeSlow(64 << 10).subarray(9, 9 + (16 << 10));
  queue.push(chunk);
  assert.equal(queue.shift(1 << 20).buffer, chunk.buffer);
});
