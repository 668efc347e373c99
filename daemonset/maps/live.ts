/** weft_live: open kernel flows, by the cookie of the client's socket. The programs write; the agent reads. */
import type { BpfMap } from '../../native/index.js';
import type { Convert } from './layout.js';
import { encodeU64 } from './row.js';
import { LiveRow } from './rows.generated.js';

/** Open kernel flows of one generation. */
export interface LiveTable {
  /** All flows; `id` is the client socket's cookie. */
  entries(): { readonly id: bigint; readonly live: LiveRow }[];
  /**
   * Removes an entry whose socket never sent a SYN. Undefined if the programs do so when the socket is closed: only the programs may
   * delete entries that they count for a pod's share.
   */
  readonly remove: ((id: bigint) => void) | undefined;
}

/** `isCounted`: the programs count the entries for the pods' shares. `convert`: converts from another build's layout. */
export function liveTable(map: BpfMap, isCounted: boolean, convert: Convert = (bytes) => bytes): LiveTable {
  return {
    entries: () =>
      map.keys().flatMap((key) => {
        const bytes = map.lookup(key);
        if (!bytes) return [];
        const live = new LiveRow(convert(bytes));
        return [{ id: live.cookie[0], live }];
      }),
    remove: isCounted ? undefined : (id) => void map.remove(encodeU64(id)),
  };
}
