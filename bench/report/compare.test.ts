import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareResults, familyP, printComparison } from './compare.js';
import { made, seeded } from './synthetic.js';

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

test('two runs of the same seldom differ: a false alarm among all figures is rare', () => {
  let alarms = 0;
  const runs = 15;
  for (let seed = 0; seed < runs; seed++) {
    const [a, b] = [
      made({ seed: seed * 2 + 1, rounds: 5, noise: 0.04 }),
      made({ seed: seed * 2 + 2, rounds: 5, noise: 0.04 }),
    ];
    if (compareResults(a, b, options).slower) alarms++;
  }
  assert.ok(alarms <= 1, `${alarms} of ${runs}`);
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

test('the chance is that of all figures together', () => {
  const [a, b] = [
    [1, 2, 3, 4, 5],
    [16, 17, 18, 19, 20],
  ];
  // Both ways of dealing that keep them apart, of 252.
  assert.deepEqual(familyP([{ a, b }]), [2 / 252]);
  assert.deepEqual(familyP([{ a: [1, 2], b: [3, 4] }]), [2 / 6]);
  // Among many others that differ by chance the same distance means less.
  const others = Array.from({ length: 200 }, (_, at) => {
    const random = seeded(at);
    const draw = (): number[] => Array.from({ length: 5 }, random);
    return { a: draw(), b: draw() };
  });
  const weak = { a: [0.1, 0.2, 0.3, 0.4, 0.5], b: [0.6, 0.7, 0.8, 0.9, 1] };
  assert.equal(familyP([weak])[0], 2 / 252);
  assert.ok((familyP([weak, ...others])[0] ?? 0) > 0.05);
  assert.deepEqual(familyP([{ a: [1, 1, 1], b: [1, 1, 1] }]), [1]);
});

test('many rounds are dealt out as often as is enough, always in the same way', () => {
  const many = Array.from({ length: 30 }, (_, at) => at % 7);
  const moved = many.map((value) => value + 100);
  assert.ok((familyP([{ a: many, b: many }])[0] ?? 0) > 0.5);
  assert.ok((familyP([{ a: many, b: moved }])[0] ?? 1) < 0.01);
  assert.deepEqual(familyP([{ a: many, b: moved }]), familyP([{ a: many, b: moved }]));
});
