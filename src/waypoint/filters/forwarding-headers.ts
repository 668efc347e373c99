/** What endpoints are told of the client, as headers: the waypoint's own word, whatever the client or a route's rule writes there. */
import { randomUUID } from 'node:crypto';
import type { Client } from '../listener/client.js';
import { headerOf, joinedHeader, removeHeader, setHeader, type Headers } from '../http/headers.js';

/** Once, ahead of rules. What the client says of those before it stays ahead of its own address, as with any proxy. */
export function addForwarding(headers: Headers, client: Client): void {
  const { ip } = client.address;
  appendTo(headers, 'x-forwarded-for', ip);
  if (headerOf(headers, 'x-forwarded-proto') === undefined) headers.push('x-forwarded-proto', 'http');
  // RFC 7239, section 4: one more element, where somebody has begun the list.
  if (headerOf(headers, 'forwarded') !== undefined) appendTo(headers, 'forwarded', `for=${quoted(ip)}`);
  if (headerOf(headers, 'x-request-id') === undefined) headers.push('x-request-id', randomUUID());
  nameClient(headers, client);
}

/**
 * After a rule has changed headers: it may be of the client's namespace, whose author must not be taken for a hop that the endpoint
 * trusts. The lists end in the client's address again.
 */
export function restoreForwarding(headers: Headers, client: Client): void {
  const { ip } = client.address;
  if (lastOf(headers, 'x-forwarded-for') !== ip) appendTo(headers, 'x-forwarded-for', ip);
  const element = `for=${quoted(ip)}`;
  const forwarded = lastOf(headers, 'forwarded');
  if (forwarded !== undefined && forwarded !== element) appendTo(headers, 'forwarded', element);
  nameClient(headers, client);
}

function nameClient(headers: Headers, { identity }: Client): void {
  removeHeader(headers, 'x-forwarded-client-cert');
  if (identity !== undefined) headers.push('x-forwarded-client-cert', `URI=${identity}`);
}

function appendTo(headers: Headers, name: string, element: string): void {
  const before = joinedHeader(headers, name);
  setHeader(headers, name, before === undefined ? element : `${before}, ${element}`);
}

function lastOf(headers: Headers, name: string): string | undefined {
  const list = joinedHeader(headers, name);
  return list?.slice(list.lastIndexOf(',') + 1).trim();
}

/** RFC 7239, section 6: an IPv6 address stands in brackets and so in quotes. */
const quoted = (ip: string): string => (ip.includes(':') ? `"[${ip}]"` : ip);
