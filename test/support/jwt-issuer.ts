/** An issuer of JSON Web Tokens, with keys of its own. Tokens may be broken in any way. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import type { JwtFilter, JwtIssuer } from '../../src/discovery/gen/weft.js';
import type { RouteFilter } from '../../src/model/route.js';
import { filter } from './filters.js';

export const issuerName = 'https://issuer.test';

export type Algorithm =
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'PS256'
  | 'PS384'
  | 'PS512'
  | 'ES256'
  | 'ES384'
  | 'ES512'
  | 'EdDSA'
  | 'Ed25519';
export const allAlgorithms: readonly Algorithm[] = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
  ...(['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const),
];

export interface SigningKey {
  readonly algorithm: Algorithm;
  readonly keyId: string;
  readonly privateKey: KeyObject;
  /** The public key, as a JWK Set lists it. */
  readonly jwk: JsonWebKey;
}

export function newKey(algorithm: Algorithm, keyId: string = algorithm, rsaBits = 2_048): SigningKey {
  const { privateKey, publicKey } = newPair(algorithm, rsaBits);
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: keyId, alg: algorithm, use: 'sig' };
  return { algorithm, keyId, privateKey, jwk };
}

function newPair(
  algorithm: Algorithm,
  modulusLength: number,
): { privateKey: KeyObject; publicKey: KeyObject } {
  switch (algorithm) {
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' });
    case 'ES384':
      return generateKeyPairSync('ec', { namedCurve: 'P-384' });
    case 'ES512':
      return generateKeyPairSync('ec', { namedCurve: 'P-521' });
    case 'EdDSA':
    case 'Ed25519':
      return generateKeyPairSync('ed25519');
    default:
      return generateKeyPairSync('rsa', { modulusLength });
  }
}

export const jwksOf = (...keys: readonly { readonly jwk: object }[]): string =>
  JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });

export const inSeconds = (s: number): number => Math.floor(Date.now() / 1_000) + s;

/** Claims of a valid token. */
export const claimsOf = (more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => ({
  iss: issuerName,
  sub: 'ann',
  aud: 'shop',
  exp: inSeconds(3_600),
  ...more,
});

const encode = (text: string | Buffer): string => Buffer.from(text as string).toString('base64url');
const json = (part: unknown): string => (typeof part === 'string' ? part : JSON.stringify(part));

/** Signs a token. @param header fields besides the key's own. Texts are taken as they are. */
export function signed(
  key: SigningKey,
  claims: Readonly<Record<string, unknown>> | string = claimsOf(),
  header: Readonly<Record<string, unknown>> | string = {},
): string {
  const head = typeof header === 'string' ? header : { alg: key.algorithm, kid: key.keyId, ...header };
  const input = `${encode(json(head))}.${encode(json(claims))}`;
  return `${input}.${encode(signatureOf(key, Buffer.from(input)))}`;
}

function signatureOf({ algorithm, privateKey }: SigningKey, input: Buffer): Buffer {
  const digest = `sha${algorithm.slice(2)}`;
  switch (algorithm.slice(0, 2)) {
    case 'ES':
      return sign(digest, input, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    case 'PS':
      return sign(digest, input, { key: privateKey, padding: 6, saltLength: -1 });
    case 'RS':
      return sign(digest, input, privateKey);
    default:
      return sign(null, input, privateKey);
  }
}

/** The place `Authorization: Bearer`. */
export const bearer: JwtIssuer['locations'][number] = {
  place: { $case: 'header', value: { name: 'Authorization', prefix: 'Bearer ' } },
};

export const issuerOf = (
  key: SigningKey | readonly SigningKey[],
  more: Partial<JwtIssuer> = {},
): JwtIssuer => ({
  issuer: issuerName,
  audiences: [],
  jwks: jwksOf(...[key].flat()),
  keysProblem: '',
  keysUri: '',
  locations: [bearer],
  clockSkewMs: 0,
  forward: false,
  claimHeaders: [],
  payloadHeader: '',
  spaceDelimitedClaims: [],
  ...more,
});

export const policyName = 'JwtPolicy shop/users';
/** The filter of a policy with these issuers. */
export const jwtFilter = (issuers: readonly JwtIssuer[], more: Partial<JwtFilter> = {}): RouteFilter =>
  filter('jwt', { name: policyName, issuers: [...issuers], required: false, dryRun: false, ...more });

/** The HMAC key that a verifier takes who confuses algorithms: the public key's text. */
export const publicPem = ({ privateKey }: SigningKey): string =>
  createPublicKey(createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' })))
    .export({ type: 'spki', format: 'pem' })
    .toString();
