/** Joins cookies into one field. */
import type { Headers } from './headers.js';

/**
 * Joins several `cookie` fields into one, in place, as RFC 9113, section 8.2.3 says (`; `). HTTP/2 clients may send each cookie as a field, and
 * some HTTP/1 clients send more than one line. A server reads one line (RFC 6265, section 5.4), and a comma would be part of a cookie's value.
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
