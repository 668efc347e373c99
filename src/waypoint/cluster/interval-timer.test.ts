import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IntervalTimer, type PeriodicWork } from './interval-timer.js';

test('one timer runs all work at its interval, and a shorter interval is noticed', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 0;
  const timer = new IntervalTimer(() => nowMs);
  const pass = (ms: number): void => {
    for (let i = 0; i < ms; i += 50) {
      nowMs += 50;
      t.mock.timers.tick(50);
    }
  };
  class Work implements PeriodicWork {
    runs = 0;
    dueMs: number;
    constructor(public everyMs: number) {
      this.dueMs = nowMs + everyMs;
    }
    run(at: number): void {
      this.runs++;
      this.dueMs = at + this.everyMs;
    }
  }
  const [often, seldom] = [new Work(200), new Work(1_000)];
  timer.add(seldom);
  timer.add(often);
  pass(2_000);
  assert.deepEqual([often.runs, seldom.runs], [10, 2]);
  seldom.everyMs = 100;
  seldom.dueMs = nowMs + 100;
  timer.add(seldom);
  pass(1_000);
  assert.equal(seldom.runs, 12);
  timer.remove(often);
  timer.remove(seldom);
  pass(1_000);
  assert.deepEqual([often.runs, seldom.runs], [15, 12]);
});
