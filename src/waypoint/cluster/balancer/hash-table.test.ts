import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endpointsOf } from '../../../../test/support/endpoints.js';
import { hash32 } from '../../../base/hash.js';
import type { Endpoint } from '../endpoint.js';
import { Maglev, maglevSizeMax } from './maglev.js';
import { RingHash, ringPointsMax } from './ring-hash.js';

const keys = Array.from({ length: 20_000 }, (_, i) => hash32(`user-${i}`));
const kinds = {
  'ring hash': () => new RingHash(1024, 8_388_608),
  Maglev: () => new Maglev(65_537),
};
type Choose = Pick<RingHash, 'choose'>;
const places = (balancer: Choose, members: readonly Endpoint[], usable = members): string[] =>
  keys.map((key) => balancer.choose(usable, key, members)?.key ?? '');
const moved = (before: readonly string[], after: readonly string[]): number =>
  before.filter((one, i) => one !== after[i]).length;
const countsOf = (found: readonly string[]): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const one of found) counts.set(one, (counts.get(one) ?? 0) + 1);
  return counts;
};

for (const [name, make] of Object.entries(kinds)) {
  test(`${name}: every worker chooses the same endpoint, in whatever order it learned of them`, () => {
    const members = endpointsOf(20);
    assert.deepEqual(places(make(), members), places(make(), [...endpointsOf(20)].reverse()));
  });

  test(`${name}: keys are spread by weight`, () => {
    const members = endpointsOf(10);
    for (const count of countsOf(places(make(), members)).values())
      assert.ok(count > 1_400 && count < 2_800, `${count}`);
    (members[0] as Endpoint).weight = 5;
    const counts = countsOf(places(make(), members));
    const heavy = counts.get((members[0] as Endpoint).key) ?? 0;
    assert.ok(heavy > 5_900 && heavy < 8_400, `${heavy} of ${keys.length} for 5 of 14`);
  });

  test(`${name}: when an endpoint leaves, its keys move, and few others`, () => {
    const members = endpointsOf(20);
    const before = places(make(), members);
    const gone = (members[7] as Endpoint).key;
    const after = places(
      make(),
      members.filter(({ key }) => key !== gone),
    );
    const own = before.filter((one) => one === gone).length;
    // Others move because the number of points, or the places of a table, depend on the number of endpoints.
    assert.ok(moved(before, after) - own < keys.length / 25, `${moved(before, after) - own}`);
    assert.ok(!after.includes(gone));
  });

  test(`${name}: when an endpoint is ejected, or was tried, only its keys move, to many others`, () => {
    const members = endpointsOf(20);
    const balancer = make();
    const before = places(balancer, members);
    const [ejected] = members as [Endpoint];
    const after = places(balancer, members, members.slice(1));
    const own = before.filter((one) => one === ejected.key).length;
    assert.equal(moved(before, after), own);
    const to = new Set(after.filter((_, i) => before[i] === ejected.key));
    assert.ok(to.size > 12, `${to.size}`);
    assert.deepEqual(places(balancer, members), before, 'it gets its keys back');
  });

  test(`${name}: with few of many endpoints usable, one of these is chosen`, () => {
    const members = endpointsOf(3_000);
    const balancer = make();
    const usable = members.slice(10, 12);
    for (const key of keys.slice(0, 200)) {
      const one = balancer.choose(usable, key, members);
      assert.ok(one && usable.includes(one));
      assert.equal(balancer.choose(usable, key, members), one);
    }
    assert.equal(balancer.choose([], 1, members), undefined);
  });

  test(`${name}: a request without a key goes anywhere`, () => {
    const members = endpointsOf(4);
    const balancer = make();
    const found = new Set(Array.from({ length: 200 }, () => balancer.choose(members, undefined, members)));
    assert.equal(found.size, 4);
  });
}

test('a table is not made again before twenty times of its own time has passed; removed endpoints get nothing meanwhile', () => {
  let nowMs = 0;
  // Each reading of the clock takes 1 ms: so does the making of a table.
  const balancer = new Maglev(1009, Math.random, () => nowMs++);
  const members = endpointsOf(10);
  const before = places(balancer, members);
  const fewer = members.slice(1);
  const during = places(balancer, fewer).slice(0, 15);
  assert.deepEqual(
    during.map((one, i) => one === before[i] || before[i] === members[0]?.key),
    during.map(() => true),
  );
  assert.ok(!during.includes(members[0]?.key ?? ''));
  nowMs += 100;
  assert.deepEqual(places(balancer, fewer), places(new Maglev(1009), fewer));
});

test('sizes: a ring has about the minimum of points, and is bounded; the size of a Maglev table is a prime number', () => {
  const sized = (sizeMin: number, sizeMax: number, count: number): number => {
    const ring = new RingHash(sizeMin, sizeMax);
    const members = endpointsOf(count);
    ring.choose(members, 1, members);
    return ring.size;
  };
  assert.equal(sized(1024, 8_388_608, 4), 1024);
  assert.equal(sized(1024, 8_388_608, 3), 1026);
  assert.equal(sized(1024, 512, 4), 512);
  assert.equal(sized(8_388_608, 8_388_608, 4), ringPointsMax);
  assert.equal(sized(1024, 1024, 3_000), 3_000, 'each endpoint has a point');
  assert.equal(new Maglev(65_537).size, 65_537);
  assert.equal(new Maglev(65_536).size, 65_521);
  assert.equal(new Maglev(5_000_011).size, maglevSizeMax);
  assert.equal(new Maglev(0).size, 3);
});

test('tables of 10000 endpoints are made in bounded time', () => {
  const members = endpointsOf(10_000);
  (members[0] as Endpoint).weight = 1_000;
  for (const make of Object.values(kinds)) {
    const beganMs = performance.now();
    make().choose(members, 1, members);
    // Some 20 ms on a quiet machine.
    assert.ok(performance.now() - beganMs < 5_000);
  }
});
