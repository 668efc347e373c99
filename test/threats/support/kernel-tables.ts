/** Counts rows of one pod in an agent's maps, read as bytes: other tests compare the layouts. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Datapath } from '../../../daemonset/datapath/loader.js';
import { encodeU64 } from '../../../daemonset/maps/row.js';
import { structs } from '../../../daemonset/maps/rows.generated.js';
import { BpfMap } from '../../../native/index.js';

const hashes = new Set([1, 9, 11]); // BPF_MAP_TYPE_HASH, _LRU_HASH, _LPM_TRIE

/** The offset of the source's network namespace cookie in the key or value of each map. */
const sources = {
  weft_notes: ['value', structs.weft_note[1].source[0]],
  weft_live: ['value', structs.weft_live[1].source[0]],
  weft_verdicts: ['key', structs.weft_verdict_key[1].source[0]],
} as const;

/** Number of rows of a map whose source is this network namespace cookie. */
export function countOfSource(instance: string, table: keyof typeof sources, cookie: bigint): number {
  const map = new BpfMap(join(new Datapath(instance).dir, table));
  const [where, offset] = sources[table];
  const mark = Buffer.from(encodeU64(cookie));
  try {
    return map.keys().filter((key) => {
      const bytes = where === 'key' ? key : map.lookup(key);
      return bytes !== undefined && mark.equals(bytes.subarray(offset, offset + 8));
    }).length;
  } finally {
    map.close();
  }
}

/** Names of the maps that contain the cookie, one per key or value that contains it. */
export function tablesNaming(instance: string, cookie: bigint): string[] {
  const { dir } = new Datapath(instance);
  const mark = Buffer.from(encodeU64(cookie));
  const names = (bytes: Uint8Array): boolean => {
    for (let at = 0; at + 8 <= bytes.length; at += 4)
      if (mark.equals(bytes.subarray(at, at + 8))) return true;
    return false;
  };
  return readdirSync(dir, { withFileTypes: true })
    .filter(
      (entry) => !entry.isDirectory() && !['weft_events', 'weft_flows', 'weft_sock'].includes(entry.name),
    )
    .flatMap(({ name }) => {
      const map = new BpfMap(join(dir, name));
      try {
        if (!hashes.has(map.info.type)) return [];
        return map.keys().flatMap((key) => (names(key) || names(map.lookup(key) ?? key) ? [name] : []));
      } finally {
        map.close();
      }
    });
}
