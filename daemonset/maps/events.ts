/** weft_events: what the kernel refused or dropped, as the programs report it. */
import type { IpAddress } from '../../src/model/address.js';
import type { KernelReason } from './count.js';
import type { PinnedMaps } from './pinned.js';
import { EventRow, reasons } from './rows.generated.js';

const eventsPerTurnMax = 256;
const turnMs = 100;

export interface KernelEvent {
  /** Of the pod's network namespace. */
  readonly cookie: bigint;
  readonly saddr: IpAddress;
  readonly sport: number;
  readonly daddr: IpAddress;
  readonly dport: number;
  readonly reason: KernelReason | 'unknown';
}

export function decodeEvent(bytes: Uint8Array): KernelEvent {
  const { cookie, saddr, daddr, sport, dport, reason } = new EventRow(bytes);
  return { cookie, saddr, daddr, sport, dport, reason: reasons[reason] ?? 'unknown' };
}

/** Hands out events in bounded turns; what does not fit the kernel's ring is counted there as `events-lost`. */
export function watchEvents(maps: PinnedMaps, onEvent: (event: KernelEvent) => void): () => void {
  const ring = maps.ring('weft_events');
  const timer = setInterval(() => {
    for (const record of ring.drain(eventsPerTurnMax)) onEvent(decodeEvent(record));
  }, turnMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    ring.close();
  };
}
