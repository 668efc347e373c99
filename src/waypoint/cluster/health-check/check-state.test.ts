import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newCheckState, onResult, type CheckResult } from './check-state.js';

const thresholds = { healthyThreshold: 2, unhealthyThreshold: 3 };
const results: Readonly<Record<string, CheckResult>> = {
  o: { kind: 'ok' },
  n: { kind: 'network', why: 'refused' },
  r: { kind: 'response', why: 'status 503' },
  x: { kind: 'none', why: 'no certificate' },
};

/** The health after each result: `+` or `-`. */
function course(text: string): string {
  const state = newCheckState();
  return [...text]
    .map((letter) => {
      onResult(state, results[letter] ?? assert.fail(letter), thresholds);
      return state.isHealthy ? '+' : '-';
    })
    .join('');
}

test('the first check decides at once', () => {
  assert.equal(course('o'), '+');
  assert.equal(course('n'), '-');
  assert.equal(course('r'), '-');
});

test('so many network failures in a row make an endpoint unhealthy, and so many successes healthy', () => {
  assert.equal(course('onnonnn'), '++++++-');
  assert.equal(course('nonoo'), '----+');
});

test('an endpoint that says that it is unhealthy is so at once', () => {
  assert.equal(course('or'), '+-');
  assert.equal(course('orooroo'), '+--+--+');
});

test('a check that was impossible changes nothing', () => {
  assert.equal(course('xn'), '+-');
  assert.equal(course('onxnxn'), '+++++-');
});

test('a result is reported if it is the first or changes the health', () => {
  const state = newCheckState();
  const changes = [...'oonnnno'].map((letter) =>
    onResult(state, results[letter] ?? assert.fail(letter), thresholds),
  );
  assert.deepEqual(changes, [true, false, false, false, true, false, false]);
});
