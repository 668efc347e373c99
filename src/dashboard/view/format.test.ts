import assert from 'node:assert/strict';
import { test } from 'node:test';
import { latencyMsMax } from '../../model/latency-bounds.js';
import {
  agoText,
  bytesText,
  countOf,
  durationText,
  latencyText,
  percentileText,
  rateText,
  shareText,
  unknownText,
  untilText,
} from './format.js';

test('what is not known is never a number', () => {
  assert.equal(shareText(undefined), unknownText);
  assert.equal(latencyText(undefined), unknownText);
});

test('a percentile above the last bucket is at least that long', () => {
  assert.deepEqual([undefined, 12, 59_000, latencyMsMax].map(percentileText), [
    unknownText,
    '12 ms',
    '59 s',
    '≥60 s',
  ]);
});

test('a share is 100 percent only if nothing failed', () => {
  assert.deepEqual([1, 0.999999, 0.9987, 0.985, 0.5, 0].map(shareText), [
    '100 %',
    '99.9 %',
    '99.9 %',
    '98.5 %',
    '50.0 %',
    '0 %',
  ]);
});

test('numbers have units and few digits', () => {
  assert.deepEqual([0, 0.001, 0.123, 12.34, 123.4, 12_345].map(rateText), [
    '0/s',
    '<0.01/s',
    '0.12/s',
    '12/s',
    '123/s',
    '12.3K/s',
  ]);
  assert.deepEqual([0.42, 12.4, 999, 1_234].map(latencyText), ['0.42 ms', '12 ms', '999 ms', '1.2 s']);
  assert.deepEqual([0, 1_023, 1_536, 5 * 2 ** 30].map(bytesText), ['0 B', '1023 B', '1.5 KiB', '5 GiB']);
  assert.deepEqual([countOf(1, 'edge'), countOf(1_200, 'edge')], ['1 edge', '1,200 edges']);
});

test('times are durations from now', () => {
  assert.deepEqual([5_000, 180_000, 7_200_000, 4 * 86_400_000].map(durationText), [
    '5 s',
    '3 min',
    '2 h',
    '4 d',
  ]);
  assert.equal(agoText(1_000, 1_500), 'now');
  assert.equal(untilText(61_000, 1_000), 'in 60 s');
  assert.equal(untilText(1_000, 61_000), 'expired 60 s ago');
});
