/** weft_node: figures of the node that the programs go by, one slot each (enum weft_node_slot). Only writer. */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { PinnedMaps } from './pinned.js';
import { encodeU32, encodeU64 } from './row.js';
import { nodeSlots } from './rows.generated.js';

export interface SpliceLimits {
  /** Bytes that may wait, spliced, for one reader; 0: nothing is spliced. */
  readonly spliceBytesMax: number;
  /** Bytes that TCP of the whole kernel may hold; {@link tcpBytesLow} where absent. */
  readonly spliceNodeBytesMax?: number;
  /** Whether sockets that block are spliced. */
  readonly spliceBlocking?: boolean;
}

const pageBytes = (): number =>
  Number(/^KernelPageSize:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps', 'utf8'))?.[1] ?? 4) * 1024;
/**
 * Below it the kernel does not regulate what TCP holds: the first of net.ipv4.tcp_mem as the kernel sets it by itself, which is
 * to be read in the machine's own network namespace only.
 */
const tcpBytesLow = (): number => (totalmem() / 64) * 3;

export class NodeSlots {
  constructor(private readonly maps: PinnedMaps) {}

  /** `cookie`: of the node's own network namespace. */
  setNode(cookie: bigint, limits: SpliceLimits): void {
    this.#set('cookie', cookie);
    this.#set('spliceMax', BigInt(limits.spliceBytesMax));
    this.#set('spliceBlocking', limits.spliceBlocking === true ? 1n : 0n);
    const pages = Math.floor((limits.spliceNodeBytesMax ?? tcpBytesLow()) / pageBytes());
    this.#set('splicePagesMax', BigInt(pages));
  }

  /** Until when verdicts count: nanoseconds since boot. */
  setLease(untilNs: bigint): void {
    this.#set('lease', untilNs);
  }

  /** Whether connect() is still the former build's. */
  setTakeover(on: boolean): void {
    this.#set('takeover', on ? 1n : 0n);
  }

  #set(slot: keyof typeof nodeSlots, value: bigint): void {
    this.maps.get('weft_node').update(encodeU32(nodeSlots[slot]), encodeU64(value));
  }
}
