/**
 * Paths as policies, routes and requests are compared: one normalization for what is configured and for what is asked, and the ways in
 * which endpoints may read a path. RFC 3986, section 6.2.2.
 */

/** A request target, or a configured path, that no endpoint should ever see. */
export class TargetError extends Error {}

/** Most paths: nothing in them means anything else. */
const plainPath = /^(?:\/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)*\/?(?:\?|$)/;
/** Placeholders of patterns pass through unchanged: private code points, which no normalized path holds. */
export const placeholders = { segment: '\uE000', rest: '\uE001' } as const;
const isPlaceholder = (character: string): boolean =>
  character === placeholders.segment || character === placeholders.rest;

const escapeOf = (character: string): string =>
  [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`).join('');

/**
 * Percent-encoded unreserved characters are decoded, other escapes written in upper case, characters that a path cannot hold (those
 * beyond ASCII as UTF-8) escaped, dot segments removed, slashes that follow each other made one unless `mergeSlashes` is false. Escapes
 * of reserved characters (%2F among them) stay: they may mean something to the endpoint; `readingsOf` is for those who authorize. What
 * follows `?` stays as it is. Throws TargetError for what no endpoint should ever see.
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

/** Of path and query: the path. */
export function pathOf(path: string): string {
  const at = path.indexOf('?');
  return at < 0 ? path : path.slice(0, at);
}

const decodingsMax = 4;

const decodedOnce = (path: string): string =>
  path.replace(/%([0-9a-fA-F]{2})/g, (_escape, digits: string) => String.fromCharCode(parseInt(digits, 16)));
const withoutParameters = (path: string): string => path.replace(/;[^/]*/g, '');

/** Whether all readers read it alike. Slashes that follow each other are one to some endpoints, also where the waypoint keeps them. */
export const readsAlike = (path: string): boolean =>
  !path.includes('%') && !path.includes(';') && !path.includes('//');

/** Five readers of one decoding: with dot segments and parameters removed in either order, slashes merged or not. */
function readOnce(text: string): readonly string[] {
  const slashes = text.replace(/\\/g, '/');
  const short = removeDots(slashes);
  const long = removeDots(slashes, false);
  if (!slashes.includes(';')) return [short, long, short, long, short];
  const bare = withoutParameters(slashes);
  return [short, long, removeDots(bare), removeDots(bare, false), removeDots(withoutParameters(short))];
}

/**
 * The ways in which endpoints may read a normalized path: as it is; with its escapes decoded, also those that were escaped twice;
 * without the parameters (`;x=1`) of its segments, removed before the decoding or after it; dot segments removed after each decoding
 * or after the last; with slashes that follow each other made one or not, at each of these steps. One where all readers read it alike, else one per reader and
 * always in the same order: a configured path and a request are compared as the same reader reads both. Their number is bounded,
 * whatever the path.
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

/** With dot segments removed after the last decoding, then with dot segments removed after each: with slashes merged, and not. */
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
