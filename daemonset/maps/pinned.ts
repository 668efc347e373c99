/** The pinned maps of one generation. */
import { join } from 'node:path';
import { BpfMap, BpfRing, NativeError } from '../../native/index.js';
import { WeftError } from '../../src/base/errors.js';
import type { MapName, RingName } from './rows.generated.js';

/** Opens maps by name at first use, and closes all of them together. */
export class PinnedMaps {
  readonly #maps = new Map<MapName, BpfMap>();
  #isClosed = false;

  /** `dir`: where the maps are pinned. The constructor opens none. */
  constructor(private readonly dir: string) {}

  /** Errors: WEFT_DATAPATH_CLOSED (another agent writes these maps), NativeError. */
  get(name: MapName): BpfMap {
    if (this.#isClosed)
      throw new WeftError(
        'WEFT_DATAPATH_CLOSED',
        `${name} is closed: another agent writes the maps of this instance now`,
      );
    let map = this.#maps.get(name);
    if (!map) {
      map = new BpfMap(join(this.dir, name));
      this.#maps.set(name, map);
    }
    return map;
  }

  /** Opens a ring buffer; the caller closes it. Error: NativeError. */
  ring(name: RingName): BpfRing {
    return new BpfRing(join(this.dir, name));
  }

  /** Closes the maps. Later calls of get() fail, also from code that still holds this object. */
  close(): void {
    this.#isClosed = true;
    for (const map of this.#maps.values()) map.close();
    this.#maps.clear();
  }
}

/** E2BIG, ENOMEM, ENOSPC. Other exhausted resources, such as descriptors (EMFILE), do not mean that the map is full. */
const fullErrnos: ReadonlySet<number> = new Set([7, 12, 28]);

/** Whether an error means that a map is full. */
export function isFull(error: unknown): boolean {
  return error instanceof NativeError && fullErrnos.has(error.errno);
}
