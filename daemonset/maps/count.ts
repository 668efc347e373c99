/** weft_count: decisions of the programs, counted by reason (enum weft_reason). The programs write; the agent reads. */
import type { PinnedMaps } from './pinned.js';
import { decodeU64, encodeU32 } from './row.js';
import { reasons } from './rows.generated.js';

export type KernelReason = (typeof reasons)[number];

/** Counts since the map was created, summed over all CPUs. Error: NativeError. */
export function readCounters(maps: PinnedMaps): Record<KernelReason, number> {
  const counts = {} as Record<KernelReason, number>;
  reasons.forEach((reason, index) => {
    const perCpu = maps.get('weft_count').lookup(encodeU32(index)) ?? new Uint8Array();
    let sum = 0n;
    for (let at = 0; at < perCpu.length; at += 8) sum += decodeU64(perCpu, at);
    counts[reason] = Number(sum);
  });
  return counts;
}
