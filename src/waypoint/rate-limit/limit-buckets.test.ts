import assert from 'node:assert/strict';
import { test } from 'node:test';
import { key } from '../../../test/support/mesh.js';
import { FairLimit } from '../../base/fair-limit.js';
import { ownRow, type BucketRow, type BucketRows } from './bucket-rows.js';
import { rateOf } from './gcra.js';
import { LimitBuckets } from './limit-buckets.js';
import { bucketsMax, RateLimits } from './rate-limits.js';

const s = 1e9;
const client = (name: string, group = 'shop') => ({ name, group });

/** Rows that two processes share. */
class SharedRows implements BucketRows {
  readonly rows = new Map<string, BucketRow>();
  readonly held = new Map<BucketRow, number>();
  max = Infinity;

  hold(name: string, create = true): BucketRow | undefined {
    let row = this.rows.get(name);
    if (!row) {
      if (!create) return undefined;
      if (this.rows.size >= this.max) return undefined;
      this.rows.set(name, (row = ownRow()));
    }
    this.held.set(row, (this.held.get(row) ?? 0) + 1);
    return row;
  }
  release(row: BucketRow): void {
    const left = (this.held.get(row) ?? 0) - 1;
    assert.ok(left >= 0, 'released once');
    if (left === 0) this.held.delete(row);
    else this.held.set(row, left);
  }
}

function limit({ rows = new SharedRows(), max = 1_000, all = 100_000 } = {}) {
  const refused = { shares: 0 };
  const clock = { nowNs: s };
  const shares = new FairLimit(all);
  const buckets = new LimitBuckets(
    { rows, shares, nowNs: () => clock.nowNs, onShareUsed: () => refused.shares++ },
    'limit',
    'shop',
    max,
  );
  return { buckets, rows, shares, refused, clock };
}

test('each key has a bucket of its own', () => {
  const { buckets } = limit();
  const rate = rateOf(1, 1_000, 2);
  for (const key of ['a', 'b', ''])
    assert.deepEqual(
      [0, 0, 0].map(() => buckets.take(key, client('x'), rate) === 0),
      [true, true, false],
    );
});

test('two workers share the buckets', () => {
  const rows = new SharedRows();
  const [one, two] = [limit({ rows }).buckets, limit({ rows }).buckets];
  const rate = rateOf(1, 1_000, 10);
  let allowed = 0;
  for (let i = 0; i < 20; i++) if ((i % 2 ? one : two).take('a', client('x'), rate) === 0) allowed++;
  assert.equal(allowed, 10);
});

test('a client that invents values gets one further bucket for all of them, and others keep theirs', () => {
  const { buckets, refused, rows } = limit({ max: 1_000 });
  const rate = rateOf(1, 3_600_000, 1);
  assert.equal(buckets.take('victim', client('ann', 'a'), rate), 0);
  let allowed = 0;
  for (let i = 0; i < 10_000; i++)
    if (buckets.take(`invented-${i}`, client('mallory', 'm'), rate) === 0) allowed++;
  assert.ok(allowed <= 501, `half of the buckets and one: ${allowed}`);
  assert.ok(refused.shares > 9_000);
  assert.ok(rows.rows.size <= 502);
  assert.notEqual(buckets.take('victim', client('ann', 'a'), rate), 0, 'still empty');
  assert.equal(buckets.take('another', client('ann', 'a'), rate), 0, 'others get new buckets');
  assert.equal(buckets.take('x', client('bob', 'b'), rate), 0);
  // Many identities of one namespace.
  for (let i = 0; i < 10_000; i++) buckets.take(`more-${i}`, client(`m-${i}`, 'm'), rate);
  assert.ok(buckets.size < 1_000 + 4_200);
  assert.equal(buckets.take('y', client('bob', 'b'), rate), 0);
});

test('at its limit a client gets room by buckets that are full again', () => {
  const { buckets, refused, clock } = limit({ max: 100 });
  const rate = rateOf(1, 1_000, 1);
  for (let i = 0; i < 5_000; i++) {
    clock.nowNs = i * s;
    assert.equal(buckets.take(`key-${i}`, client('x'), rate), 0);
  }
  assert.equal(refused.shares, 0);
  assert.ok(buckets.size <= 100);
});

