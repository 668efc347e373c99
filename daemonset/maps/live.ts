/** weft_live: connections that the kernel carries, by the cookie of the client's socket. The programs write; the agent reads. */
import type { BpfMap } from '../../native/index.js';
import type { Convert } from './layout.js';
import { encodeU64 } from './row.js';
import { LiveRow } from './rows.generated.js';

/** Connections that the kernel carries, of one generation. */
export interface LiveTable {
  /** Each with its key. */
  entries(): { readonly id: bigint; readonly live: LiveRow }[];
  /**
   * Takes out an entry whose socket never sent a SYN. Undefined where the kernel does so itself when the socket is closed: what
   * it counts for a pod's share is deleted by nobody else.
   */
  readonly remove: ((id: bigint) => void) | undefined;
}

/** `isCounted`: the kernel counts its entries for the pods' shares. `convert`: from another build's layout. */
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
