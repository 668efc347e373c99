import assert from 'node:assert/strict';
import { test } from 'node:test';
import { percentile, quantity } from './metric-values.js';

const bounds = [10, 20, 40];

test('a percentile is interpolated within the bucket that has it', () => {
  assert.equal(percentile([0, 100, 0, 0], bounds, 0.5), 15);
  assert.equal(percentile([50, 50, 0, 0], bounds, 0.5), 10);
  assert.equal(percentile([50, 40, 10, 0], bounds, 0.9), 20);
  assert.equal(percentile([90, 0, 10, 0], bounds, 0.99), 38);
  assert.equal(percentile([4, 0, 0, 0], bounds, 0.5), 5, 'the first bucket begins at 0');
});

test('latencies above the highest bound are that bound; without requests a percentile is 0', () => {
  assert.equal(percentile([0, 0, 0, 5], bounds, 0.5), 40);
  assert.equal(percentile([], bounds, 0.5), 0);
  assert.equal(percentile([0, 0, 0, 0], bounds, 0.99), 0);
});

test('a percentile is never above that of a greater share', () => {
  for (let round = 0; round < 1_000; round++) {
    const counts = bounds.concat(0).map(() => Math.floor(Math.random() * 5));
    const found = [0.5, 0.9, 0.99].map((share) => percentile(counts, bounds, share));
    assert.deepEqual(
      found,
      found.toSorted((a, b) => a - b),
      counts.join(' '),
    );
  }
});

test('quantities have the form of the Kubernetes API', () => {
  const forms: [number, string][] = [
    [0, '0'],
    [10, '10'],
    [296.875, '296875m'],
    [0.5, '500m'],
    [1.23456, '1235m'],
    [1_000, '1k'],
    [1_500, '1500'],
    [60_000, '60k'],
    [2_000_000, '2M'],
    [-1, '0'],
  ];
  for (const [value, text] of forms) assert.equal(quantity(value), text);
});
