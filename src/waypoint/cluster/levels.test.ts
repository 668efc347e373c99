import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endpointsOf } from '../../../test/support/endpoints.js';
import { hash32 } from '../../base/hash.js';
import { balancersOf } from './balancer/new-balancer.js';
import type { Endpoint } from './endpoint.js';
import { Levels, type Excluded } from './levels.js';
import type { FailoverConfig } from './priority-load.js';

const envoy: FailoverConfig = { overprovisioningPercent: 140, panicPercent: 50, minEndpoints: 0 };

function levelsOf(sizes: readonly number[], failover: FailoverConfig | 'none' = envoy) {
  const all = endpointsOf(sizes.reduce((sum, one) => sum + one, 0));
  let from = 0;
  const groups = sizes.map((size) => all.slice(from, (from += size)));
  const levels = new Levels(balancersOf());
  levels.update(groups);
  levels.configure(balancersOf(), failover === 'none' ? undefined : failover);
  return {
    levels,
    groups,
    eject: (level: number, count: number, ms = 60_000): void => {
      for (const { health } of groups[level]?.slice(0, count) ?? []) {
        health.failures = 1;
        health.ejectedUntilMs = performance.now() + ms;
      }
      levels.changed();
    },
    /** The share of each level, in percent. */
    shares: (turns = 20_000): number[] => {
      const counts = sizes.map(() => 0);
      for (let i = 0; i < turns; i++) {
        const one = levels.pick(undefined, undefined);
        counts[groups.findIndex((group) => group.includes(one as Endpoint))]!++;
      }
      return counts.map((count) => Math.round((100 * count) / turns));
    },
  };
}
const near = (values: readonly number[], expected: readonly number[]): void =>
  values.forEach((value, i) => assert.ok(Math.abs(value - (expected[i] ?? 0)) <= 2, values.join()));

test('with a locality policy, requests go on to the next level by the share of healthy endpoints', () => {
  const { levels, groups, eject, shares } = levelsOf([10, 4]);
  assert.deepEqual(shares(), [100, 0]);
  eject(0, 2);
  assert.deepEqual(shares(), [100, 0], '80 percent times 1.4 is enough');
  eject(0, 5);
  near(shares(), [70, 30]);
  eject(0, 10);
  assert.deepEqual(shares(), [0, 100]);
  for (const { health } of groups[0] ?? []) health.ejectedUntilMs = 0;
  levels.changed();
  assert.deepEqual(shares(), [100, 0]);
});

test('requests return when an ejection ends, without an event', async () => {
  const { levels, eject, shares } = levelsOf([2, 2]);
  eject(0, 2, 300);
  assert.deepEqual(shares(), [0, 100]);
  assert.equal(levels.all[0]?.healthy, 0);
  await new Promise((resolve) => setTimeout(resolve, 350));
  assert.deepEqual(shares(), [100, 0]);
});

test('without a locality policy, the nearest level keeps its requests whatever its health', () => {
  const { levels, groups, eject, shares } = levelsOf([2, 2], 'none');
  assert.deepEqual(levels.reachable, groups[0]);
  eject(0, 2);
  assert.deepEqual(shares(), [100, 0]);
});

test('in panic all endpoints of all levels are used; without panic requests fail', () => {
  const { levels, groups, eject, shares } = levelsOf([2, 6]);
  eject(0, 2);
  eject(1, 5);
  near(shares(), [25, 75]);
  assert.deepEqual(
    levels.all.map(({ isPanicking }) => isPanicking),
    [true, true],
  );
  levels.configure(balancersOf(), { ...envoy, panicPercent: 0 });
  assert.deepEqual(shares(), [0, 100]);
  eject(1, 6);
  assert.equal(levels.pick(undefined, undefined), undefined);
  assert.equal(levels.reachable.length, groups.flat().length);
});

test('a further attempt goes to another endpoint, of another level if need be', () => {
  const { levels, groups, eject } = levelsOf([2, 2]);
  const tried = (...endpoints: (Endpoint | undefined)[]): Excluded => ({
    endpoints: new Set(endpoints as Endpoint[]),
    mayRepeat: true,
  });
  const [[a, b] = [], [c, d] = []] = groups;
  for (let i = 0; i < 50; i++) assert.equal(levels.pick(undefined, tried(a)), b);
  assert.ok(groups[1]?.includes(levels.pick(undefined, tried(a, b)) as Endpoint));
  assert.ok(levels.hasOther(tried(a, b, c)));
  assert.ok(!levels.hasOther(tried(a, b, c, d)));
  assert.ok(groups[0]?.includes(levels.pick(undefined, tried(a, b, c, d)) as Endpoint));
  assert.equal(levels.pick(undefined, { ...tried(a, b, c, d), mayRepeat: false }), undefined);
  eject(0, 1);
  // The first level keeps 70 percent. Whichever level is chosen, the tried endpoint is not.
  for (let i = 0; i < 50; i++) assert.ok(groups[1]?.includes(levels.pick(undefined, tried(b)) as Endpoint));
});

test('keys choose the level and the endpoint alike in all workers', () => {
  const make = () => {
    const made = levelsOf([5, 5]);
    const { levels, groups } = made;
    levels.configure(balancersOf({ kind: { $case: 'maglev', value: { keys: [], tableSize: 0 } } }), {
      ...envoy,
      panicPercent: 0,
    });
    made.eject(0, 3);
    assert.equal(groups.length, 2);
    return levels;
  };
  const [one, other] = [make(), make()];
  let near = 0;
  for (let i = 0; i < 5_000; i++) {
    const hash = hash32(`user-${i}`);
    const picked = one.pick(hash, undefined);
    assert.equal(picked?.key, other.pick(hash, undefined)?.key);
    if (one.all[0]?.members.includes(picked as Endpoint)) near++;
  }
  assert.ok(Math.abs(near - 2_800) < 200, `${near}: 2 of 5 healthy are 56 percent`);
});