test('sweeping drops what is full for long, and nothing else', () => {
  const { buckets, rows, shares, clock } = limit();
  const rate = rateOf(1, 60_000, 1);
  clock.nowNs = 0;
  for (let i = 0; i < 50; i++) buckets.take(`key-${i}`, client('x'), rate);
  buckets.sweep(65 * s, 1_000);
  assert.equal(buckets.size, 50, 'full for 5 s');
  clock.nowNs = 65 * s;
  buckets.take('key-7', client('x'), rate);
  buckets.sweep(71 * s, 10);
  assert.ok(buckets.size >= 40, 'in steps');
  buckets.sweep(72 * s, 1_000);
  assert.equal(buckets.size, 1);
  assert.equal(rows.held.size, 1);
  clock.nowNs = 73 * s;
  assert.notEqual(buckets.take('key-7', client('x'), rate), 0);
  buckets.forget(73 * s);
  assert.deepEqual([buckets.size, rows.held.size, shares.size, buckets.isForgotten], [0, 0, 0, true]);
});

test('without room in the shared memory a bucket is of this worker alone', () => {
  const rows = new SharedRows();
  rows.max = 0;
  const { buckets } = limit({ rows });
  const rate = rateOf(1, 1_000, 1);
  assert.equal(buckets.take('a', client('x'), rate), 0);
  assert.notEqual(buckets.take('a', client('x'), rate), 0);
  buckets.forget(s);
});

test('a bucket of this worker alone joins the one that another worker makes later', () => {
  const rows = new SharedRows();
  const [one, two] = [limit({ rows }).buckets, limit({ rows }).buckets];
  const rate = rateOf(1, 3_600_000, 4);
  rows.max = 0;
  for (let i = 0; i < 3; i++) assert.equal(one.take('a', client('x'), rate), 0);
  rows.max = Infinity;
  assert.equal(two.take('a', client('x'), rate), 0);
  one.sweep(s, 10);
  assert.equal(one.take('a', client('x'), rate), 0, 'the fourth');
  assert.notEqual(one.take('a', client('x'), rate), 0);
  assert.notEqual(two.take('a', client('x'), rate), 0, 'they have one bucket');
  one.forget(s);
  two.forget(s);
  assert.equal(rows.held.size, 0);
});

test('a limit leaves room for the limits of other namespaces', () => {
  const shares = new FairLimit(1_000);
  const all = { rows: new SharedRows(), shares, nowNs: () => s, onShareUsed: () => undefined };
  const rate = rateOf(1, 3_600_000, 1);
  for (let n = 0; n < 16; n++) {
    const mine = new LimitBuckets(all, `mine-${n}`, 'mallory', 1_000);
    for (let i = 0; i < 1_000; i++) mine.take(`k-${i}`, client('x'), rate);
  }
  assert.ok(shares.size < 700);
  const other = new LimitBuckets(all, 'other', 'shop', 1_000);
  for (let i = 0; i < 100; i++) assert.equal(other.take(`k-${i}`, client('x'), rate), 0);
});

test('one client has room for 10 000 keys', () => {
  const { buckets, refused } = limit({ max: bucketsMax / 2, all: bucketsMax });
  const rate = rateOf(1, 3_600_000, 1);
  for (let i = 0; i < 10_000; i++) assert.equal(buckets.take(`user-${i}`, client('gateway'), rate), 0);
  assert.equal(refused.shares, 0);
});

test('workers together make no more buckets than one alone, and all use those that any of them made', () => {
  const rows = new SharedRows();
  const refused = [0, 0];
  const workers = refused.map(
    (_, i) =>
      new RateLimits(
        rows,
        2,
        () => s,
        () => refused[i]!++,
        4_000,
      ),
  );
  const rate = rateOf(1, 3_600_000, 1);
  const port = { service: key('api'), port: 80 };
  const [one, two] = workers.map((worker) => worker.of(port, 'p', 'k')) as [LimitBuckets, LimitBuckets];
  const mallory = client('mallory', 'm');
  for (let i = 0; i < 5_000; i++) {
    one.take(`a-${i}`, mallory, rate);
    two.take(`b-${i}`, mallory, rate);
  }
  // Half of half of the buckets, and one for all further values.
  assert.ok(rows.rows.size <= 1_002, `${rows.rows.size}`);
  assert.ok(refused[0]! > 4_000);
  const size = rows.rows.size;
  for (let i = 0; i < 500; i++)
    assert.notEqual(two.take(`a-${i}`, mallory, rate), 0, 'known to the other worker');
  assert.equal(rows.rows.size, size);
});
