/** Bits of a field's fault: its name, or its value, is not allowed in any message. */
export const badName = 1;
export const badValue = 2;

/** Bits of `classes`: where the byte must not occur. */
const notInName = 1;
const notInValue = 2;
const notInPath = 4;
const notInAuthority = 8;
const notInMethod = 16;
const notInScheme = 32;
const notInStatus = 64;
/** RFC 9113, sections 8.2.1 and 8.3; RFC 9110, section 5.6.2; RFC 3986, section 3.2. nghttp2 has the same sets. */
const allowed: readonly (readonly [number, RegExp])[] = [
  [notInName, /[-!#$%&'*+.^_`|~0-9a-z]/],
  [notInValue, /[\t\x20-\x7e\x80-\xff]/],
  [notInPath, /[\x21-\x7e\x80-\xff]/],
  [notInAuthority, /[-!$%&'()*+,.0-9:;=@A-Z[\]_a-z~]/],
  [notInMethod, /[-!#$%&'*+.^_`|~0-9a-zA-Z]/],
  [notInScheme, /[-+.0-9a-zA-Z]/],
  [notInStatus, /[0-9]/],
];
const classes = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  for (const [bit, chars] of allowed)
    if (!chars.test(String.fromCharCode(byte))) classes[byte] = (classes[byte] ?? 0) | bit;
}

/** A cache of strings by a hash of their bytes. A repeated string is not created again, and its hash code in V8 is computed once. */
const recent: string[] = new Array<string>(1024).fill('');
const recentBytesMax = 64;

/** The classes of the bytes of the last string that `read` returned. */
let seen = 0;

function read(bytes: Buffer, start: number, end: number, isCached: boolean): string {
  const length = end - start;
  if (length > recentBytesMax) {
    seen = 0;
    for (let at = start; at < end; at++) seen |= classes[bytes[at] as number] as number;
    return bytes.toString('latin1', start, end);
  }
  let hash = length;
  let all = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    all |= classes[byte] as number;
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  seen = all;
  const slot = (hash ^ (hash >>> 10)) & 1023;
  const known = recent[slot] as string;
  if (known.length === length) {
    let at = 0;
    while (at < length && known.charCodeAt(at) === bytes[start + at]) at++;
    if (at === length) return known;
  }
  const made = bytes.toString('latin1', start, end);
  if (isCached) recent[slot] = made;
  return made;
}

/** What was wrong with the string that was read last: 0, `badName` or `badValue`. */
export let literalFault = 0;

/** The pseudo-headers that exist, and what their values must not contain. The connection checks whether they fit the kind of message (fields.ts). */
const pseudoNames = new Map([
  [':method', notInMethod],
  [':scheme', notInScheme],
  [':authority', notInAuthority],
  [':path', notInPath],
  [':protocol', notInMethod],
  [':status', notInStatus],
]);
/** Fields of HTTP/1 connections make a message malformed (RFC 9113, section 8.2.2). */
const connectionNames = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** Reads a name, and checks it. */
export function readName(bytes: Buffer, start: number, end: number): string {
  const name = read(bytes, start, end, true);
  const isBad =
    end === start || name.charCodeAt(0) === 0x3a
      ? !pseudoNames.has(name)
      : (seen & notInName) !== 0 || connectionNames.has(name);
  literalFault = isBad ? badName : 0;
  return name;
}

/** Reads the value of a field of this name, and checks it. @param isCached the string may be cached: not the value of a secret */
export function readValue(
  name: string,
  bytes: Buffer,
  start: number,
  end: number,
  isCached: boolean,
): string {
  const value = read(bytes, start, end, isCached);
  const first = bytes[start] as number;
  const last = bytes[end - 1] as number;
  let isBad = (seen & notInValue) !== 0;
  if (end > start && (first === 0x20 || last === 0x20 || first === 9 || last === 9)) isBad = true;
  else if (name.charCodeAt(0) === 0x3a) isBad = (seen & (pseudoNames.get(name) ?? 0)) !== 0;
  else if (name === 'host') isBad = (seen & notInAuthority) !== 0;
  else if (name === 'te') isBad = value.toLowerCase() !== 'trailers';
  literalFault = isBad ? badValue : 0;
  return value;
}
