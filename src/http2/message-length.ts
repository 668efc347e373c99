import type { Fields } from './http2.js';

/** The length of a message's body is not known before its end. */
export const anyLength = -1;
/** The fields that determine the length are invalid. */
export const badLength = -2;

/** The content-length. `anyLength`: there is none. A second one is invalid, even if both are equal. */
function contentLength(fields: Fields): number {
  let length = anyLength;
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== 'content-length') continue;
    const value = fields[i + 1] as string;
    if (length !== anyLength || !/^[0-9]{1,15}$/.test(value)) return badLength;
    length = Number(value);
  }
  return length;
}

/** The bytes that a request's DATA frames must have in total (RFC 9113, section 8.1.1), or one of the constants above. Pure. */
export function requestLength(fields: Fields): number {
  return methodOf(fields) === 'CONNECT' ? anyLength : contentLength(fields);
}

/**
 * The same for a response. The waypoint's codecs rely on both: with a wrong length, an HTTP/1 peer would read a part of the body as the next
 * message. Pure.
 */
export function responseLength(fields: Fields, method: string): number {
  const status = fields[1] as string;
  if (method === 'CONNECT' && status.charCodeAt(0) === 0x32) return anyLength;
  const length = contentLength(fields);
  if (length === badLength) return badLength;
  // An interim response has none (RFC 9110, section 8.6): an HTTP/1 peer might wait for a body.
  if (status.charCodeAt(0) === 0x31) return length === anyLength ? anyLength : badLength;
  // 204 has no content-length (RFC 9110, section 8.6); some servers send 0.
  if (status === '204') return length > 0 ? badLength : 0;
  return method === 'HEAD' || status === '304' ? 0 : length;
}

/** The value of `:method`; empty if there is none. */
export function methodOf(fields: Fields): string {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === ':method') return fields[i + 1] as string;
  return '';
}
