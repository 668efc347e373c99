import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesText, latencyText, rateText, shareText } from './cells.js';

test('what is not known is -, and nothing is rounded to what it is not', () => {
  assert.deepEqual([undefined, 0, 0.001, 0.25, 12.34, 1_240.6].map(rateText), [
    '-',
    '0',
    '<0.01',
    '0.25',
    '12.3',
    '1241',
  ]);
  assert.deepEqual([undefined, 0, 1, 0.99999, 0.00001, 0.5].map(shareText), [
    '-',
    '0%',
    '100%',
    '99.9%',
    '0.1%',
    '50.0%',
  ]);
  assert.deepEqual([0, 1_023, 1_536, 1 << 30].map(bytesText), ['0B', '1023B', '1.5KiB', '1.0GiB']);
  const text = (ms: number): string => latencyText({ p50: ms, p95: ms, p99: ms }, 'p99');
  assert.deepEqual([0.25, 42.4, 1_250, 60_000].map(text), ['0.3ms', '42ms', '1.25s', '>=60s']);
  assert.equal(latencyText(undefined, 'p50'), '-');
});
