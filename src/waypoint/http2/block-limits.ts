/**
 * How large a header block may be. Two bounds: the proxy's own (limits.ts), beyond which a request is answered 431 and a response is 502
 * while the connection goes on; and the library's, beyond which the stream is reset unseen. The library has to read a block to its end in
 * any case, since HPACK's table changes with it.
 */
import type http2 from 'node:http2';
import type { WaypointLimits } from '../limits.js';

/** Of one header block, of one connection at a time. A sender is told the bytes as SETTINGS_MAX_HEADER_LIST_SIZE. */
const readBytesMax = 256 << 10;
const readFieldsMax = 2_000;
/** What goes out was read within the proxy's bounds, and rules add to it: what the other side takes is the other side's to say. */
const sentBytesMax = 1 << 20;

/** RFC 9113, section 6.5.2: what a field takes beside its name and value. */
const fieldOverheadBytes = 32;

/** Options of a session, client's or server's. */
export const blockOptions = {
  maxHeaderListPairs: readFieldsMax,
  maxSendHeaderBlockLength: sentBytesMax,
} as const;
export const blockSettings: http2.Settings = { maxHeaderListSize: readBytesMax };

/** Why a block is more than the proxy takes. `raw`: name, value, name, value ...; pseudo-headers are no fields. Pure. */
export function blockFault(raw: readonly string[], limits: WaypointLimits): string | undefined {
  let fields = 0;
  let bytes = 0;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    bytes += name.length + (raw[i + 1] ?? '').length + fieldOverheadBytes;
    if (name.charCodeAt(0) !== 0x3a) fields++;
  }
  if (fields > limits.headersMax) return `more than ${limits.headersMax} header fields`;
  if (bytes > limits.headBytesMax) return `more than ${limits.headBytesMax} bytes of header fields`;
  return undefined;
}
