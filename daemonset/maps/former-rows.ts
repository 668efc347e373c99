/** Copies rows of a former generation's maps to this build's maps, and removes them once this build is in charge. */
import { join } from 'node:path';
import { BpfMap, pinnedLayout, type MapLayout, type ObjectLayout } from '../../native/index.js';
import { WeftError } from '../../src/base/errors.js';
import { converter, movedEnumerators, type Convert } from './layout.js';
import type { MapName } from './rows.generated.js';

/** Maps whose rows the new generation needs: rows that the agent wrote, and counters that continue. */
const copied: readonly MapName[] = [
  'weft_pods',
  'weft_pod_addr',
  'weft_bypass_port',
  'weft_bypass_ip',
  'weft_probe',
  'weft_node',
  'weft_local',
  'weft_services',
  'weft_endpoints',
  'weft_verdicts',
  'weft_negative',
  'weft_count',
];
const arrays = new Set([2, 6]); // BPF_MAP_TYPE_ARRAY, _PERCPU_ARRAY

/** Copies rows, matching fields by name. Errors: WEFT_BPF_LAYOUT, the rows cannot be converted; NATIVE_FULL. */
export function copyRows(from: string, to: string, layout: ObjectLayout): void {
  // One object created all maps, so the types of one map are those of all.
  const moved = movedEnumerators(pinnedLayout(join(from, 'weft_node')), layout);
  if (moved.length > 0) {
    throw new WeftError(
      'WEFT_BPF_LAYOUT',
      `${moved.join(', ')} had other values in the build that created the maps in the kernel: stop the agent, then run weft cleanup`,
    );
  }
  for (const name of copied) {
    const old = pinnedLayout(join(from, name));
    const fresh = layout.maps[name] as MapLayout;
    const source = new BpfMap(join(from, name));
    const target = new BpfMap(join(to, name));
    try {
      const struct = (was: string, is: string): Convert => {
        if (is === '') return (bytes) => bytes;
        if (was === is) return converter(is, old.structs, layout.structs);
        throw new WeftError(
          'WEFT_BPF_LAYOUT',
          `${name} holds ${was || 'numbers'} in the kernel and ${is} in this build: stop the agent, then run weft cleanup`,
        );
      };
      const key = struct(old.key, fresh.key);
      const value = struct(old.value, fresh.value);
      for (const stale of arrays.has(target.info.type) ? [] : target.keys()) target.remove(stale);
      const rows = source.keys().flatMap((bytes): [Uint8Array, Uint8Array][] => {
        const found = source.lookup(bytes);
        return found ? [[key(bytes), value(found)]] : [];
      });
      target.updateBatch(arrays.has(target.info.type) ? rows.slice(0, target.info.maxEntries) : rows);
    } finally {
      source.close();
      target.close();
    }
  }
}

/** Maps whose rows make a generation take part in new connections. */
const involving: readonly MapName[] = ['weft_pods', 'weft_probe', 'weft_local'];

/** Takes a former generation out of new connections. Its kernel flows continue. */
export function removePodRows(dir: string): void {
  for (const name of involving) {
    const map = new BpfMap(join(dir, name));
    for (const key of map.keys()) map.remove(key);
    map.close();
  }
}
