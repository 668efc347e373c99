import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Workload } from '../result/result.js';
import { measurementsOf, runRounds, type Cell, type Measured, type Step } from './rounds.js';

const workload: Workload = { name: 'w', title: 'W', kind: 'scale', pointTitle: '', about: '' };
const cells: Cell[] = ['none', 'sidecar', 'weft'].map((variant) => ({ placement: 'same-node', variant }));
const step = (measure: (cell: Cell) => Promise<Measured>): Step<Cell> => ({
  workload,
  point: '',
  cells,
  measure,
});
const quiet = { onStep: () => undefined, interrupted: () => false };

test('begins each round with another variant and measures all of them before the next workload', async () => {
  const seen: string[] = [];
  const measure = (cell: Cell): Promise<Measured> => {
    seen.push(cell.variant);
    return Promise.resolve({ values: { p50: 1 } });
  };
  const plan = { rounds: 2, steps: [step(measure)], ...quiet };
  const { samples } = await runRounds(plan);
  assert.deepEqual(seen, ['none', 'sidecar', 'weft', 'sidecar', 'weft', 'none']);
  assert.equal(samples.length, measurementsOf(plan));
});

test('goes on after a measurement that failed, and says which', async () => {
  const measure = ({ variant }: Cell): Promise<Measured> =>
    variant === 'sidecar' ? Promise.reject(new Error('gone')) : Promise.resolve({ values: { p50: 1 } });
  const { samples, failures, interrupted } = await runRounds({ rounds: 2, steps: [step(measure)], ...quiet });
  assert.equal(samples.length, 4);
  assert.deepEqual(
    failures.map(({ round, variant, why }) => [round, variant, why]),
    [
      [0, 'sidecar', 'gone'],
      [1, 'sidecar', 'gone'],
    ],
  );
  assert.equal(interrupted, false);
});

test('keeps the rounds that were done when it is interrupted, and nothing of the one under way', async () => {
  let count = 0;
  const measure = (): Promise<Measured> =>
    ++count === 5
      ? Promise.reject(new Error('ended by the signal'))
      : Promise.resolve({ values: { p50: count } });
  const result = await runRounds({
    rounds: 3,
    steps: [step(measure)],
    onStep: () => undefined,
    interrupted: () => count >= 5,
  });
  assert.equal(result.interrupted, true);
  assert.deepEqual(
    result.samples.map(({ round }) => round),
    [0, 0, 0],
  );
  assert.deepEqual(result.failures, []);
});
