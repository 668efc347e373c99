/** Reads JSON Web Tokens (RFC 7519) in the compact form of signatures (RFC 7515), without a look at keys. Never throws. */
import { readObject, type JsonObject, type JsonSize } from './json-object.js';

/** Characters of a token. */
export const tokenCharsMax = 8_192;

export interface DecodedToken {
  readonly algorithm: string;
  readonly keyId: string | undefined;
  readonly claims: JsonObject;
  readonly issuer: string;
  readonly audiences: readonly string[];
  /** Seconds since 1970; Infinity and -Infinity if the token has no such claim. */
  readonly expires: number;
  readonly notBefore: number;
  /** Of the claims, for the cache's count of memory. */
  readonly size: JsonSize;
}

export type TokenFault = 'too-large' | 'malformed' | 'algorithm';
/** Why a token is not valid, whatever the keys. */
export interface Faulty {
  readonly fault: TokenFault;
  readonly why: string;
}

/** The algorithms of asymmetric keys (RFC 7518, RFC 8037, RFC 9864), each with its keys' type and curve. */
export const algorithms = new Map<string, { readonly type: string; readonly curve?: string }>([
  ['RS256', { type: 'RSA' }],
  ['RS384', { type: 'RSA' }],
  ['RS512', { type: 'RSA' }],
  ['PS256', { type: 'RSA' }],
  ['PS384', { type: 'RSA' }],
  ['PS512', { type: 'RSA' }],
  ['ES256', { type: 'EC', curve: 'P-256' }],
  ['ES384', { type: 'EC', curve: 'P-384' }],
  ['ES512', { type: 'EC', curve: 'P-521' }],
  ['EdDSA', { type: 'OKP', curve: 'Ed25519' }],
  ['Ed25519', { type: 'OKP', curve: 'Ed25519' }],
]);

const malformed = (why: string): Faulty => ({ fault: 'malformed', why });
const part = /^[A-Za-z0-9_-]+$/;

/** Reads a token. Nothing of the result is proven before the signature is verified. Pure. */
export function decodeToken(token: string): DecodedToken | Faulty {
  if (token.length > tokenCharsMax)
    return { fault: 'too-large', why: `the token has more than ${tokenCharsMax} characters` };
  const parts = token.split('.', 6);
  const [header, payload, signature] = parts.map(bytesOf);
  if (parts.length === 5) return malformed('the token is encrypted');
  if (parts.length !== 3 || !header || !payload || !signature)
    return malformed('the token is not three parts in base64url');
  const head = readObject(header);
  if (!head.object) return malformed(`the token's header ${head.why}`);
  const body = readObject(payload);
  if (!body.object) return malformed(`the token's payload ${body.why}`);
  return headerFault(head.object) ?? claimsOf(body.object, head.object, body.size);
}

/** Only the one encoding of the bytes is read, without padding and unused bits. */
function bytesOf(text: string): Buffer | undefined {
  if (!part.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

function headerFault({ alg, kid, typ, crit, b64 }: JsonObject): Faulty | undefined {
  if (typeof alg !== 'string') return malformed("the token's header has no algorithm");
  if (!algorithms.has(alg))
    return { fault: 'algorithm', why: `tokens of algorithm ${JSON.stringify(alg.slice(0, 32))} are refused` };
  if (kid !== undefined && typeof kid !== 'string') return malformed("the token's key ID is no text");
  // RFC 7515, section 4.1.11: what is critical has to be understood, and nothing is.
  if (crit !== undefined || b64 !== undefined) return malformed("the token's header has critical extensions");
  if (typ !== undefined && !isAccessTokenType(typ)) return malformed('the token is of another kind');
  return undefined;
}

/**
 * RFC 8725, section 3.11: a token that is explicitly of another kind, for instance `logout+jwt` of the same issuer, is no access token.
 */
function isAccessTokenType(typ: unknown): boolean {
  if (typeof typ !== 'string') return false;
  const type = typ.toLowerCase().replace(/^application\//, '');
  return type === 'at+jwt' || !type.endsWith('+jwt');
}

function claimsOf(claims: JsonObject, { alg, kid }: JsonObject, size: JsonSize): DecodedToken | Faulty {
  const { iss, aud, exp, nbf, iat } = claims;
  if (typeof iss !== 'string') return malformed('the token has no issuer');
  const audiences: unknown[] = aud === undefined ? [] : Array.isArray(aud) ? aud : [aud];
  if (!audiences.every((one) => typeof one === 'string'))
    return malformed("the token's audience is neither a text nor a list of texts");
  for (const time of [exp, nbf, iat])
    if (time !== undefined && !Number.isFinite(time)) return malformed('a time of the token is no number');
  return {
    algorithm: alg as string,
    keyId: kid as string | undefined,
    claims,
    issuer: iss,
    audiences,
    expires: (exp as number | undefined) ?? Infinity,
    notBefore: Math.max((nbf as number | undefined) ?? -Infinity, (iat as number | undefined) ?? -Infinity),
    size,
  };
}
