/** Between HTTP/2's headers as Node has them and flat lists. */
import type http2 from 'node:http2';
import { joinCookies } from '../http/cookies.js';
import { fieldsNotInHttp2, fieldsNotInTrailers } from '../http/restricted-fields.js';
import type { Headers } from '../http/headers.js';

/** Without pseudo-headers. `raw`: name, value, name, value ... */
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

/** Without what has no place behind a message (RFC 9110, section 6.5.1). */
export function trailersOf(raw: readonly string[]): Headers {
  const trailers = flatten(raw);
  return trailers.filter((_text, i) => !fieldsNotInTrailers.has(trailers[i - (i % 2)] ?? ''));
}

/** Connection-specific headers have no place in HTTP/2 (RFC 9113, section 8.2.2). */
export function toHttp2(headers: Headers, pseudo: http2.OutgoingHttpHeaders): http2.OutgoingHttpHeaders {
  const all: http2.OutgoingHttpHeaders = pseudo;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] ?? '';
    if (fieldsNotInHttp2.has(name)) continue;
    const value = headers[i + 1] ?? '';
    const before = all[name];
    if (before === undefined) all[name] = value;
    else if (Array.isArray(before)) before.push(value);
    // Names that HTTP/2's library takes once only are lists to everybody else.
    else if (name === 'set-cookie') all[name] = [String(before), value];
    else all[name] = `${String(before)}${name === 'cookie' ? ';' : ','} ${value}`;
  }
  return all;
}
