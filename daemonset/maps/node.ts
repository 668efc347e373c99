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

/**
 * The slot `requests` of the next turn. Entries that were made while others were taken out are still there, so they count in it: otherwise
 * pods that make theirs in that moment could fill the map. Pure.
 */
export function nextRequestsTurn(before: bigint, now: bigint): bigint {
  const left = now >> 32n === before >> 32n && now > before ? now - before : 0n;
  return (BigInt.asUintN(32, (now >> 32n) + 1n) << 32n) | left;
}

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

  /** The slot `requests`: turns, and entries of weft_requests that were made in this one. */
  requests(): bigint {
    const value = this.maps.get('weft_node').lookup(encodeU32(nodeSlots.requests));
    return value ? decodeU64(value) : 0n;
  }

  /** All entries of weft_requests were taken out that were there at `before`: each pod may make as many again. */
  setRequestsTaken(before: bigint): void {
    this.#set('requests', nextRequestsTurn(before, this.requests()));
  }

  #set(slot: keyof typeof nodeSlots, value: bigint): void {
    this.maps.get('weft_node').update(encodeU32(nodeSlots[slot]), encodeU64(value));
  }
}
