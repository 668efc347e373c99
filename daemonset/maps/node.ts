/**
 * weft_node: node-wide settings of the programs, one slot each (enum weft_node_slot). Only writer, except that the programs count in
 * `requests`.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { PinnedMaps } from './pinned.js';
import { decodeU64, encodeU32, encodeU64 } from './row.js';
import { nodeSlots } from './rows.generated.js';

export interface SpliceLimits {
  /** Maximum spliced bytes queued for one reader; 0: splicing is off. */
  readonly spliceBytesMax: number;
  /** Bytes of TCP memory, kernel-wide, above which nothing is spliced. Default: {@link tcpBytesLow}. */
  readonly spliceNodeBytesMax?: number;
  /** Whether blocking sockets are spliced. */
  readonly spliceBlocking?: boolean;
}

const pageBytes = (): number =>
  Number(/^KernelPageSize:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps', 'utf8'))?.[1] ?? 4) * 1024;
/**
 * The first value of net.ipv4.tcp_mem by the kernel's own formula: below it the kernel does not regulate TCP memory. It is computed, since
 * the sysctl can be read only in the machine's own network namespace.
 */
const tcpBytesLow = (): number => (totalmem() / 64) * 3;

export class NodeSlots {
  constructor(private readonly maps: PinnedMaps) {}

  /** `cookie`: cookie of the node's own network namespace. */
  setNode(cookie: bigint, limits: SpliceLimits): void {
    this.#set('cookie', cookie);
    this.#set('spliceMax', BigInt(limits.spliceBytesMax));
    this.#set('spliceBlocking', limits.spliceBlocking === true ? 1n : 0n);
    const pages = Math.floor((limits.spliceNodeBytesMax ?? tcpBytesLow()) / pageBytes());
    this.#set('splicePagesMax', BigInt(pages));
  }

  /** Verdicts are valid until `untilNs`, in nanoseconds since boot. */
  setLease(untilNs: bigint): void {
    this.#set('lease', untilNs);
  }

  /** Whether the former build's programs still handle connect(). */
  setTakeover(on: boolean): void {
    this.#set('takeover', on ? 1n : 0n);
  }

  /** All entries of weft_requests were taken out: each pod may make as many again. */
  setRequestsTaken(): void {
    const before = this.maps.get('weft_node').lookup(encodeU32(nodeSlots.requests));
    const turns = (before ? decodeU64(before) : 0n) >> 32n;
    this.#set('requests', BigInt.asUintN(32, turns + 1n) << 32n);
  }

  #set(slot: keyof typeof nodeSlots, value: bigint): void {
    this.maps.get('weft_node').update(encodeU32(nodeSlots[slot]), encodeU64(value));
  }
}
