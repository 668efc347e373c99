import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { poll } from './poll.js';

test('a ring is polled rarely while it is empty, and often again once it is not', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    let calls = 0;
    let isEmpty = true;
    const stop = poll(() => (calls++, !isEmpty), 50);
    const callsIn = (ms: number): number => {
      const before = calls;
      for (let at = 0; at < ms; at++) mock.timers.tick(1);
      return calls - before;
    };
    callsIn(2_000);
    assert.ok(callsIn(4_000) <= 11);
    isEmpty = false;
    callsIn(400);
    assert.ok(callsIn(1_000) >= 19);
    stop();
    assert.equal(callsIn(5_000), 0);
  } finally {
    mock.timers.reset();
  }
});
