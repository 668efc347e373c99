import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goalBelow, goalsOfRatios, stateOf } from './goals.js';
import type { Sample } from './result.js';

const sample = (round: number, variant: string, p50: number): Sample => ({
  round,
  placement: 'same-node',
  variant,
  workload: 'ping-pong',
  point: '128 B',
  values: { p50 },
});

test('a goal is reached only where it is in every round', () => {
  const at = (ratios: number[]): string | undefined =>
    goalsOfRatios(
      ratios.flatMap((ratio, round) => [
        sample(round, 'none', 100),
        sample(round, 'weft-spliced', ratio * 100),
      ]),
    ).find(({ what }) => what.endsWith('round trip, p50'))?.state;
  assert.equal(at([0.7, 0.75, 0.79]), 'reached');
  assert.equal(at([0.7, 0.75, 0.85]), 'by the median alone');
  assert.equal(at([0.7, 0.85, 0.9]), 'not reached');
});

test('what was not measured is never said to be reached', () => {
  const goals = goalsOfRatios([]);
  assert.ok(goals.length > 0);
  assert.ok(goals.every(({ state, found }) => state === 'not measured' && found === undefined));
  assert.equal(goalBelow('x', 1, 'ms', 'y', [NaN]).state, 'not measured');
  assert.equal(
    stateOf(undefined, () => true),
    'not measured',
  );
});
