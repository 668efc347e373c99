/**
 * weft_notes: handoff records, by which the source's kernel tells the destination's what a connection is (bpf/lib/handoff.h). The
 * programs write them; the agent removes those that no program would.
 */
import type { PinnedMaps } from './pinned.js';
import { HandoffKey, HandoffRow, handoffKinds } from './rows.generated.js';

export class HandoffTable {
  constructor(private readonly maps: PinnedMaps) {}

  /**
   * Removes the records of node probes toward pods that are not among `present` (cookies): they have no other end. Records that count
   * for a pod's share are not touched: the kernel removes and uncounts them when their sockets close, which every socket of a
   * namespace does before the namespace ends.
   */
  removeProbesOfOthers(present: ReadonlySet<bigint>): void {
    const map = this.maps.get('weft_notes');
    for (const key of map.keys()) {
      if (present.has(new HandoffKey(key).cookie)) continue;
      const record = map.lookup(key);
      if (record && new HandoffRow(record).kind === handoffKinds.probe) map.remove(key);
    }
  }
}
