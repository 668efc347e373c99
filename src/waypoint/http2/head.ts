/** Reads and writes the heads and trailers of HTTP/2: flat lists, from the decoder to the encoder. */
import { listBytes } from '../../http2/fields.js';
import type { Fields } from '../../http2/http2.js';
import { joinCookies } from '../http/cookies.js';
import { removeHeader, type Headers } from '../http/headers.js';
import { fieldsNotInHttp2, fieldsNotInTrailers } from '../http/restricted-fields.js';
import type { WaypointLimits } from '../limits.js';

/** What was found in a message's fields. */
interface Framing {
  /** Why the message is malformed; undefined: it is not. */
  readonly fault: string | undefined;
  /** The value of `host`, which is removed from the fields. */
  readonly host: string | undefined;
}

/**
 * Why a list of fields is beyond the proxy's limits; undefined if it is within them. Pure.
 * @param fields with pseudo-headers, which do not count as fields
 */
export function blockFault(fields: Fields, limits: WaypointLimits): string | undefined {
  let from = 0;
  while (from < fields.length && (fields[from] as string).charCodeAt(0) === 0x3a) from += 2;
  if ((fields.length - from) / 2 > limits.headersMax) return `more than ${limits.headersMax} header fields`;
  if (listBytes(fields) > limits.headBytesMax)
    return `more than ${limits.headBytesMax} bytes of header fields`;
  return undefined;
}

/**
 * Checks the fields, joins the cookies, and removes `host`. The engine compares content-length with the body (src/http2/message-length.ts), except
 * that of interim responses, which have none. @param headers without pseudo-headers; changed in place
 */
export function readFraming(headers: Headers): Framing {
  let hasLength = false;
  let host: string | undefined;
  let cookies = 0;
  let fault: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const { length } = name;
    if (length === 14 && name === 'content-length') {
      const value = headers[i + 1] as string;
      // Two lengths, or one that is no number, would be read in different ways behind an HTTP/1 connection.
      if (hasLength || !/^[0-9]{1,15}$/.test(value)) fault = 'content-length is invalid';
      hasLength = true;
    } else if (length === 4 && name === 'host') {
      if (host !== undefined) fault = 'host occurs twice';
      host = headers[i + 1] as string;
    } else if (length === 6 && name === 'cookie') cookies++;
  }
  if (host !== undefined) removeHeader(headers, 'host');
  if (cookies > 1) joinCookies(headers);
  return { fault, host };
}

/** The trailers without fields that are not allowed there (RFC 9110, section 6.5.1). */
export function trailersOf(fields: Fields): Headers {
  for (let i = 0; i < fields.length; i += 2)
    if (fieldsNotInTrailers.has(fields[i] as string))
      return fields.filter((_text, j) => !fieldsNotInTrailers.has(fields[j - (j % 2)] as string));
  return fields;
}

/** Appends the fields, without connection-specific ones, which HTTP/2 does not allow (RFC 9113, section 8.2.2). */
export function appendFields(to: Fields, headers: Headers): Fields {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!fieldsNotInHttp2.has(name)) to.push(name, headers[i + 1] as string);
  }
  return to;
}

const statusTexts = new Map<number, string>();
/** A status as text, made once. */
export function statusText(status: number): string {
  let text = statusTexts.get(status);
  if (text === undefined) {
    text = String(status);
    if (status >= 100 && status <= 999) statusTexts.set(status, text);
  }
  return text;
}
