/**
 * Stateless session affinity by client address. Each address maps to one of a fixed number of buckets, and each bucket prefers one
 * endpoint (highest random weight). All nodes, the kernel (bpf/lib/verdict.h) and a restarted agent therefore choose the same endpoint,
 * and adding or removing an endpoint moves only that endpoint's share of the clients.
 */
import type { IpAddress, SocketAddress } from '../model/address.js';
import { formatSocketAddress, ipTo16 } from '../model/address.js';

/** With more endpoints than buckets, some endpoints get no client. */
export const affinityBuckets = 512;

/** The finalizer of MurmurHash3: each output bit depends on all input bits. */
function mix(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
/** FNV-1a, 32 bits. */
function hashOf(bytes: Iterable<number>, seed = 0x811c9dc5): number {
  let hash = seed;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash;
}

/** The bucket of a client's address. bpf/lib/verdict.h computes the same. */
export function bucketOf(client: IpAddress): number {
  return mix(hashOf(ipTo16(client))) % affinityBuckets;
}

/** The endpoint that a bucket prefers; undefined if there are none. */
export function preferredOf<T>(
  endpoints: readonly T[],
  targetOf: (endpoint: T) => SocketAddress,
  bucket: number,
): T | undefined {
  let best: T | undefined;
  let bestWeight = -1;
  for (const endpoint of endpoints) {
    const weight = mix(hashOf(Buffer.from(formatSocketAddress(targetOf(endpoint))), mix(bucket + 1)));
    if (weight > bestWeight) [best, bestWeight] = [endpoint, weight];
  }
  return best;
}
