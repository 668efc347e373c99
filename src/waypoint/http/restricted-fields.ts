/** Header fields that are not forwarded with a message: one table for each writer that omits them. */

/** Fields that frame a message or belong to one connection (RFC 9110, section 7.6.1; RFC 9113, section 8.2.2). */
const connectionFields = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'te',
  // Contains settings of an HTTP/2 connection, not of a message.
  'http2-settings',
] as const;

/** Fields that are removed from each HTTP/1 message that is read. */
export const hopByHopFields: ReadonlySet<string> = new Set([
  ...connectionFields,
  'proxy-authenticate',
  'proxy-authorization',
]);

/** Fields that are not written to HTTP/2: `host` is `:authority` there, and `te: trailers` is added again where it is allowed. */
export const fieldsNotInHttp2: ReadonlySet<string> = new Set([...connectionFields, 'host']);

/** Fields that a route's rule cannot set, because they frame the message on its connection. */
export const framingFields: ReadonlySet<string> = new Set([...connectionFields, 'content-length', 'trailer']);

/** Fields of framing, routing and the like, which are not allowed in trailers (RFC 9110, section 6.5.1). */
export const fieldsNotInTrailers: ReadonlySet<string> = new Set([
  // The waypoint's own fields about the client.
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
