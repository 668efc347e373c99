import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LineShare } from './line-share.js';

test('a pod that writes without end uses its share alone; another pod writes each of its lines', () => {
  const share = new LineShare({ burst: 100, perSecond: 10 });
  let written = 0;
  for (let i = 0; i < 10_000; i++) if (share.take('shop/noisy', 1_000 + i / 10)) written++;
  // One second has passed.
  assert.ok(written >= 100 && written <= 111, String(written));
  for (let i = 0; i < 100; i++) assert.equal(share.take('shop/quiet', 2_000), true);
});

test('a clock that jumps gives no more than one burst, and takes nothing away', () => {
  const share = new LineShare({ burst: 10, perSecond: 10 });
  for (let i = 0; i < 10; i++) assert.equal(share.take('a', 1_000), true);
  assert.equal(share.take('a', 1_000), false);
  assert.equal(share.take('a', 0), false);
  let written = 0;
  for (let i = 0; i < 100; i++) if (share.take('a', 1e12)) written++;
  assert.equal(written, 10);
});

test('what is kept of pods is bounded', () => {
  const share = new LineShare({ burst: 1, perSecond: 1 });
  for (let i = 0; i < 20_000; i++) share.take(`shop/${i}`, i);
  assert.ok(share.size <= 4096, String(share.size));
});
