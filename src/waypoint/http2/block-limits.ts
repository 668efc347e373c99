/**
 * Limits of a header block. Beyond the proxy's own limits (limits.ts) a request gets 431 and a response becomes 502, and the connection goes
 * on. Beyond the library's limits the library resets the stream, and the proxy never sees it. The library reads every block to its end,
 * because the block changes HPACK's table.
 */
import type http2 from 'node:http2';
import type { WaypointLimits } from '../limits.js';

/** The library's limits of one header block; a connection has one at a time. The peer learns the bytes as SETTINGS_MAX_HEADER_LIST_SIZE. */
const readBytesMax = 256 << 10;
const readFieldsMax = 2_000;
/** Outgoing blocks were read within the proxy's limits, and rules add to them. The peer decides what it accepts. */
const sentBytesMax = 1 << 20;

/** RFC 9113, section 6.5.2: the size of a field beside its name and value. */
const fieldOverheadBytes = 32;

/** Options of a session, for clients and servers. */
export const blockOptions = {
  maxHeaderListPairs: readFieldsMax,
  maxSendHeaderBlockLength: sentBytesMax,
} as const;
export const blockSettings: http2.Settings = { maxHeaderListSize: readBytesMax };

/**
 * Why a header block is beyond the proxy's limits; undefined if it is within them. Pure.
 * @param raw name, value, name, value ...; pseudo-headers do not count as fields
 */
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
