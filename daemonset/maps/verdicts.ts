/** weft_verdicts: verdicts that allow kernel flows, and the limit per source pod. Only writer. */
import { VerdictKey, VerdictRow, actions } from './rows.generated.js';

/** Maximum verdicts of one source pod, of the map's 131072. A pod that dials more ports replaces its own oldest verdicts. */
const verdictsPerPodMax = 2048;

/** The methods of BpfMap that are used here. */
export interface VerdictMap {
  keys(): Uint8Array[];
  lookup(key: Uint8Array): Uint8Array | undefined;
  update(key: Uint8Array, value: Uint8Array): void;
  remove(key: Uint8Array): boolean;
}

/** An allow verdict. Pods are given by their network namespace cookies. */
export interface Verdict {
  readonly source: bigint;
  readonly destination: bigint;
  readonly port: number;
  /** The verdict is valid while the destination is at this epoch. */
  readonly epoch: bigint;
}

/**
 * Limits the verdicts per source pod. The map is an LRU over all pods: a pod that dials thousands of ports of a permissive peer would
 * evict the verdicts of all other pods. So the table keeps each source's keys in the order they were written.
 */
export class VerdictTable {
  readonly #open: () => VerdictMap;
  readonly #max: number;
  readonly #onLimit: () => void;
  #keys: Map<bigint, Map<string, Uint8Array>> | undefined;

  /**
   * `open`: called at first use, since the map does not exist before the datapath starts. `onLimit`: called when a source pod's oldest
   * verdict is removed because of `max`.
   */
  constructor(open: () => VerdictMap, onLimit: () => void, max = verdictsPerPodMax) {
    this.#open = open;
    this.#onLimit = onLimit;
    this.#max = max;
  }

  /** Number of verdicts of one source pod (network namespace cookie). */
  size(source: bigint): number {
    return this.#bySource.get(source)?.size ?? 0;
  }

  /** All verdicts in the kernel, including those of a previous agent. */
  *entries(): Iterable<Verdict> {
    const map = this.#open();
    for (const bytes of map.keys()) {
      const value = map.lookup(bytes);
      if (!value) continue;
      const { source, destination, port } = new VerdictKey(bytes);
      yield { source, destination, port, epoch: new VerdictRow(value).epoch };
    }
  }

  /** Writes an allow verdict; at the limit the same source's oldest is removed. Error: NativeError. */
  allow({ source, destination, port, epoch }: Verdict): void {
    const keys = this.#bySource;
    const key = VerdictKey.encode({ source, destination, port });
    this.#open().update(key, VerdictRow.encode({ epoch, action: actions.allow }));
    this.#remember(keys, source, key);
  }

  /** Removes all verdicts of which a pod is the source or the destination. Error: NativeError. */
  forget(cookie: bigint): void {
    const map = this.#open();
    for (const key of this.#bySource.get(cookie)?.values() ?? []) map.remove(key);
    this.#bySource.delete(cookie);
    for (const [source, keys] of this.#bySource) {
      for (const [name, key] of keys) {
        if (new VerdictKey(key).destination !== cookie) continue;
        map.remove(key);
        keys.delete(name);
      }
      if (keys.size === 0) this.#bySource.delete(source);
    }
  }

  /** Keys by source, in the order of their last write; initially those that a previous agent wrote. */
  get #bySource(): Map<bigint, Map<string, Uint8Array>> {
    if (this.#keys) return this.#keys;
    const found = new Map<bigint, Map<string, Uint8Array>>();
    for (const key of this.#open().keys()) this.#remember(found, new VerdictKey(key).source, key);
    return (this.#keys = found);
  }

  #remember(bySource: Map<bigint, Map<string, Uint8Array>>, source: bigint, key: Uint8Array): void {
    const keys = bySource.get(source) ?? new Map<string, Uint8Array>();
    bySource.set(source, keys);
    const name = Buffer.from(key).toString('latin1');
    // Moved to the end: the order is that of the last write.
    keys.delete(name);
    keys.set(name, key.slice());
    while (keys.size > this.#max) {
      const [oldest, oldKey] = keys.entries().next().value as [string, Uint8Array];
      keys.delete(oldest);
      this.#open().remove(oldKey);
      this.#onLimit();
    }
  }
}
