/**
 * weft_notes: handoff records, from the source pod's programs to the destination pod's sk_lookup (bpf/lib/handoff.h). The programs
 * write them; the agent removes records that no program would remove.
 */
import type { PinnedMaps } from './pinned.js';
import { HandoffKey, HandoffRow, handoffKinds } from './rows.generated.js';

export class HandoffTable {
  constructor(private readonly maps: PinnedMaps) {}

  /**
   * Removes handoff records of probes from the node to pods that are not in `present` (cookies), since no pod would consume them. Records
   * that count for a pod's share are not touched: the programs remove and uncount them when their sockets close, and all sockets of a
   * network namespace close before the namespace ends.
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
