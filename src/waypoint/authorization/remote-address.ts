/** The client's address through proxies ahead of the waypoint (Envoy: xff_num_trusted_hops). */
import { isIp, parseIp, type IpAddress } from '../../model/address.js';
import { joinedHeader, type Headers } from '../http/headers.js';

/**
 * The address that the outermost trusted proxy saw. Undefined: the list in x-forwarded-for is too short, or its element is no address, so that
 * the address is unknown. Pure.
 * @param headers with the address of `peer` as the last element, which the waypoint has added
 * @param peer the client of the waypoint. Without an element of its own it is no proxy, and the client itself
 * @param trustedProxies how many proxies ahead of the waypoint are trusted
 */
export function remoteAddress(
  headers: Headers,
  peer: IpAddress,
  trustedProxies: number,
): IpAddress | undefined {
  if (trustedProxies === 0) return peer;
  const list = joinedHeader(headers, 'x-forwarded-for');
  if (list === undefined || !list.includes(',')) return peer;
  let end = list.length;
  for (let i = 0; i < trustedProxies; i++) {
    end = list.lastIndexOf(',', end - 1);
    if (end <= 0) return undefined;
  }
  const element = list.slice(list.lastIndexOf(',', end - 1) + 1, end).trim();
  // Some proxies add the port.
  const [, bracketed, v4] = /^\[([^\]]*)\](?::\d+)?$|^([\d.]+):\d+$/.exec(element) ?? [];
  const text = bracketed ?? v4 ?? element;
  return isIp(text) ? parseIp(text) : undefined;
}
