/** A map with several rows for each pod. What a pod's rows are is replaced as a whole. */
import type { BpfMap } from '../../native/index.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { PinnedMaps } from './pinned.js';
import { encodeU32, encodeU64 } from './row.js';
import type { MapName } from './rows.generated.js';

/** The value of a map whose keys say all. */
export const one = encodeU32(1);
export type KeyAndValue = readonly [key: Uint8Array, value: Uint8Array];

const nameOf = (key: Uint8Array): string => Buffer.from(key).toString('latin1');

/** The cookie of a pod's network namespace, as it stands at an offset of keys. */
export const hasCookieAt = (key: Uint8Array, offset: number, cookie: bigint): boolean =>
  Buffer.from(encodeU64(cookie)).equals(key.subarray(offset, offset + 8));

export abstract class PodRows {
  /** By network namespace cookie: keys of what this agent wrote. */
  readonly #written = new Map<bigint, readonly Uint8Array[]>();

  constructor(
    private readonly maps: PinnedMaps,
    private readonly name: MapName,
  ) {}

  protected abstract rowsOf(pod: NodePod, cookie: bigint): KeyAndValue[];
  protected abstract isOf(key: Uint8Array, cookie: bigint, map: BpfMap): boolean;

  /** Reads what the pod has; writes nothing. Of what is returned, `put` writes its rows, then `prune` removes all others of it. */
  replace(pod: NodePod, cookie: bigint): { put(): void; prune(): void } {
    const map = this.maps.get(this.name);
    const rows = this.rowsOf(pod, cookie);
    const before = this.#keysOf(cookie);
    return {
      put: () => {
        // Until all of it is done, only the kernel knows what the pod has: a map may become full on the way.
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

  /** Removes all rows of a pod, also those that a former life of the agent wrote. */
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
