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
  weft_sock: [
    56,
    {
      ip: [0, 16],
      port: [16, 2],
      chosen_port: [18, 2],
      kind: [20, 4],
      chosen: [24, 16],
      live: [40, 8],
      flags: [48, 4],
      pad: [52, 4],
    },
  ],
  weft_note_key: [
    48,
    { cookie: [0, 8], saddr: [8, 16], daddr: [24, 16], sport: [40, 2], dport: [42, 2], pad: [44, 4] },
  ],
  weft_note: [
    64,
    {
      ip: [0, 16],
      port: [16, 2],
      chosen_port: [18, 2],
      kind: [20, 4],
      chosen: [24, 16],
      source: [40, 8],
      epoch: [48, 8],
      live: [56, 8],
    },
  ],
  weft_local: [24, { cookie: [0, 8], epoch: [8, 8], flags: [16, 4], pad: [20, 4] }],
  weft_verdict_key: [24, { source: [0, 8], destination: [8, 8], port: [16, 2], pad: [18, 6] }],
  weft_verdict: [16, { epoch: [0, 8], action: [8, 4], pad: [12, 4] }],
  weft_service_key: [20, { ip: [0, 16], port: [16, 2], pad: [18, 2] }],
  weft_service: [12, { id: [0, 4], count: [4, 4], flags: [8, 4] }],
  weft_endpoint_key: [8, { id: [0, 4], index: [4, 4] }],
  weft_endpoint: [20, { ip: [0, 16], port: [16, 2], pad: [18, 2] }],
  weft_live: [
    168,
    {
      source: [0, 8],
      destination: [8, 8],
      saddr: [16, 16],
      daddr: [32, 16],
      dialled: [48, 16],
      dport: [64, 2],
      dialled_port: [66, 2],
      sport: [68, 2],
      pad: [70, 2],
      flags: [72, 4],
      pad2: [76, 4],
      epoch: [80, 8],
      started: [88, 8],
      bytes: [96, 16],
      spliced: [112, 16],
      sock: [128, 16],
      cookie: [144, 16],
      base: [160, 8],
    },
  ],
  weft_share: [16, { notes: [0, 4], live: [4, 4], events: [8, 4], window: [12, 4] }],
  weft_flow: [176, { time: [0, 8], live: [8, 168] }],
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

export type MapName =
  | 'weft_pods'
  | 'weft_pod_addr'
  | 'weft_bypass_port'
  | 'weft_bypass_ip'
  | 'weft_probe'
  | 'weft_node'
  | 'weft_listeners'
  | 'weft_sock'
  | 'weft_notes'
  | 'weft_negative'
  | 'weft_count'
  | 'weft_local'
  | 'weft_verdicts'
  | 'weft_services'
  | 'weft_endpoints'
  | 'weft_live'
  | 'weft_ends'
  | 'weft_shares';

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
  'kernel-allowed',
  'kernel-no-verdict',
  'kernel-stale-verdict',
  'kernel-lease-over',
  'kernel-live-full',
  'in-verdict',
  'dropped-stale-verdict',
  'spliced',
  'splice-failed',
  'splice-overflowed',
  'splice-left',
  'notes-share',
  'kernel-live-share',
  'kernel-foreign-source',
  'events-share',
] as const;
export type KernelReason = (typeof reasons)[number];

