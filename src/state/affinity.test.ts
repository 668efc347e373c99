import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp, type SocketAddress } from '../model/address.js';
import { affinityBuckets, bucketOf, preferredOf } from './affinity.js';

const endpoints = (count: number): SocketAddress[] =>
  Array.from({ length: count }, (_, i) => ({ ip: parseIp(`10.0.${i >> 8}.${i & 255}`), port: 8080 }));
const chosen = (of: readonly SocketAddress[]): string[] =>
  Array.from({ length: affinityBuckets }, (_, bucket) => preferredOf(of, (e) => e, bucket)?.ip ?? '');

test('clients spread over the buckets, and buckets over the endpoints', () => {
  const buckets = new Map<number, number>();
  for (let i = 0; i < 51_200; i++) {
    const bucket = bucketOf(parseIp(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`));
    buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
  }
  assert.equal(buckets.size, affinityBuckets);
  assert.ok(Math.max(...buckets.values()) < 200, `${Math.max(...buckets.values())} of a mean of 100`);
  const counts = new Map<string, number>();
  for (const ip of chosen(endpoints(8))) counts.set(ip, (counts.get(ip) ?? 0) + 1);
  assert.equal(counts.size, 8);
  assert.ok(Math.max(...counts.values()) < 2 * (affinityBuckets / 8));
});

test('the order of the endpoints does not matter; without endpoints none is preferred', () => {
  assert.deepEqual(chosen(endpoints(20).reverse()), chosen(endpoints(20)));
  assert.equal(
    preferredOf([], (e: SocketAddress) => e, 3),
    undefined,
  );
});

test('a removed endpoint moves only its own clients; an added one takes no more than its share', () => {
  const all = endpoints(10);
  const before = chosen(all);
  const gone = all[3]?.ip ?? '';
  chosen(all.filter(({ ip }) => ip !== gone)).forEach((ip, bucket) => {
    if (before[bucket] !== gone) assert.equal(ip, before[bucket]);
  });
  const moved = chosen(endpoints(11)).filter((ip, bucket) => ip !== before[bucket]).length;
  assert.ok(moved > 0 && moved < 2 * (affinityBuckets / 11), `${moved} buckets moved`);
});
