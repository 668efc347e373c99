/** The maps of one generation, as they are pinned in the BPF file system. */
import { join } from 'node:path';
import { BpfMap, BpfRing, NativeError } from '../../native/index.js';
import { WeftError } from '../../src/base/errors.js';
import type { MapName, RingName } from './rows.generated.js';

/** Opens maps by name at their first use, and closes all of them together. */
export class PinnedMaps {
  readonly #maps = new Map<MapName, BpfMap>();
  #isClosed = false;

  /** `dir`: where the maps are pinned. Nothing is opened. */
  constructor(private readonly dir: string) {}

  /** Errors: WEFT_DATAPATH_CLOSED (another agent writes these maps), NativeError. */
  get(name: MapName): BpfMap {
    if (this.#isClosed)
      throw new WeftError('WEFT_DATAPATH_CLOSED', `${name} is not this agent's to use any more`);
    let map = this.#maps.get(name);
    if (!map) {
      map = new BpfMap(join(this.dir, name));
      this.#maps.set(name, map);
    }
    return map;
  }

  /** The caller closes it. Errors: NativeError. */
  ring(name: RingName): BpfRing {
    return new BpfRing(join(this.dir, name));
  }

  /** From now on nothing is written through this object, whoever still holds it. */
  close(): void {
    this.#isClosed = true;
    for (const map of this.#maps.values()) map.close();
    this.#maps.clear();
  }
}

/** E2BIG, ENOMEM, ENOSPC: not what else a process may lack, which says nothing of the map. */
const fullErrnos: ReadonlySet<number> = new Set([7, 12, 28]);

/** Whether a map took no further row. */
export function isFull(error: unknown): boolean {
  return error instanceof NativeError && fullErrnos.has(error.errno);
}