export const ports = { outbound: 15001, inbound: 15006, hbone: 15008, dns: 15053 } as const;
export const listeners = { outbound: 1, inbound: 2, hbone: 3 } as const;
export type ListenerKind = keyof typeof listeners;
export const podFlags = { plaintextWithoutAgent: 1, capture: 2, kernel: 4, splice: 8 } as const;
export const sockKinds = {
  none: 0,
  captured: 1,
  own: 2,
  accepted: 3,
  kernel: 4,
  kernelAccepted: 5,
  dialed: 6,
} as const;
export const directions = { outbound: 0, inbound: 1, unspliced: 2 } as const;
export const localFlags = { kernel: 1 } as const;
export const serviceFlags = { affinity: 1 } as const;
export const actions = { allow: 1 } as const;
export const nodeSlots = {
  cookie: 0,
  lease: 1,
  spliceMax: 2,
  splicePagesMax: 3,
  spliceBlocking: 4,
  takeover: 5,
} as const;
export const liveFlags = {
  clientOpen: 1,
  serverOpen: 2,
  clientClosed: 4,
  serverClosed: 8,
  leaving: 16,
  spliced: 32,
  overflowed: 64,
  clientFin: 128,
  serverFin: 256,
  blocking: 512,
} as const;
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

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fields: Readonly<Record<string, readonly [number, number]>>;

  constructor(struct: Struct, bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fields = structs[struct][1];
  }
  #at(field: string): number {
    return (this.#fields[field] as readonly [number, number])[0];
  }
  /** `offset`: bytes into an array. */
  u64(field: string, offset = 0): bigint {
    return this.#view.getBigUint64(this.#at(field) + offset, little);
  }
  u32(field: string): number {
    return this.#view.getUint32(this.#at(field), little);
  }
  be16(field: string): number {
    return this.#view.getUint16(this.#at(field), false);
  }
  ip(field: string): IpAddress {
    const at = this.#at(field);
    return ipFromBytes(this.#bytes.subarray(at, at + 16));
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
  direction: keyof typeof directions,
): Uint8Array {
  return new Writer('weft_bypass_port_key')
    .u64('cookie', cookie)
    .u16('port', port)
    .u16('direction', directions[direction]).bytes;
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
/** Who wrote a note, and what of. */
export function decodeNote(bytes: Uint8Array): { readonly source: bigint; readonly kind: number } {
  const reader = new Reader('weft_note', bytes);
  return { source: reader.u64('source'), kind: reader.u32('kind') };
}
/** The destination of a note: the cookie of its network namespace. */
export function decodeNoteDestination(key: Uint8Array): bigint {
  return new Reader('weft_note_key', key).u64('cookie');
}
/** What the kernel remembers of a socket (weft_sock). */
export function decodeSock(bytes: Uint8Array): {
  readonly ip: IpAddress;
  readonly port: number;
  readonly kind: number;
  /** The endpoint that the kernel picked from the dialed service's. */
  readonly chosen: { readonly ip: IpAddress; readonly port: number } | undefined;
} {
  const reader = new Reader('weft_sock', bytes);
  const chosenPort = reader.be16('chosen_port');
  return {
    ip: reader.ip('ip'),
    port: reader.be16('port'),
    kind: reader.u32('kind'),
    chosen: chosenPort === 0 ? undefined : { ip: reader.ip('chosen'), port: chosenPort },
  };
}
/** What a pod holds of the tables that all pods share. */
export function decodeShare(bytes: Uint8Array): { readonly notes: number; readonly live: number } {
  const reader = new Reader('weft_share', bytes);
  return { notes: reader.u32('notes'), live: reader.u32('live') };
}
export function decodeVerdictKey(key: Uint8Array): {
  readonly source: bigint;
  readonly destination: bigint;
  readonly port: number;
} {
  const reader = new Reader('weft_verdict_key', key);
  return {
    source: reader.u64('source'),
    destination: reader.u64('destination'),
    port: reader.be16('port'),
  };
}
export interface LocalEntry {
  readonly cookie: bigint;
  readonly epoch: bigint;
  readonly flags: number;
}
export function encodeLocal(local: LocalEntry): Uint8Array {
  return new Writer('weft_local')
    .u64('cookie', local.cookie)
    .u64('epoch', local.epoch)
    .u32('flags', local.flags).bytes;
}
export function decodeLocal(bytes: Uint8Array): LocalEntry {
  const reader = new Reader('weft_local', bytes);
  return { cookie: reader.u64('cookie'), epoch: reader.u64('epoch'), flags: reader.u32('flags') };
}
/** An address as a whole key. */
export function encodeIp(ip: IpAddress): Uint8Array {
  return Uint8Array.from(ipTo16(ip));
}
export function encodeVerdictKey(source: bigint, destination: bigint, port: number): Uint8Array {
  return new Writer('weft_verdict_key')
    .u64('source', source)
    .u64('destination', destination)
    .be16('port', port).bytes;
}
export function encodeVerdict(epoch: bigint): Uint8Array {
  return new Writer('weft_verdict').u64('epoch', epoch).u32('action', actions.allow).bytes;
}
export function encodeServiceKey(ip: IpAddress, port: number): Uint8Array {
  return new Writer('weft_service_key').ip('ip', ip).be16('port', port).bytes;
}
export function encodeService(id: number, count: number, affinity = false): Uint8Array {
  return new Writer('weft_service')
    .u32('id', id)
    .u32('count', count)
    .u32('flags', affinity ? serviceFlags.affinity : 0).bytes;
}
export function decodeServiceKey(bytes: Uint8Array): { readonly ip: IpAddress; readonly port: number } {
  const reader = new Reader('weft_service_key', bytes);
  return { ip: reader.ip('ip'), port: reader.be16('port') };
}
export function decodeService(bytes: Uint8Array): { readonly id: number; readonly count: number } {
  const reader = new Reader('weft_service', bytes);
  return { id: reader.u32('id'), count: reader.u32('count') };
}
export function encodeEndpointKey(id: number, index: number): Uint8Array {
  return new Writer('weft_endpoint_key').u32('id', id).u32('index', index).bytes;
}
export function encodeEndpoint(ip: IpAddress, port: number): Uint8Array {
  return new Writer('weft_endpoint').ip('ip', ip).be16('port', port).bytes;
}

/** A connection that the kernel carries. */
export interface LiveEntry {
  /** Namespace cookies of both pods. */
  readonly source: bigint;
  readonly destination: bigint;
  readonly epoch: bigint;
  /** ktime */
  readonly startedNs: bigint;
  /** Written by the client, by the server. */
  readonly bytes: readonly [bigint, bigint];
  /** Of these, what met no TCP. */
  readonly spliced: readonly [bigint, bigint];
  /** Socket cookies; the client's is the entry's key. 0 where the server's end was not there yet. */
  readonly cookies: readonly [bigint, bigint];
  readonly tuple: Tuple;
  readonly dialled: { readonly ip: IpAddress; readonly port: number };
  readonly flags: number;
}
export function decodeLive(bytes: Uint8Array): LiveEntry {
  const reader = new Reader('weft_live', bytes);
  return {
    source: reader.u64('source'),
    destination: reader.u64('destination'),
    epoch: reader.u64('epoch'),
    startedNs: reader.u64('started'),
    bytes: [reader.u64('bytes'), reader.u64('bytes', 8)],
    spliced: [reader.u64('spliced'), reader.u64('spliced', 8)],
    cookies: [reader.u64('cookie'), reader.u64('cookie', 8)],
    tuple: {
      saddr: reader.ip('saddr'),
      sport: reader.be16('sport'),
      daddr: reader.ip('daddr'),
      dport: reader.be16('dport'),
    },
    dialled: { ip: reader.ip('dialled'), port: reader.be16('dialled_port') },
    flags: reader.u32('flags'),
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
