/** A map with several rows per pod. The rows of a pod are replaced as a whole. */
import type { BpfMap } from '../../native/index.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { PinnedMaps } from './pinned.js';
import { encodeU32, encodeU64 } from './row.js';
import type { MapName } from './rows.generated.js';

/** The value of maps that are sets of keys. */
export const one = encodeU32(1);
export type KeyAndValue = readonly [key: Uint8Array, value: Uint8Array];

const nameOf = (key: Uint8Array): string => Buffer.from(key).toString('latin1');

/** Whether a key has the cookie of a network namespace at an offset. */
export const hasCookieAt = (key: Uint8Array, offset: number, cookie: bigint): boolean =>
  Buffer.from(encodeU64(cookie)).equals(key.subarray(offset, offset + 8));

export abstract class PodRows {
  /** By network namespace cookie: keys that this agent wrote. */
  readonly #written = new Map<bigint, readonly Uint8Array[]>();

  constructor(
    private readonly maps: PinnedMaps,
    private readonly name: MapName,
  ) {}

  protected abstract rowsOf(pod: NodePod, cookie: bigint): KeyAndValue[];
  protected abstract isOf(key: Uint8Array, cookie: bigint, map: BpfMap): boolean;

  /** Reads the pod's current keys and writes nothing. The returned `put` writes the pod's rows; then `prune` removes its other rows. */
  replace(pod: NodePod, cookie: bigint): { put(): void; prune(): void } {
    const map = this.maps.get(this.name);
    const rows = this.rowsOf(pod, cookie);
    const before = this.#keysOf(cookie);
    return {
      put: () => {
        // The map may become full midway, so the pod's keys are unknown until all rows are written; they are read from the map then.
        this.#written.delete(cookie);
        for (const [key, value] of rows) map.update(key, value);
      },
      prune: () => {
        const kept = new Set(rows.map(([key]) => nameOf(key)));
        for (const key of before) if (!kept.has(nameOf(key))) map.remove(key);
        this.#written.set(
          cookie,
          rows.map(([key]) => key),
        );
      },
    };
  }

  /** Removes all rows of a pod, including those of a previous agent. */
  remove(cookie: bigint): void {
    const map = this.maps.get(this.name);
    for (const key of this.#keysOf(cookie)) map.remove(key);
    this.#written.delete(cookie);
  }

  #keysOf(cookie: bigint): readonly Uint8Array[] {
    const map = this.maps.get(this.name);
    return this.#written.get(cookie) ?? map.keys().filter((key) => this.isOf(key, cookie, map));
  }
}
