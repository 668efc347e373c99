/** The share of weft_verdicts that one source pod may use. */
import { decodeVerdictKey, encodeVerdict, encodeVerdictKey } from '../datapath/layout.js';

/** Of one source pod, of the table's 131072. A pod that dials more ports than this replaces its own oldest verdicts. */
export const verdictsPerPodMax = 2048;

/** The part of BpfMap that is used. */
export interface VerdictTable {
  keys(): Uint8Array[];
  update(key: Uint8Array, value: Uint8Array): void;
  remove(key: Uint8Array): boolean;
}

/**
 * The table is an LRU over all pods: a pod that dials thousands of ports of a permissive peer would push out every other
 * pod's verdicts. So this keeps, for each source, the keys in the order they were written. Sole writer of weft_verdicts.
 */
export class VerdictShare {
  readonly #bySource = new Map<bigint, Map<string, Uint8Array>>();
  readonly #table: VerdictTable;
  readonly #max: number;
  readonly #onLimit: () => void;

  /** Takes over what a former life of the agent has written. */
  constructor(table: VerdictTable, onLimit: () => void, max = verdictsPerPodMax) {
    this.#table = table;
    this.#onLimit = onLimit;
    this.#max = max;
    for (const key of table.keys()) this.#remember(decodeVerdictKey(key).source, key);
  }

  /** Verdicts of one source pod, by network namespace cookie. */
  size(source: bigint): number {
    return this.#bySource.get(source)?.size ?? 0;
  }

  /** Writes an allow verdict; at the limit the same source's oldest goes. Throws NativeError. */
  allow(source: bigint, destination: bigint, port: number, epoch: bigint): void {
    const key = encodeVerdictKey(source, destination, port);
    this.#table.update(key, encodeVerdict(epoch));
    this.#remember(source, key);
  }

  /** A pod has left: nothing stays that it is the source or the destination of. */
  forget(cookie: bigint): void {
    for (const key of this.#bySource.get(cookie)?.values() ?? []) this.#table.remove(key);
    this.#bySource.delete(cookie);
    for (const [source, keys] of this.#bySource) {
      for (const [name, key] of keys) {
        if (decodeVerdictKey(key).destination !== cookie) continue;
        this.#table.remove(key);
        keys.delete(name);
      }
      if (keys.size === 0) this.#bySource.delete(source);
    }
  }

  #remember(source: bigint, key: Uint8Array): void {
    const keys = this.#bySource.get(source) ?? new Map<string, Uint8Array>();
    this.#bySource.set(source, keys);
    const name = Buffer.from(key).toString('latin1');
    // To the end: the order is that of the last writing.
    keys.delete(name);
    keys.set(name, key.slice());
    while (keys.size > this.#max) {
      const [oldest, oldKey] = keys.entries().next().value as [string, Uint8Array];
      keys.delete(oldest);
      this.#table.remove(oldKey);
      this.#onLimit();
    }
  }
}
