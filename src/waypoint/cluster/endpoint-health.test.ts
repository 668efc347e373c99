import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isEjected, newHealth, observeConnect, type EndpointHealth } from './endpoint-health.js';

const ejectedForMs = (health: EndpointHealth, nowMs: number): number =>
  Math.max(0, health.ejectedUntilMs - nowMs);

test('any number of simultaneous failures is one observation', () => {
  const health = newHealth();
  // All attempts began within one outage, and each ends by its own timeout.
  for (let i = 0; i < 7; i++) observeConnect(health, false, i, 5_000 + i);
  assert.equal(health.failures, 1);
  assert.equal(ejectedForMs(health, 5_000), 500);
});

test('the ejection doubles with each failure after the previous ejection, up to 30 s', () => {
  const health = newHealth();
  const lasted: number[] = [];
  let nowMs = 0;
  for (let i = 0; i < 9; i++) {
    // Attempts during the ejection, when no other endpoint is left, do not count.
    for (const beganMs of [nowMs + 1, nowMs + 100]) observeConnect(health, false, beganMs, beganMs + 1);
    nowMs = Math.max(nowMs, health.ejectedUntilMs) + 10;
    observeConnect(health, false, nowMs, nowMs + 1);
    lasted.push(ejectedForMs(health, nowMs + 1));
  }
  assert.deepEqual(lasted, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
});

test('a successful connection ends the ejection, and failures of attempts that began before it do not count', () => {
  const health = newHealth();
  observeConnect(health, false, 0, 10);
  assert.ok(isEjected(health, 11));
  observeConnect(health, true, 5, 20);
  assert.ok(!isEjected(health, 21));
  assert.equal(health.failures, 0);
  observeConnect(health, false, 15, 5_015);
  assert.equal(health.failures, 0);
  observeConnect(health, false, 21, 5_021);
  assert.equal(health.failures, 1);
});
