/** What the kernel refused or dropped, and its counters. */
import { join } from 'node:path';
import { BpfRing } from '../../native/index.js';
import { flowsPerTurnMax } from '../datapath/generations.js';
import type { Datapath } from '../datapath/loader.js';
import { FlowReader } from './flows.js';
import {
  decodeEvent,
  decodeU64s,
  encodeU32,
  reasons,
  type KernelEvent,
  type KernelReason,
} from '../datapath/layout.js';

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

const flowTurnMs = 50;

/** Beginnings and ends of connections that the kernel carries; what a full ring lost is counted as `events-lost`. */
export function watchFlows(datapath: Datapath, onFlows: (flows: FlowReader) => void): () => void {
  const ring = new BpfRing(join(datapath.dir, 'weft_flows'));
  const drain = (): void => {
    const packed = ring.drainPacked(flowsPerTurnMax, FlowReader.recordSize);
    if (packed.length > 0) onFlows(new FlowReader(packed));
    datapath.drainFormer(onFlows);
  };
  const timer = setInterval(drain, flowTurnMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    drain();
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
