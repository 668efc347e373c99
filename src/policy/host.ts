/** Host names as policies, routes and requests are compared. RFC 9110, section 7.2; RFC 3986, section 3.2.2. */
import { isIPv6 } from 'node:net';
import { parseIp } from '../model/address.js';
import { TargetError } from './path.js';

/** Without percent signs: an escape would name to an endpoint what nobody compared it with. */
const hostPattern = /^(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._~!$&'()*+,;=-]*)(?::\d{0,5})?$/;

/** `host[:port]` in lower case, without final dots; an IPv6 address in the form of RFC 5952. Throws TargetError. */
export function normalizeAuthority(text: string): string {
  if (!hostPattern.test(text)) throw new TargetError('the host cannot be read');
  const end = text.startsWith('[') ? text.indexOf(']') : -1;
  const bracketed = end < 0 ? '' : text.slice(1, end);
  // A mapped IPv4 address stays as it was written: in brackets the IPv4 form would be no host.
  if (isIPv6(bracketed)) {
    const ip = parseIp(bracketed);
    return `[${ip.includes(':') ? ip : bracketed.toLowerCase()}]${text.slice(end + 1)}`;
  }
  return text.toLowerCase().replace(/\.+(?=:|$)/, '');
}
