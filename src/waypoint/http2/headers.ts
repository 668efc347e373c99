/** Converts between Node's HTTP/2 headers and flat lists. */
import type http2 from 'node:http2';
import { joinCookies } from '../http/cookies.js';
import { fieldsNotInHttp2, fieldsNotInTrailers } from '../http/restricted-fields.js';
import type { Headers } from '../http/headers.js';

/** The header fields without pseudo-headers, with cookies joined. `raw`: name, value, name, value ... */
export function flatten(raw: readonly string[]): Headers {
  const headers: Headers = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    if (name.charCodeAt(0) === 0x3a) continue;
    headers.push(name, raw[i + 1] ?? '');
  }
  joinCookies(headers);
  return headers;
}

/** The trailers without fields that are not allowed there (RFC 9110, section 6.5.1). `raw`: as in `flatten`. */
export function trailersOf(raw: readonly string[]): Headers {
  const trailers = flatten(raw);
  return trailers.filter((_text, i) => !fieldsNotInTrailers.has(trailers[i - (i % 2)] ?? ''));
}

/** Adds the fields to `pseudo`, without connection-specific ones, which HTTP/2 does not allow (RFC 9113, section 8.2.2). */
export function toHttp2(headers: Headers, pseudo: http2.OutgoingHttpHeaders): http2.OutgoingHttpHeaders {
  const all: http2.OutgoingHttpHeaders = pseudo;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] ?? '';
    if (fieldsNotInHttp2.has(name)) continue;
    const value = headers[i + 1] ?? '';
    const before = all[name];
    if (before === undefined) all[name] = value;
    else if (Array.isArray(before)) before.push(value);
    // The library accepts some names only once. Elsewhere they may be lists, so their values are joined.
    else if (name === 'set-cookie') all[name] = [String(before), value];
    else all[name] = `${String(before)}${name === 'cookie' ? ';' : ','} ${value}`;
  }
  return all;
}
