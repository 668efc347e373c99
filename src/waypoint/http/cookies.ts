/** Cookies as one field. */
import type { Headers } from './headers.js';

/**
 * In place: makes one field of several `cookie` fields, joined as RFC 9113, section 8.2.3 says (`; `). Clients of HTTP/2 send crumbs, some
 * of HTTP/1 more than one line; a server reads one (RFC 6265, section 5.4), and a comma would be part of a cookie's value.
 */
export function joinCookies(headers: Headers): void {
  let first = -1;
  let to = 0;
  for (let from = 0; from < headers.length; from += 2) {
    const name = headers[from] ?? '';
    const value = headers[from + 1] ?? '';
    if (name === 'cookie') {
      if (first >= 0) {
        headers[first + 1] = `${headers[first + 1]}; ${value}`;
        continue;
      }
      first = to;
    }
    if (to !== from) {
      headers[to] = name;
      headers[to + 1] = value;
    }
    to += 2;
  }
  headers.length = to;
}
