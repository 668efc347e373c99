/** Headers that tell endpoints about the client. The waypoint writes them, whatever the client or a route's rule puts there. */
import { randomUUID } from 'node:crypto';
import type { Client } from '../listener/client.js';
import { headerOf, joinedHeader, removeHeader, setHeader, type Headers } from '../http/headers.js';

/** Adds the headers, once, before any rule. Addresses that the client lists stay before its own address, as with any proxy. */
export function addForwarding(headers: Headers, client: Client): void {
  const { ip } = client.address;
  appendTo(headers, 'x-forwarded-for', ip);
  if (headerOf(headers, 'x-forwarded-proto') === undefined) headers.push('x-forwarded-proto', 'http');
  // RFC 7239, section 4: append an element, but only to a list that exists.
  if (headerOf(headers, 'forwarded') !== undefined) appendTo(headers, 'forwarded', `for=${quoted(ip)}`);
  if (headerOf(headers, 'x-request-id') === undefined) headers.push('x-request-id', randomUUID());
  nameClient(headers, client);
}

/**
 * Restores the headers after a rule has changed headers, so that the lists end in the client's address again. The rule may be in the client's
 * namespace, and its author must not be able to pose as a hop that the endpoint trusts.
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

/** RFC 7239, section 6: an IPv6 address is written in brackets, and therefore in quotes. */
const quoted = (ip: string): string => (ip.includes(':') ? `"[${ip}]"` : ip);
