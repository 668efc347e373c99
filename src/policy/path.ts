/**
 * Normalizes paths, so that those of policies, routes and requests compare, and lists the ways in which endpoints may read a path.
 * RFC 3986, section 6.2.2.
 */

/** A request target or configured path that must not be forwarded to an endpoint. */
export class TargetError extends Error {}

/** Fast path for most paths: nothing in them needs normalization. */
const plainPath = /^(?:\/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)*\/?(?:\?|$)/;
/** Placeholders of patterns: private code points, which no normalized path contains. Normalization leaves them unchanged. */
export const placeholders = { segment: '\uE000', rest: '\uE001' } as const;
const isPlaceholder = (character: string): boolean =>
  character === placeholders.segment || character === placeholders.rest;

const escapeOf = (character: string): string =>
  [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`).join('');

/**
 * Normalizes a path: decodes percent-encoded unreserved characters, writes other escapes in upper case, escapes characters that a path
 * cannot contain (those beyond ASCII as UTF-8), removes dot segments, and merges consecutive slashes unless `mergeSlashes` is false.
 * Escapes of reserved characters (including %2F) stay, as they may have a meaning to the endpoint; authorization uses `readingsOf`. The
 * query stays unchanged. Throws TargetError for a path that must not be forwarded.
 */
export function normalizePath(target: string, mergeSlashes = true): string {
  if (plainPath.test(target)) return target;
  const at = target.indexOf('?');
  const path = at < 0 ? target : target.slice(0, at);
  const query = at < 0 ? '' : target.slice(at);
  if (path.includes('\\')) throw new TargetError('a backslash in the path');
  const decoded = path.replace(/%([0-9a-fA-F]{2})?/g, (escape: string, digits: string | undefined) => {
    if (digits === undefined) throw new TargetError('a percent sign that escapes nothing');
    const code = parseInt(digits, 16);
    if (code === 0) throw new TargetError('an escaped NUL in the path');
    const character = String.fromCharCode(code);
    return /[A-Za-z0-9._~-]/.test(character) ? character : escape.toUpperCase();
  });
  const escaped = decoded.replace(/[^A-Za-z0-9._~!$&'()*+,;=:@/%-]/gu, (character) =>
    isPlaceholder(character) ? character : escapeOf(character),
  );
  return removeDots(escaped, mergeSlashes) + query;
}

function removeDots(path: string, mergeSlashes = true): string {
  const out: string[] = [];
  const segments = path.split('/');
  segments.forEach((segment, i) => {
    const isLast = i === segments.length - 1;
    if (segment === '.' || (segment === '' && (mergeSlashes || i === 0))) {
      if (isLast) out.push('');
    } else if (segment === '..') {
      out.pop();
      if (isLast) out.push('');
    } else out.push(segment);
  });
  return `/${out.join('/')}`;
}

/** The path without the query. */
export function pathOf(path: string): string {
  const at = path.indexOf('?');
  return at < 0 ? path : path.slice(0, at);
}

const decodingsMax = 4;

const decodedOnce = (path: string): string =>
  path.replace(/%([0-9a-fA-F]{2})/g, (_escape, digits: string) => String.fromCharCode(parseInt(digits, 16)));
const withoutParameters = (path: string): string => path.replace(/;[^/]*/g, '');

/** Whether all readers agree on a path. Some endpoints merge consecutive slashes, also if the waypoint keeps them. */
export const readsAlike = (path: string): boolean =>
  !path.includes('%') && !path.includes(';') && !path.includes('//');

/** The results of five readers for one decoding: dot segments and parameters removed in either order, slashes merged or not. */
function readOnce(text: string): readonly string[] {
  const slashes = text.replace(/\\/g, '/');
  const short = removeDots(slashes);
  const long = removeDots(slashes, false);
  if (!slashes.includes(';')) return [short, long, short, long, short];
  const bare = withoutParameters(slashes);
  return [short, long, removeDots(bare), removeDots(bare, false), removeDots(withoutParameters(short))];
}

/**
 * The ways in which endpoints may read a normalized path: unchanged; with its escapes decoded, including repeated escapes; without the
 * parameters (`;x=1`) of its segments, removed before or after decoding; with dot segments removed after each decoding or after the last;
 * at each of these steps with consecutive slashes merged or not. The result is a single reading if all readers agree, otherwise one
 * reading per reader in a fixed order, because a configured path and a request are compared as read by the same reader. The number of
 * readings is bounded for any path.
 */
export function readingsOf(path: string): readonly string[] {
  if (readsAlike(path)) return [path];
  const whole = decodings(path);
  const bare = withoutParameters(path);
  const short = removeDots(bare);
  const long = removeDots(bare, false);
  const ofBare = bare === path ? whole : decodings(bare);
  const ofShort = short === path ? whole : short === bare ? ofBare : decodings(short);
  const ofLong = long === short ? ofShort : long === path ? whole : long === bare ? ofBare : decodings(long);
  return [path, ...whole, ...ofBare, ...ofShort, ...ofLong];
}

const afterDecoding: readonly ((text: string) => string)[] = [
  (text) => text,
  (text) => removeDots(text),
  (text) => removeDots(text, false),
];

/**
 * Readings after 0 to `decodingsMax` decodings: with dot segments removed only after the last decoding, then with dot segments removed
 * after each, with slashes merged and without.
 */
function decodings(from: string): readonly string[] {
  const readings: string[] = [];
  for (const step of afterDecoding) {
    let text = from;
    let read = readOnce(text);
    readings.push(...read);
    for (let round = 0; round < decodingsMax; round++) {
      const next = decodedOnce(text);
      if (next !== text) {
        text = step(next);
        read = readOnce(text);
      }
      readings.push(...read);
    }
  }
  return readings;
}
