import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grpcTimeoutMs, grpcTimeoutText } from './grpc-timeout.js';

test('values of grpc-timeout', () => {
  assert.deepEqual(
    ['2H', '3M', '4S', '5m', '6000u', '7000000n', '99999999H', '0n'].map(grpcTimeoutMs),
    [7_200_000, 180_000, 4_000, 5, 6, 7, 359_999_996_400_000, 0],
  );
  for (const invalid of ['', '5', 'm', '-1m', '1.5S', '123456789m', '5 m', '5s', '5h', ' 5m', '5mm'])
    assert.equal(grpcTimeoutMs(invalid), undefined, invalid);
});

test('a value is never longer than its time, and can be read again', () => {
  for (const ms of [0, 0.0004, 0.5, 1, 999.9999, 99_999, 100_000, 1e8 - 1, 1e8, 1e11, 1e15]) {
    const text = grpcTimeoutText(ms);
    const read = grpcTimeoutMs(text);
    assert.ok(
      read !== undefined && read <= ms && read >= Math.min(ms * 0.99 - 0.001, 9e10),
      `${ms}: ${text}`,
    );
  }
  assert.equal(grpcTimeoutText(-5), '0u');
});
