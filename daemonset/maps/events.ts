/** weft_events: refused and dropped connections, reported by the programs. */
import type { IpAddress } from '../../src/model/address.js';
import type { KernelReason } from './count.js';
import type { PinnedMaps } from './pinned.js';
import { poll } from './poll.js';
import { EventRow, reasons } from './rows.generated.js';

const eventsPerTurnMax = 256;
const turnMs = 100;

export interface KernelEvent {
  /** Cookie of the pod's network namespace. */
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

/**
 * Polls the ring and passes on at most 256 events every 100 ms (poll.ts), until the returned function is called. The programs count events that do
 * not fit the ring as `events-lost`.
 *
 * The programs do not wake the agent, and after a rest the ring waits for up to 400 ms. It holds 4095 events: the whole shares (64 in 1.07 s)
 * of 63 pods. So only a burst of refusals in more pods than that at once, each at 160 a second, fills it before the first turn. Turns every
 * 100 ms would have passed on 768 events by then, and lost the rest of such a burst, too. Events that are lost have no line in the log. The
 * connections are refused and counted by their reasons all the same.
 */
export function watchEvents(maps: PinnedMaps, onEvent: (event: KernelEvent) => void): () => void {
  const ring = maps.ring('weft_events');
  const stop = poll(() => {
    const records = ring.drain(eventsPerTurnMax);
    for (const record of records) onEvent(decodeEvent(record));
    return records.length > 0;
  }, turnMs);
  return () => {
    stop();
    ring.close();
  };
}
