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

const streams = (round: number, variant: string, gbit: number): Sample => ({
  round,
  placement: 'cross-node',
  variant,
  workload: 'bulk',
  point: '16 streams',
  values: { gbit },
});
const bulkGoal = (samples: readonly Sample[]): ReturnType<typeof goalsOfRatios>[number] | undefined =>
  goalsOfRatios(samples).find(
    ({ what }) => what.startsWith('across nodes') && what.endsWith('sidecars: 16 streams'),
  );

test('divides by the better peer of each round, and by none if one of them is not there', () => {
  const rounds = [
    [streams(0, 'weft', 6), streams(0, 'ztunnel', 4), streams(0, 'sidecar', 3)],
    [streams(1, 'weft', 6), streams(1, 'ztunnel', 2), streams(1, 'sidecar', 3)],
  ];
  const found = bulkGoal(rounds.flat());
  assert.deepEqual(found?.found, { median: 1.75, min: 1.5, max: 2 });
  assert.equal(found?.state, 'reached');
  const alone = bulkGoal(rounds.flat().filter(({ variant }) => variant !== 'ztunnel'));
  assert.equal(alone?.state, 'not measured');
});

test('a goal without a base is about the metric itself, at the greatest point', () => {
  const idle = (point: string, kilobytesPerConnection: number): Sample => ({
    round: 0,
    placement: 'cross-node',
    variant: 'weft',
    workload: 'idle-connections',
    point,
    values: { kilobytesPerConnection },
  });
  const goal = goalsOfRatios([idle('1000', 20), idle('9000', 11)]).find(({ what }) =>
    what.startsWith('across nodes: memory of all proxies'),
  );
  assert.equal(goal?.found?.median, 11);
  assert.equal(goal?.state, 'reached');
});

test('a run of some variants lists their goals only', () => {
  const goals = goalsOfRatios([], ({ variant }) => variant === 'weft-encrypted');
  assert.ok(goals.length > 0);
  assert.ok(goals.every(({ what }) => what.startsWith('same node, encrypted')));
});
