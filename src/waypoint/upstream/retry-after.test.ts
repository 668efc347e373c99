import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retryAfterMs } from './retry-after.js';

const nowMs = Date.UTC(2026, 10, 27, 3);
const of = (...headers: string[]) => retryAfterMs(headers, nowMs, 10_000);

test('the time that an endpoint asks for', () => {
  assert.equal(of('retry-after', '3'), 3_000);
  assert.equal(of('retry-after', ' 0 '), 0);
  assert.equal(of('retry-after', 'Fri, 27 Nov 2026 03:00:02 GMT'), 2_000);
  assert.equal(of('retry-after', 'Fri, 27 Nov 2026 02:59:00 GMT'), 0, 'it is over');
  assert.equal(of('ratelimit', 'limit=10, remaining=0, reset=4'), 4_000);
  assert.equal(of('ratelimit', '"default";r=0;t=5'), 5_000);
  assert.equal(of('ratelimit-reset', '6'), 6_000);
  assert.equal(of('x-ratelimit-reset', '7'), 7_000);
  assert.equal(of('x-ratelimit-reset', `${nowMs / 1000 + 8}`), 8_000, 'a time since the epoch');
  assert.equal(of('content-type', 'text/plain'), undefined);
});

test('a year is as if the field was not there, and the next field counts', () => {
  assert.equal(of('retry-after', '31536000'), undefined);
  assert.equal(of('retry-after', 'Fri, 26 Nov 2027 03:00:00 GMT'), undefined);
  assert.equal(of('retry-after', '31536000', 'ratelimit-reset', '2'), 2_000);
});

test('what cannot be read is as if it was not there', () => {
  const values = ['', '-1', '1.5', '1e3', 'soon', '1; x', '9'.repeat(16), '0x10', 'x'.repeat(100_000), 'NaN'];
  for (const value of values)
    for (const name of ['retry-after', 'ratelimit', 'ratelimit-reset', 'x-ratelimit-reset'])
      assert.equal(of(name, value), undefined, `${name}: ${value.slice(0, 40)}`);
});
