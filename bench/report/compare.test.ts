import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareResults, permutationP, printComparison } from './compare.js';
import { made } from './synthetic.js';

const options = { threshold: 0.1 };

test('finds a planted regression and names it, and nothing else', () => {
  const before = made({ seed: 1, rounds: 5, noise: 0.01 });
  const after = made({
    seed: 2,
    rounds: 5,
    noise: 0.01,
    change: ({ variant, workload }, metric) =>
      variant === 'kernel' && workload === 'trips' && metric === 'p50' ? 1.3 : 1,
  });
  const comparison = compareResults(before, after, options);
  assert.equal(comparison.slower, true);
  const slower = comparison.changes.filter(({ verdict }) => verdict === 'slower');
  assert.ok(slower.length > 0);
  assert.ok(
    slower.every(
      ({ variant, workload, metric }) => variant === 'kernel' && workload === 'trips' && metric === 'p50',
    ),
  );
  assert.match(printComparison(comparison, options), /Got worse[\s\S]*kernel trips/);
});

test('a throughput that rises got better, one that falls got worse', () => {
  const verdictWith = (factor: number): string[] =>
    compareResults(
      made({ seed: 1, rounds: 5, noise: 0.01 }),
      made({
        seed: 2,
        rounds: 5,
        noise: 0.01,
        change: ({ variant }, metric) => (variant === 'tunnel' && metric === 'gbit' ? factor : 1),
      }),
      options,
    )
      .changes.filter(({ variant, metric }) => variant === 'tunnel' && metric === 'gbit')
      .map(({ verdict }) => verdict);
  assert.ok(verdictWith(1.4).every((verdict) => verdict === 'faster'));
  assert.ok(verdictWith(0.7).every((verdict) => verdict === 'slower'));
});

test('a machine that is slower as a whole is no regression of a ratio', () => {
  const before = made({ seed: 1, rounds: 5, noise: 0.01 });
  const after = made({
    seed: 2,
    rounds: 5,
    noise: 0.01,
    change: (_, metric) => (metric === 'p50' ? 2 : 1),
  });
  const { changes } = compareResults(before, after, options);
  const ratios = changes.filter(({ metric, of }) => metric === 'p50' && of === 'ratio');
  assert.ok(ratios.length > 0);
  assert.ok(ratios.every(({ verdict }) => verdict === 'same'));
});

test('two runs of the same seldom differ: fewer than one run in ten has a false alarm among all its figures', () => {
  let alarms = 0;
  const runs = 60;
  for (let seed = 0; seed < runs; seed++) {
    const [a, b] = [
      made({ seed: seed * 2 + 1, rounds: 5, noise: 0.04 }),
      made({ seed: seed * 2 + 2, rounds: 5, noise: 0.04 }),
    ];
    if (compareResults(a, b, options).slower) alarms++;
  }
  assert.ok(alarms < runs / 10, `${alarms} of ${runs}`);
});

test('says that rounds are too few instead of guessing', () => {
  const { changes, slower } = compareResults(
    made({ seed: 1, rounds: 2, noise: 0.005 }),
    made({
      seed: 2,
      rounds: 2,
      noise: 0.005,
      change: ({ variant }, metric) => (variant === 'kernel' && metric === 'p50' ? 3 : 1),
    }),
    options,
  );
  const planted = changes.filter(({ variant, metric }) => variant === 'kernel' && metric === 'p50');
  assert.ok(planted.length > 0);
  assert.ok(planted.every(({ verdict }) => verdict === 'too few rounds'));
  assert.equal(slower, false);
});

test('says what is not the same in both, and what one of them alone has', () => {
  const before = made({ seed: 1, rounds: 5 });
  const after = {
    ...before,
    machine: { ...before.machine, kernel: 'another' },
    figures: before.figures.filter(({ variant }) => variant !== 'waypoint'),
  };
  const comparison = compareResults(before, after, options);
  assert.ok(
    comparison.differences.some((one) => one.startsWith('machine: kernel') && one.endsWith('then another')),
  );
  assert.ok(comparison.alone.length > 0);
  assert.ok(comparison.alone.every((one) => one.startsWith('the first: ') && one.endsWith(' waypoint')));
});

test('the permutation test is exact: two groups that do not touch', () => {
  assert.equal(permutationP([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 2 / 252);
  assert.equal(permutationP([1, 2], [3, 4]), 2 / 6);
  assert.equal(permutationP([1, 1, 1], [1, 1, 1]), 1);
  const many = Array.from({ length: 30 }, (_, at) => at % 7);
  assert.ok(permutationP(many, many) > 0.5);
  assert.ok(
    permutationP(
      many,
      many.map((value) => value + 100),
    ) < 0.001,
  );
});
