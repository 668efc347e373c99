/** weft_listeners: the agent's listeners in pods, to which sk_lookup steers connections. Only writer. */
import type { PinnedMaps } from './pinned.js';
import { encodeU64 } from './row.js';
import { ListenerKey, listeners } from './rows.generated.js';

export type ListenerKind = keyof typeof listeners;

export class ListenerTable {
  constructor(private readonly maps: PinnedMaps) {}

  /** Replaces a listening socket atomically. The kernel removes a socket from the map when it closes. */
  put(cookie: bigint, kind: ListenerKind, fd: number): void {
    this.maps
      .get('weft_listeners')
      .update(ListenerKey.encode({ cookie, listener: listeners[kind] }), encodeU64(BigInt(fd)));
  }

  /** Whether a listening socket is in the map. */
  has(cookie: bigint, kind: ListenerKind): boolean {
    const key = ListenerKey.encode({ cookie, listener: listeners[kind] });
    return this.maps.get('weft_listeners').lookup(key) !== undefined;
  }
}
