/** weft_shares: what each pod holds of the tables that all pods share. The programs count; the agent removes rows of pods that are gone. */
import type { PinnedMaps } from './pinned.js';
import { decodeU64 } from './row.js';
import { ShareRow } from './rows.generated.js';

export class ShareTable {
  constructor(private readonly maps: PinnedMaps) {}

  /** Removes rows of pods that are not among `present` (cookies), once nothing is counted in them. */
  removeUnusedOfOthers(present: ReadonlySet<bigint>): void {
    const map = this.maps.get('weft_shares');
    for (const key of map.keys()) {
      if (present.has(decodeU64(key))) continue;
      const bytes = map.lookup(key);
      if (!bytes) continue;
      const { notes: handoffs, live } = new ShareRow(bytes);
      // Without a row in weft_pods nothing is counted any more: zero stays zero.
      if (handoffs === 0 && live === 0) map.remove(key);
    }
  }
}
