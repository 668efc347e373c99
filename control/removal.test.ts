import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, until } from '../src/base/wait.js';
import { RemovalStages } from './removal.js';

test('stages come at their moments, however far these are', async () => {
  const seen: string[] = [];
  const stages: RemovalStages = new RemovalStages(() => void seen.push(stages.stage));
  stages.releaseAt(Date.now() + 40 * 86_400_000);
  await sleep(100);
  assert.equal(stages.stage, 'open');
  stages.releaseAt(Date.now() - 1);
  await until('released', 5_000, () => stages.stage === 'release');
  assert.deepEqual(seen, ['untunneled', 'release']);
});
