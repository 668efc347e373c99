/**
 * bpf/lib/abi.h as TypeScript sees it. test/bpf/layout.test.ts compares every struct and enum here with the BTF of the
 * built objects, so that the two can never drift apart unseen.
 */
import { endianness } from 'node:os';
import type { IpAddress } from '../../src/model/address.js';
import { ipFromBytes, ipTo16 } from '../../src/model/address.js';

/** struct name -> [size, {field: [offset, size]}], bytes. */
export const structs = {
  weft_pod: [40, { ip4: [0, 16], ip6: [16, 16], flags: [32, 4], generation: [36, 4] }],
  weft_pod_addr_key: [24, { cookie: [0, 8], ip: [8, 16] }],
  weft_bypass_port_key: [16, { cookie: [0, 8], port: [8, 2], direction: [10, 2], pad: [12, 4] }],
  weft_bypass_ip_key: [28, { prefix_length: [0, 4], cookie: [4, 8], ip: [12, 16] }],
  weft_probe_key: [24, { ip: [0, 16], port: [16, 2], pad: [18, 6] }],
  weft_listener_key: [16, { cookie: [0, 8], listener: [8, 4], pad: [12, 4] }],
  weft_sock: [24, { ip: [0, 16], port: [16, 2], pad: [18, 2], kind: [20, 4] }],
  weft_note_key: [
    48,
    { cookie: [0, 8], saddr: [8, 16], daddr: [24, 16], sport: [40, 2], dport: [42, 2], pad: [44, 4] },
  ],
  weft_note: [
    40,
    { ip: [0, 16], port: [16, 2], pad: [18, 2], kind: [20, 4], source: [24, 8], epoch: [32, 8] },
  ],
  weft_negative_key: [32, { cookie: [0, 8], ip: [8, 16], port: [24, 2], pad: [26, 6] }],
  weft_event: [
    56,
    {
      time: [0, 8],
      cookie: [8, 8],
      saddr: [16, 16],
      daddr: [32, 16],
      sport: [48, 2],
      dport: [50, 2],
      reason: [52, 4],
    },
  ],
} as const;

/** enum weft_reason, by value. docs/explain.md says each in words. */
export const reasons = [
  'captured',
  'left-own-address',
  'left-excluded',
  'refused-no-agent',
  'left-no-agent',
  'refused-no-family',
  'refused-negative',
  'refused-mptcp',
  'refused-storage',
  'notes-full',
  'in-outbound',
  'in-hbone',
  'in-plain',
  'in-noted',
  'in-excluded',
  'dropped-no-listener',
  'dropped-agent-port',
  'events-lost',
] as const;
export type KernelReason = (typeof reasons)[number];

export const ports = { outbound: 15001, inbound: 15006, hbone: 15008, dns: 15053 } as const;
export const listeners = { outbound: 1, inbound: 2, hbone: 3 } as const;
export type ListenerKind = keyof typeof listeners;
export const podFlags = { plaintextWithoutAgent: 1, capture: 2 } as const;
export const sockKinds = { none: 0, captured: 1, own: 2, accepted: 3 } as const;
export const noteKinds = { captured: 1, own: 2, self: 3, probe: 4, verdict: 5 } as const;

const little = endianness() === 'LE';
type Struct = keyof typeof structs;

/** Writes one struct; numbers in host order, except those given as bytes. */
class Writer {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fields: Readonly<Record<string, readonly [number, number]>>;

