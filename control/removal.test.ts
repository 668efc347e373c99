import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Removal } from './compile/settings.js';
import { RemovalStages, untunneledMs } from './removal.js';

test('the stage without tunnels precedes the release, and each stage begins once', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const seen: Removal[] = [];
  const stages = new RemovalStages(() => seen.push(stages.stage));
  assert.equal(stages.stage, 'open');
  stages.releaseAt(Date.now() + 10_000);
  t.mock.timers.tick(10_000 - untunneledMs - 1);
  assert.deepEqual(seen, []);
  t.mock.timers.tick(1);
  assert.deepEqual(seen, ['untunneled']);
  t.mock.timers.tick(untunneledMs);
  assert.deepEqual(seen, ['untunneled', 'release']);
  // A replica that starts late reads the same release time.
  stages.releaseAt(Date.now() - 1);
  t.mock.timers.tick(60_000);
  assert.deepEqual(seen, ['untunneled', 'release']);
});

test('a later release time replaces an earlier one', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const seen: Removal[] = [];
  const stages = new RemovalStages(() => seen.push(stages.stage));
  stages.releaseAt(Date.now() + 10_000);
  stages.releaseAt(Date.now() + 60_000);
  t.mock.timers.tick(60_000 - untunneledMs - 1);
  assert.deepEqual(seen, []);
  t.mock.timers.tick(untunneledMs + 1);
  assert.deepEqual(seen, ['untunneled', 'release']);
});

test('a release time in the past releases at once, through both stages', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const seen: Removal[] = [];
  const stages = new RemovalStages(() => seen.push(stages.stage));
  stages.releaseAt(Date.now() - 60_000);
  t.mock.timers.tick(0);
  t.mock.timers.tick(1);
  assert.equal(stages.stage, 'release');
});

test('a release time beyond the longest timer is waited for', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const seen: Removal[] = [];
  const stages = new RemovalStages(() => seen.push(stages.stage));
  stages.releaseAt(Date.now() + 40 * 86_400_000);
  t.mock.timers.tick(2 ** 31 - 1);
  assert.deepEqual(seen, []);
  t.mock.timers.tick(40 * 86_400_000 - (2 ** 31 - 1));
  assert.deepEqual(seen, ['untunneled', 'release']);
});
