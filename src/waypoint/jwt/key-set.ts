/** The public keys of an issuer, from its JWK Set (RFC 7517). */
import { createPublicKey, hash, type JsonWebKey, type KeyObject } from 'node:crypto';
import { algorithms, type DecodedToken } from './token.js';

export interface VerificationKey {
  /** Unique for the public key and the algorithm that it is restricted to. */
  readonly id: string;
  readonly key: KeyObject;
  readonly type: string;
  readonly curve: string | undefined;
  readonly keyId: string | undefined;
  readonly algorithm: string | undefined;
}

/** Keys that are tried for a token that names none. */
export const triesMax = 8;
/** Keys of a set. Further ones are ignored. */
export const keysMax = 100;
const rsaBitsMin = 2_048;
const rsaBitsMax = 8_192;
/** With a long exponent a verification takes tens of milliseconds. */
const rsaExponentMax = 0xffff_ffffn;

export interface KeySet {
  readonly keys: readonly VerificationKey[];
  /** Why keys cannot be used. */
  readonly problems: readonly string[];
}

/** Reads a JWK Set. A key that cannot be used is left out, because others of the set may be meant for other users. */
export function readKeySet(json: string): KeySet {
  const keys: VerificationKey[] = [];
  const problems: string[] = [];
  let listed: unknown;
  try {
    listed = (JSON.parse(json) as { keys?: unknown } | null)?.keys;
  } catch {
    return { keys, problems: ['the JWK Set is no JSON'] };
  }
  if (!Array.isArray(listed)) return { keys, problems: ['the JWK Set has no list of keys'] };
  if (listed.length > keysMax) problems.push(`the JWK Set has more than ${keysMax} keys`);
  listed.slice(0, keysMax).forEach((jwk: unknown, index) => {
    const key = readKey(jwk);
    if (typeof key === 'string') problems.push(`key ${index}: ${key}`);
    else keys.push(key);
  });
  return { keys, problems };
}

function readKey(jwk: unknown): VerificationKey | string {
  if (typeof jwk !== 'object' || jwk === null) return 'is no object';
  const { kty, crv, use, key_ops: operations, kid, alg, d, n, e, x, y } = jwk as Record<string, unknown>;
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP') return 'is no public key of a known type';
  if (d !== undefined) return 'is a private key';
  if (use !== undefined && use !== 'sig') return 'is not for signatures';
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return 'is not for verification';
  if (kid !== undefined && typeof kid !== 'string') return 'has an ID that is no text';
  const curve = kty === 'RSA' ? undefined : String(crv);
  const isOfKey = ([, one]: readonly [string, { type: string; curve?: string }]): boolean =>
    one.type === kty && one.curve === curve;
  const usable = [...algorithms].filter(isOfKey).map(([name]) => name);
  if (usable.length === 0) return 'is of an unknown curve';
  if (alg !== undefined && !usable.includes(alg as string))
    return 'is for an algorithm that is not supported';
  let key: KeyObject;
  try {
    key = createPublicKey({ key: { kty, crv, n, e, x, y } as JsonWebKey, format: 'jwk' });
  } catch {
    return 'is invalid';
  }
  const { modulusLength: bits, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (kty === 'RSA' && (bits === undefined || bits < rsaBitsMin || bits > rsaBitsMax))
    return `has ${bits ?? 'unknown'} bits, not ${rsaBitsMin} to ${rsaBitsMax}`;
  if (publicExponent > rsaExponentMax) return 'has too long an exponent';
  const der = key.export({ type: 'spki', format: 'der' });
  return {
    id: `${hash('sha256', der, 'base64')} ${(alg as string | undefined) ?? ''}`,
    key,
    type: kty,
    curve,
    keyId: kid,
    algorithm: alg as string | undefined,
  };
}

/** The keys that may have signed a token. A key without an ID may be any. Pure. */
export function keysFor(
  keys: readonly VerificationKey[],
  { algorithm, keyId }: Pick<DecodedToken, 'algorithm' | 'keyId'>,
): readonly VerificationKey[] {
  const needed = algorithms.get(algorithm);
  const fitting = keys.filter(
    (key) =>
      key.type === needed?.type &&
      key.curve === needed.curve &&
      (key.algorithm === undefined || key.algorithm === algorithm) &&
      (keyId === undefined || key.keyId === undefined || key.keyId === keyId),
  );
  const named = keyId === undefined ? [] : fitting.filter((key) => key.keyId === keyId);
  return (named.length > 0 ? named : fitting).slice(0, triesMax);
}
