/** The static table (RFC 7541, appendix A), flat: name, value. The first entry has index 1. */
// prettier-ignore
const entries = [
  ':authority', '', ':method', 'GET', ':method', 'POST', ':path', '/', ':path', '/index.html',
  ':scheme', 'http', ':scheme', 'https', ':status', '200', ':status', '204', ':status', '206',
  ':status', '304', ':status', '400', ':status', '404', ':status', '500', 'accept-charset', '',
  'accept-encoding', 'gzip, deflate', 'accept-language', '', 'accept-ranges', '', 'accept', '',
  'access-control-allow-origin', '', 'age', '', 'allow', '', 'authorization', '', 'cache-control', '',
  'content-disposition', '', 'content-encoding', '', 'content-language', '', 'content-length', '',
  'content-location', '', 'content-range', '', 'content-type', '', 'cookie', '', 'date', '', 'etag', '',
  'expect', '', 'expires', '', 'from', '', 'host', '', 'if-match', '', 'if-modified-since', '',
  'if-none-match', '', 'if-range', '', 'if-unmodified-since', '', 'last-modified', '', 'link', '',
  'location', '', 'max-forwards', '', 'proxy-authenticate', '', 'proxy-authorization', '', 'range', '',
  'referer', '', 'refresh', '', 'retry-after', '', 'server', '', 'set-cookie', '',
  'strict-transport-security', '', 'transfer-encoding', '', 'user-agent', '', 'vary', '', 'via', '',
  'www-authenticate', '',
];

/** The number of entries of the static table. */
export const staticEntries = 61;

/** By index; the first element is not used. */
export const staticNames: readonly string[] = ['', ...entries.filter((_, i) => i % 2 === 0)];
export const staticValues: readonly string[] = ['', ...entries.filter((_, i) => i % 2 === 1)];

/** The size that a field has in a table and in a header list (RFC 7541, section 4.1). */
export function fieldBytes(name: string, value: string): number {
  return name.length + value.length + 32;
}
