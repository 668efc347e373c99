/** weft_shares: each pod's use of the shared maps. The programs count; the agent removes the rows of deleted pods. */
import type { PinnedMaps } from './pinned.js';
import { decodeU64 } from './row.js';
import { ShareRow } from './rows.generated.js';

export class ShareTable {
  constructor(private readonly maps: PinnedMaps) {}

  /** Removes rows of pods that are not in `present` (cookies), once their counts are zero. */
  removeUnusedOfOthers(present: ReadonlySet<bigint>): void {
    const map = this.maps.get('weft_shares');
    for (const key of map.keys()) {
      if (present.has(decodeU64(key))) continue;
      const bytes = map.lookup(key);
      if (!bytes) continue;
      const { notes: handoffs, live } = new ShareRow(bytes);
      // Without a row in weft_pods the programs count nothing more for the pod: zero stays zero.
      if (handoffs === 0 && live === 0) map.remove(key);
    }
  }
}
