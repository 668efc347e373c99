/** What the kernel refused or dropped, and its counters. */
import { join } from 'node:path';
import { BpfRing } from '../../native/index.js';
import type { Datapath } from './loader.js';
import {
  decodeEvent,
  decodeU64s,
  encodeU32,
  reasons,
  type KernelEvent,
  type KernelReason,
} from './layout.js';

const eventsPerTurnMax = 256;
const turnMs = 100;

/** Hands out refusals in bounded turns; what does not fit the kernel's ring is counted there as `events-lost`. */
export function watchEvents(datapath: Datapath, onEvent: (event: KernelEvent) => void): () => void {
  const ring = new BpfRing(join(datapath.dir, 'weft_events'));
  const timer = setInterval(() => {
    for (const record of ring.drain(eventsPerTurnMax)) onEvent(decodeEvent(record));
  }, turnMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    ring.close();
  };
}

/** Counts since the programs were loaded, over all CPUs. */
export function readCounters(datapath: Datapath): Record<KernelReason, number> {
  const counts = {} as Record<KernelReason, number>;
  reasons.forEach((reason, index) => {
    const perCpu = decodeU64s(datapath.map('weft_count').lookup(encodeU32(index)) ?? new Uint8Array());
    counts[reason] = Number(perCpu.reduce((sum, value) => sum + value, 0n));
  });
  return counts;
}
