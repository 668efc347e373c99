/**
 * Base of the generated rows (rows.generated.ts). A row wraps the bytes of one map key or value and decodes a field when it is read. The
 * field types name C's byte order; in TypeScript all are plain numbers.
 */
import { endianness } from 'node:os';
import { ipFromBytes, ipTo16, type IpAddress } from '../../src/model/address.js';

/** C's __u16: host order in the row. */
export type U16 = number;
/** C's __be16: network order in the row. Ports of sockets have this type. */
export type Be16 = number;
/** C's __u32: host order in the row. */
export type U32 = number;
/** C's __be32: network order in the row. */
export type Be32 = number;
/** C's __u64: host order in the row. */
export type U64 = bigint;

/** Whether the machine is little-endian. eBPF programs use the machine's byte order. */
export const little = endianness() === 'LE';

/** A struct in a map, read in place. Reading a field beyond the end of the bytes throws RangeError. */
export abstract class Row {
  protected readonly view: DataView;
  constructor(protected readonly raw: Uint8Array) {
    this.view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  }
}

export function readIp(bytes: Uint8Array, offset: number): IpAddress {
  return ipFromBytes(bytes.subarray(offset, offset + 16));
}

/** Writes an address; undefined leaves all zero, which means none. */
export function writeIp(bytes: Uint8Array, offset: number, ip: IpAddress | undefined): void {
  if (ip !== undefined) bytes.set(ipTo16(ip), offset);
}

/** An address as a map key. */
export function encodeIp(ip: IpAddress): Uint8Array {
  return ipTo16(ip);
}

/** A map key or value of type __u64. */
export function encodeU64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, little);
  return bytes;
}

/** A map key or value of type __u32. */
export function encodeU32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, little);
  return bytes;
}

/** Reads a __u64 at an offset. */
export function decodeU64(bytes: Uint8Array, offset = 0): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(offset, little);
}