  constructor(struct: Struct) {
    this.bytes = new Uint8Array(structs[struct][0]);
    this.#view = new DataView(this.bytes.buffer);
    this.#fields = structs[struct][1];
  }
  #at(field: string): number {
    return (this.#fields[field] as readonly [number, number])[0];
  }
  u64(field: string, value: bigint): this {
    this.#view.setBigUint64(this.#at(field), value, little);
    return this;
  }
  u32(field: string, value: number): this {
    this.#view.setUint32(this.#at(field), value, little);
    return this;
  }
  u16(field: string, value: number): this {
    this.#view.setUint16(this.#at(field), value, little);
    return this;
  }
  be16(field: string, value: number): this {
    this.#view.setUint16(this.#at(field), value, false);
    return this;
  }
  ip(field: string, value: IpAddress | undefined): this {
    if (value !== undefined) this.bytes.set(ipTo16(value), this.#at(field));
    return this;
  }
}

export interface PodEntry {
  readonly ip4: IpAddress | undefined;
  readonly ip6: IpAddress | undefined;
  readonly flags: number;
  readonly generation: number;
}

export function encodePod(pod: PodEntry): Uint8Array {
  return new Writer('weft_pod')
    .ip('ip4', pod.ip4)
    .ip('ip6', pod.ip6)
    .u32('flags', pod.flags)
    .u32('generation', pod.generation).bytes;
}
export function encodeU64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, little);
  return bytes;
}
export function encodeU32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, little);
  return bytes;
}
export function decodeU64s(bytes: Uint8Array): bigint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength / 8 }, (_, i) => view.getBigUint64(i * 8, little));
}
export function encodePodAddrKey(cookie: bigint, ip: IpAddress): Uint8Array {
  return new Writer('weft_pod_addr_key').u64('cookie', cookie).ip('ip', ip).bytes;
}
export function encodeBypassPortKey(
  cookie: bigint,
  port: number,
  direction: 'outbound' | 'inbound',
): Uint8Array {
  return new Writer('weft_bypass_port_key')
    .u64('cookie', cookie)
    .u16('port', port)
    .u16('direction', direction === 'outbound' ? 0 : 1).bytes;
}
/** The prefix counts the cookie's 64 bits, and v4's 96 bits of mapping, too. */
export function encodeBypassIpKey(cookie: bigint, ip: IpAddress, prefixLength: number): Uint8Array {
  return new Writer('weft_bypass_ip_key')
    .u32('prefix_length', 64 + (ip.includes(':') ? 0 : 96) + prefixLength)
    .u64('cookie', cookie)
    .ip('ip', ip).bytes;
}
export function encodeProbeKey(ip: IpAddress, port: number): Uint8Array {
  return new Writer('weft_probe_key').ip('ip', ip).u16('port', port).bytes;
}
export function encodeListenerKey(cookie: bigint, kind: ListenerKind): Uint8Array {
  return new Writer('weft_listener_key').u64('cookie', cookie).u32('listener', listeners[kind]).bytes;
}
/** Marks a socket as the agent's, before it connects; `client` is whom it speaks for. */
export function encodeOwnSock(client: { ip: IpAddress; port: number } | undefined): Uint8Array {
  return new Writer('weft_sock')
    .ip('ip', client?.ip)
    .be16('port', client?.port ?? 0)
    .u32('kind', sockKinds.own).bytes;
}
export interface Tuple {
  readonly saddr: IpAddress;
  readonly sport: number;
  readonly daddr: IpAddress;
  readonly dport: number;
}
export function encodeNoteKey(cookie: bigint, tuple: Tuple): Uint8Array {
  return new Writer('weft_note_key')
    .u64('cookie', cookie)
    .ip('saddr', tuple.saddr)
    .ip('daddr', tuple.daddr)
    .be16('sport', tuple.sport)
    .be16('dport', tuple.dport).bytes;
}
export function decodeNote(bytes: Uint8Array): { ip: IpAddress; port: number; kind: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    ip: ipFromBytes(bytes.subarray(0, 16)),
    port: view.getUint16(16, false),
    kind: view.getUint32(20, little),
  };
}
export function encodeNegativeKey(cookie: bigint, ip: IpAddress, port: number): Uint8Array {
  return new Writer('weft_negative_key').u64('cookie', cookie).ip('ip', ip).be16('port', port).bytes;
}

export interface KernelEvent {
  readonly cookie: bigint;
  readonly saddr: IpAddress;
  readonly sport: number;
  readonly daddr: IpAddress;
  readonly dport: number;
  readonly reason: KernelReason | 'unknown';
}
export function decodeEvent(bytes: Uint8Array): KernelEvent {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    cookie: view.getBigUint64(8, little),
    saddr: ipFromBytes(bytes.subarray(16, 32)),
    daddr: ipFromBytes(bytes.subarray(32, 48)),
    sport: view.getUint16(48, little),
    dport: view.getUint16(50, little),
    reason: reasons[view.getUint32(52, little)] ?? 'unknown',
  };
}
