import assert from 'node:assert/strict';
import { test } from 'node:test';
import { priorityLoads, type FailoverConfig } from './priority-load.js';

const envoy: FailoverConfig = { overprovisioningPercent: 140, panicPercent: 50, minEndpoints: 0 };
const withoutPanic = { ...envoy, panicPercent: 0 };
const of = (healthy: readonly number[], config = withoutPanic, total = 100) =>
  priorityLoads(
    healthy.map((one) => ({ healthy: one, total })),
    config,
  );
const loads = (healthy: readonly number[], config?: FailoverConfig): number[] =>
  of(healthy, config).map(({ load }) => load);
const panics = (healthy: readonly number[], config = envoy): boolean[] =>
  of(healthy, config).map(({ isPanicking }) => isPanicking);

test('levels share requests as in the tables of Envoy’s docs (Priority levels)', () => {
  const tables: [number[], number[]][] = [
    [
      [100, 100],
      [100, 0],
    ],
    [
      [72, 100],
      [100, 0],
    ],
    [
      [71, 100],
      [99, 1],
    ],
    [
      [50, 100],
      [70, 30],
    ],
    [
      [25, 100],
      [35, 65],
    ],
    [
      [0, 100],
      [0, 100],
    ],
    [
      [72, 72],
      [100, 0],
    ],
    [
      [71, 71],
      [99, 1],
    ],
    [
      [50, 50],
      [70, 30],
    ],
    [
      [25, 25],
      [50, 50],
    ],
    [
      [100, 100, 100],
      [100, 0, 0],
    ],
    [
      [72, 72, 100],
      [100, 0, 0],
    ],
    [
      [71, 71, 100],
      [99, 1, 0],
    ],
    [
      [50, 50, 100],
      [70, 30, 0],
    ],
    [
      [25, 100, 100],
      [35, 65, 0],
    ],
    [
      [25, 25, 100],
      [35, 35, 30],
    ],
  ];
  for (const [healthy, expected] of tables) assert.deepEqual(loads(healthy), expected, healthy.join());
  // The docs round {36, 36, 28} from 35, 35 and 28 of 98; Envoy floors each and gives the rest to the first.
  assert.deepEqual(loads([25, 25, 20]), [37, 35, 28]);
});

test('shares are whole, add up to 100, and only grow with health', () => {
  for (let a = 0; a <= 100; a += 7)
    for (let b = 0; b <= 100; b += 9)
      for (let c = 0; c <= 100; c += 11)
        for (const config of [envoy, withoutPanic]) {
          const all = loads([a, b, c], config);
          assert.equal(
            all.reduce((sum, one) => sum + one, 0),
            100,
          );
          assert.ok(all.every((one) => one >= 0 && Number.isInteger(one)));
        }
});

test('panic: a level below the threshold uses all of its endpoints, unless the levels together are healthy enough', () => {
  assert.deepEqual(panics([49]), [true]);
  assert.deepEqual(panics([50]), [false]);
  // 20 and 30 percent of 140 are 28 and 42: together below 100.
  assert.deepEqual(panics([20, 30]), [true, true]);
  assert.deepEqual(panics([20, 60]), [false, false], 'the second level is enough');
  assert.deepEqual(panics([10, 55]), [true, false]);
  assert.deepEqual(panics([0], withoutPanic), [false]);
});

test('if all levels panic, requests are shared by the number of endpoints', () => {
  const found = priorityLoads(
    [
      { total: 2, healthy: 0 },
      { total: 6, healthy: 1 },
    ],
    envoy,
  );
  assert.deepEqual(found, [
    { load: 25, isPanicking: true },
    { load: 75, isPanicking: true },
  ]);
});

test('without panic, requests fail at the first level if nothing is healthy', () => {
  assert.deepEqual(loads([0, 0]), [100, 0]);
});

test('a level with too few healthy endpoints is passed over, if another one has enough', () => {
  const config = { ...envoy, minEndpoints: 3 };
  const of = (...levels: [number, number][]) =>
    priorityLoads(
      levels.map(([healthy, total]) => ({ healthy, total })),
      config,
    ).map(({ load }) => load);
  assert.deepEqual(of([2, 2], [5, 5]), [0, 100]);
  assert.deepEqual(of([3, 3], [5, 5]), [100, 0]);
  assert.deepEqual(of([2, 2], [1, 1]), [100, 0], 'none has enough');
});
