/** Header fields that do not travel with a message, in one table for each writer that leaves them out. */

/** Fields that frame a message or belong to one connection (RFC 9110, section 7.6.1; RFC 9113, section 8.2.2). */
const connectionFields = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'te',
  // Of HTTP/2: names a stream's settings, not a message's.
  'http2-settings',
] as const;

/** Removed from each message of HTTP/1 that is read. */
export const hopByHopFields: ReadonlySet<string> = new Set([
  ...connectionFields,
  'proxy-authenticate',
  'proxy-authorization',
]);

/** Not written to HTTP/2: `host` is `:authority` there, and `te: trailers` is written anew where it is allowed. */
export const fieldsNotInHttp2: ReadonlySet<string> = new Set([...connectionFields, 'host']);

/** A route's rule cannot set these: framing is the connection's own. */
export const framingFields: ReadonlySet<string> = new Set([...connectionFields, 'content-length', 'trailer']);

/** Framing, routing and the like have no place in trailers (RFC 9110, section 6.5.1). */
export const fieldsNotInTrailers: ReadonlySet<string> = new Set([
  // The waypoint's own statements about the client.
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-client-cert',
  'content-length',
  'transfer-encoding',
  'host',
  'connection',
  'authorization',
  'content-encoding',
  'content-type',
  'content-range',
  'trailer',
  'te',
  'upgrade',
  'expect',
  'cookie',
  'set-cookie',
]);
