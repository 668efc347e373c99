import type { Fields } from './http2.js';

/**
 * Whether a header field is connection-specific, which HTTP/2 forbids (RFC 9113, section 8.2.2). The decoder has refused such names, and
 * invalid characters, in literals; `transfer-encoding` is also an entry of HPACK's static table.
 */
function isForbidden(name: string, value: string): boolean {
  switch (name.length) {
    case 2:
      return name === 'te' && value !== 'trailers' && value.toLowerCase() !== 'trailers';
    case 7:
      return name === 'upgrade';
    case 10:
      return name === 'connection' || name === 'keep-alive';
    case 16:
      return name === 'proxy-connection';
    case 17:
      return name === 'transfer-encoding';
    default:
      return false;
  }
}

/** Why the fields from `from` on are invalid in any message. */
function faultOf(fields: Fields, from: number): string | undefined {
  for (let i = from; i < fields.length; i += 2) {
    const name = fields[i] as string;
    if (name.charCodeAt(0) === 0x3a) return 'a pseudo-header follows a field or does not belong there';
    if (isForbidden(name, fields[i + 1] as string)) return `the field ${name} is not allowed in HTTP/2`;
  }
  return undefined;
}

/** RFC 3986, section 3.1. */
const validScheme = /^[a-z][a-z0-9+.-]*$/i;
/** The characters of RFC 3986, section 3.2, but `@`: RFC 9113, section 8.3.1, forbids user information. nghttp2 has the same rule. */
const validAuthority = /^[A-Za-z0-9\-._~!$&'()*+,;=%:[\]]*$/;

/** Why a request's head is malformed (RFC 9113, section 8.3.1); undefined: it is not. Pure. */
export function requestFault(fields: Fields): string | undefined {
  let method: string | undefined;
  let scheme: string | undefined;
  let path: string | undefined;
  let authority: string | undefined;
  let i = 0;
  for (; i < fields.length; i += 2) {
    const name = fields[i] as string;
    if (name.charCodeAt(0) !== 0x3a) break;
    const value = fields[i + 1] as string;
    if (name === ':method' && method === undefined) method = value;
    else if (name === ':path' && path === undefined) path = value;
    else if (name === ':scheme' && scheme === undefined) scheme = value;
    else if (name === ':authority' && authority === undefined) authority = value;
    else return 'a pseudo-header is unknown or repeated';
  }
  if (method === undefined || method === '') return ':method is missing';
  if (method === 'CONNECT') {
    if (scheme !== undefined || path !== undefined) return 'CONNECT with :scheme or :path';
    if (authority === undefined || authority === '') return 'CONNECT without :authority';
  } else if (scheme === undefined || scheme === '') return ':scheme is missing';
  else if (!validScheme.test(scheme)) return ':scheme is invalid';
  else if (path === undefined || path === '') return ':path is missing';
  // RFC 9113, section 8.3.1. Without the slash, a path could become a part of the authority in HTTP/1.
  else if (path.charCodeAt(0) !== 0x2f && !(path === '*' && method === 'OPTIONS') && /^https?$/i.test(scheme))
    return ':path does not begin with /';
  return hostFault(fields, i, authority) ?? faultOf(fields, i);
}

/** A request names one valid authority; nghttp2 has the same rules. The owner compares :authority with host. */
function hostFault(fields: Fields, from: number, authority: string | undefined): string | undefined {
  if (authority !== undefined && !validAuthority.test(authority)) return ':authority is invalid';
  let host: string | undefined;
  for (let i = from; i < fields.length; i += 2) {
    if (fields[i] !== 'host') continue;
    if (host !== undefined || fields[i + 1] === '') return 'host is empty or repeated';
    host = fields[i + 1] as string;
    if (!validAuthority.test(host)) return 'host is invalid';
  }
  return authority === '' || (authority === undefined && host === undefined)
    ? ':authority is missing'
    : undefined;
}

/** Why a response's head is malformed (RFC 9113, section 8.3.2); undefined: it is not. Pure. */
export function responseFault(fields: Fields): string | undefined {
  const status = fields[1];
  if (fields[0] !== ':status' || status === undefined || !/^[1-9][0-9][0-9]$/.test(status))
    return ':status is missing or invalid';
  // RFC 9113, section 8.6: HTTP/2 has no upgrade.
  if (status === '101') return 'status 101';
  return faultOf(fields, 2);
}

/** Why trailers are malformed (RFC 9113, section 8.1); undefined: they are not. Pure. */
export function trailersFault(fields: Fields): string | undefined {
  return faultOf(fields, 0);
}

/** The size of a header list: 32 bytes for each field besides its name and value (RFC 9113, section 6.5.2). */
export function listBytes(fields: Fields): number {
  let bytes = 16 * fields.length;
  for (let i = 0; i < fields.length; i++) bytes += (fields[i] as string).length;
  return bytes;
}
