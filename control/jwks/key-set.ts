/**
 * Reads JWK Sets (RFC 7517) that somebody else wrote. What is kept is public, strong and in one form: fields that validation does not need
 * are dropped and keys are sorted, so that all replicas send the same text for the same keys. Pure.
 */
import { createHash, createPublicKey, type JsonWebKey } from 'node:crypto';
import { isRecord } from '../../src/base/record.js';

/** Limits of docs/limits.md. */
export const keySetLimits = {
  /** Of the text. */
  bytes: 256 * 1024,
  keys: 100,
  rsaBitsMin: 2_048,
  /** A signature by a longer key costs too much to verify. */
  rsaBitsMax: 8_192,
  /** With a long exponent a verification takes tens of milliseconds. Nobody uses one: 65537 is usual. */
  rsaExponentMax: 0xffff_ffffn,
} as const;

export interface KeySet {
  /** The set as JSON. */
  readonly jwks: string;
  readonly count: number;
  /** Keys that were left out, with the reason. */
  readonly dropped: readonly string[];
}

const kept = ['kty', 'kid', 'alg', 'n', 'e', 'crv', 'x', 'y'] as const;
type Jwk = Readonly<Partial<Record<(typeof kept)[number], string>>>;

/** Fields that only private keys have (RFC 7518, section 6). `k` is that of symmetric keys, which are dropped. */
const privateFields = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'priv'];
const curves: ReadonlySet<unknown> = new Set(['P-256', 'P-384', 'P-521']);
const algorithms = /^(RS|PS)(256|384|512)$|^ES(256|384|512)$|^EdDSA$|^Ed25519$/;

/** Why a key cannot be used; undefined: it can. */
function keyProblem(key: Readonly<Record<string, unknown>>): string | undefined {
  const { kty, use, alg, crv, key_ops: operations } = key;
  if (kty === 'oct') return 'it is symmetric';
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP') return 'its type is unknown';
  if (use !== undefined && use !== 'sig') return 'it is not for signatures';
  if (Array.isArray(operations) && !operations.includes('verify')) return 'it is not for signatures';
  if (alg !== undefined && (typeof alg !== 'string' || !algorithms.test(alg)))
    return 'its algorithm is not supported';
  if (kty === 'EC' && !curves.has(crv)) return 'its curve is not supported';
  if (kty === 'OKP' && crv !== 'Ed25519') return 'its curve is not supported';
  try {
    const { asymmetricKeyDetails } = createPublicKey({ format: 'jwk', key: pick(key) as JsonWebKey });
    const bits = asymmetricKeyDetails?.modulusLength ?? 0;
    if (kty !== 'RSA') return undefined;
    if (bits < keySetLimits.rsaBitsMin) return `it is weak: ${bits} bits`;
    if (bits > keySetLimits.rsaBitsMax) return `it is too long: ${bits} bits`;
    const exponent = asymmetricKeyDetails?.publicExponent ?? 0n;
    if (exponent > keySetLimits.rsaExponentMax) return 'its exponent is too long';
    return exponent < 3n ? 'it is weak: its exponent is 1' : undefined;
  } catch {
    return 'it cannot be read';
  }
}

function pick(key: Readonly<Record<string, unknown>>): Jwk {
  const found = kept.flatMap((name) => (typeof key[name] === 'string' ? [[name, key[name]] as const] : []));
  return Object.fromEntries(found);
}

const kidCharsMax = 256;
const nameOf = (key: Readonly<Record<string, unknown>>, index: number): string =>
  typeof key['kid'] === 'string' ? `key ${JSON.stringify(key['kid'].slice(0, 64))}` : `key ${index + 1}`;
const orderOf = (key: Jwk): string =>
  `${key.kid ?? ''} ${createHash('sha256').update(JSON.stringify(key)).digest('hex')}`;

/** Error: why the set cannot be used. Symmetric, weak and unknown keys are dropped; without another key the set cannot be used. */
export function readKeySet(text: string): KeySet {
  if (Buffer.byteLength(text) > keySetLimits.bytes)
    throw new Error(`it has more than ${keySetLimits.bytes} bytes`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new Error(`it is no JSON: it begins with ${JSON.stringify(text.trimStart().slice(0, 16))}`);
  }
  const given: unknown = isRecord(parsed) ? parsed['keys'] : undefined;
  if (!Array.isArray(given)) throw new Error('it is no JWK Set: it has no list of keys');
  if (given.length > keySetLimits.keys) throw new Error(`it has more than ${keySetLimits.keys} keys`);
  const dropped: string[] = [];
  const keys: Jwk[] = [];
  given.forEach((key: unknown, index) => {
    if (!isRecord(key)) throw new Error(`key ${index + 1} is no object`);
    // Who could read the set could sign with this key. Whoever published it may have mixed up others, too.
    if (key['kty'] !== 'oct' && privateFields.some((name) => Object.hasOwn(key, name)))
      throw new Error(
        `${nameOf(key, index)} is a private key: publish public keys only, and replace this one`,
      );
    const long = typeof key['kid'] === 'string' && key['kid'].length > kidCharsMax;
    const problem = long ? `its kid has more than ${kidCharsMax} characters` : keyProblem(key);
    if (problem === undefined) keys.push(pick(key));
    else dropped.push(`${nameOf(key, index)} is not used: ${problem}`);
  });
  if (keys.length === 0)
    throw new Error(
      `it has no key that can be used${dropped.length > 0 ? `: ${dropped.slice(0, 3).join('; ')}` : ''}`,
    );
  keys.sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
  return { jwks: JSON.stringify({ keys }), count: keys.length, dropped };
}
