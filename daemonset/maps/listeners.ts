/** weft_listeners: the agent's listeners in pods, to which arrivals are steered. Only writer. */
import type { PinnedMaps } from './pinned.js';
import { encodeU64 } from './row.js';
import { ListenerKey, listeners } from './rows.generated.js';

export type ListenerKind = keyof typeof listeners;

export class ListenerTable {
  constructor(private readonly maps: PinnedMaps) {}

  /** Puts a listening socket in the place of the one before, in one step. The kernel takes a socket out when it closes. */
  put(cookie: bigint, kind: ListenerKind, fd: number): void {
    this.maps
      .get('weft_listeners')
      .update(ListenerKey.encode({ cookie, listener: listeners[kind] }), encodeU64(BigInt(fd)));
  }
}
