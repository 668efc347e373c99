/** Normalizes host names, so that those of policies, routes and requests compare. RFC 9110, section 7.2; RFC 3986, section 3.2.2. */
import { isIPv6 } from 'node:net';
import { parseIp } from '../model/address.js';
import { TargetError } from './path.js';

/** Percent signs are not allowed: an endpoint could decode an escape to a host name that no policy was compared with. */
const hostPattern = /^(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._~!$&'()*+,;=-]*)(?::\d{0,5})?$/;

/** Characters of a server name (SNI) in lower case: those of DNS names, and the underscore, which names of services have. */
export const serverNameCharacters = /^[a-z0-9._-]+$/;

/** `host[:port]` in lower case, without final dots; an IPv6 address in the form of RFC 5952. Throws TargetError. */
export function normalizeAuthority(text: string): string {
  if (!hostPattern.test(text)) throw new TargetError('the host is malformed');
  const end = text.startsWith('[') ? text.indexOf(']') : -1;
  const bracketed = end < 0 ? '' : text.slice(1, end);
  // A mapped IPv4 address keeps its form: an IPv4 address in brackets is not a valid host.
  if (isIPv6(bracketed)) {
    const ip = parseIp(bracketed);
    return `[${ip.includes(':') ? ip : bracketed.toLowerCase()}]${text.slice(end + 1)}`;
  }
  return text.toLowerCase().replace(/\.+(?=:|$)/, '');
}
