import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { WeftError } from '../base/errors.js';
import type { Brand } from '../base/brand.js';

/** Canonical text of an address: dotted IPv4, or IPv6 by RFC 5952. A v4-mapped IPv6 address becomes its IPv4 address. */
export type IpAddress = Brand<string, 'IpAddress'>;
export type Port = Brand<number, 'Port'>;

export interface SocketAddress {
  readonly ip: IpAddress;
  readonly port: number;
}

export interface Cidr {
  readonly ip: IpAddress;
  readonly prefixLength: number;
}

const mappedPrefix = '::ffff:';

/** Parses an address. Zone ids and shorthand IPv4 are not accepted. Throws WEFT_ADDRESS_INVALID. */
export function parseIp(text: string): IpAddress {
  // Fast path for the kernel's notation, needed several times per connection: the library takes microseconds for each address.
  if (isIPv4(text)) return text as IpAddress;
  if (text.startsWith(mappedPrefix) && isIPv4(text.slice(mappedPrefix.length)))
    return text.slice(mappedPrefix.length) as IpAddress;
  if (
    !ipaddr.IPv4.isValidFourPartDecimal(text) &&
    !(text.includes(':') && !text.includes('%') && ipaddr.IPv6.isValid(text))
  ) {
    throw new WeftError('WEFT_ADDRESS_INVALID', `${JSON.stringify(text.slice(0, 64))} is not an IP address`);
  }
  return ipaddr.process(text).toString() as IpAddress;
}

export function isIp(text: string): boolean {
  try {
    parseIp(text);
    return true;
  } catch {
    return false;
  }
}

/** 4 or 16 bytes in network order; throws WEFT_ADDRESS_INVALID for any other length. */
export function ipFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length !== 4 && bytes.length !== 16) {
    throw new WeftError(
      'WEFT_ADDRESS_INVALID',
      `an address has 4 or 16 bytes, but this one has ${bytes.length}`,
    );
  }
  const at = bytes.length - 4;
  if (at === 0 || isMapped(bytes))
    return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}` as IpAddress;
  return ipaddr.fromByteArray([...bytes]).toString() as IpAddress;
}

/** 4 bytes for IPv4, 16 for IPv6, in network order. */
export function ipToBytes(ip: IpAddress): Uint8Array {
  return Uint8Array.from(ipaddr.parse(ip).toByteArray());
}

/** 16 bytes, IPv4 as ::ffff:a.b.c.d: the form of all addresses in the BPF maps (bpf/lib/abi.h). */
export function ipTo16(ip: IpAddress): Uint8Array {
  if (isV6(ip)) return Uint8Array.from(ipaddr.parse(ip).toByteArray());
  const bytes = new Uint8Array(16);
  bytes[10] = bytes[11] = 0xff;
  ip.split('.').forEach((part, i) => (bytes[12 + i] = Number(part)));
  return bytes;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

export function isV6(ip: IpAddress): boolean {
  return ip.includes(':');
}

/** Parses `10.0.0.0/8`, `fd00::/8`, or a single address. Throws WEFT_ADDRESS_INVALID. */
export function parseCidr(text: string): Cidr {
  const [address = '', prefix, ...rest] = text.split('/');
  const ip = parseIp(address);
  const lengthMax = isV6(ip) ? 128 : 32;
  const prefixLength = prefix === undefined ? lengthMax : Number(prefix);
  if (rest.length > 0 || (prefix !== undefined && !/^\d{1,3}$/.test(prefix)) || prefixLength > lengthMax) {
    throw new WeftError('WEFT_ADDRESS_INVALID', `${JSON.stringify(text.slice(0, 64))} is not a CIDR block`);
  }
  return { ip, prefixLength };
}

export function cidrContains(block: Cidr, ip: IpAddress): boolean {
  if (isV6(block.ip) !== isV6(ip)) return false;
  return ipaddr.parse(ip).match(ipaddr.parse(block.ip), block.prefixLength);
}

/** `ip:port` or `[v6]:port`, the form of an HBONE authority. */
export function formatSocketAddress(address: SocketAddress): string {
  return isV6(address.ip) ? `[${address.ip}]:${address.port}` : `${address.ip}:${address.port}`;
}

/** Parses `ip:port` or `[v6]:port`. Throws WEFT_ADDRESS_INVALID. */
export function parseSocketAddress(text: string): SocketAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? 0);
  if (!match || port < 1 || port > 65535) {
    throw new WeftError(
      'WEFT_ADDRESS_INVALID',
      `${JSON.stringify(text.slice(0, 64))} is not of the form ip:port`,
    );
  }
  return { ip: parseIp(match[1] ?? match[2] ?? ''), port };
}
