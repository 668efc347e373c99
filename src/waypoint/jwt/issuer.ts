/** One issuer of a policy, compiled: whether it accepts a token, and what the endpoint and policies get of the token's claims. */
import type { JwtIssuer } from '../../discovery/gen/weft.js';
import { claimHeader } from '../../model/claim-headers.js';
import { claimAt, type Claims } from '../../policy/claims.js';
import type { Headers } from '../http/headers.js';
import { placeOf, type TokenPlace } from './extract.js';
import { keysFor, readKeySet, type VerificationKey } from './key-set.js';
import type { DecodedToken } from './token.js';

/** Why a token is not accepted. */
export type Refusal =
  | 'too-large'
  | 'malformed'
  | 'algorithm'
  | 'several'
  | 'unknown-issuer'
  | 'place'
  | 'no-keys'
  | 'unknown-key'
  | 'signature'
  | 'expired'
  | 'not-yet-valid'
  | 'audience';
export interface Refused {
  readonly refusal: Refusal;
  readonly why: string;
}

/** What a valid token says, in the forms that are needed for each request. */
export interface ValidToken {
  /** For policies: lists in place of texts that are separated by spaces. */
  readonly claims: Claims;
  /** For the endpoint. */
  readonly headers: Headers;
  /** `<issuer>/<subject>`, for logs; as Istio's request principal. */
  readonly principal: string;
}

export interface Issuer {
  /** Unique for this configuration. */
  readonly serial: number;
  readonly name: string;
  readonly places: readonly TokenPlace[];
  readonly keys: readonly VerificationKey[];
  /** Where the control plane fetched the keys; empty: they are inline. */
  readonly keysUri: string;
  readonly forward: boolean;
  /** The headers of claims and of the payload, in lower case. */
  readonly headerNames: readonly string[];
  /** Whether the claims are acceptable now; undefined if they are. Times are in seconds. */
  check(token: DecodedToken, nowS: number): Refused | undefined;
  /** The keys that may have signed the token, or why there are none. */
  keysFor(token: DecodedToken): readonly VerificationKey[] | Refused;
  /** The token names a key that a newer set of the issuer may have. */
  mayBeOfNewKey(token: DecodedToken): boolean;
  /** @param payload the token's second part */
  read(token: DecodedToken, payload: string): ValidToken;
}

const alwaysLists = ['scope', 'permission'];
let made = 0;

/** Compiles an issuer. Error: this version cannot apply it. */
export function compileIssuer(config: JwtIssuer): Issuer {
  const { issuer: name, audiences, clockSkewMs, claimHeaders, payloadHeader } = config;
  if (name === '') throw new Error('an issuer has no name');
  const { keys, problems } = readKeySet(config.jwks === '' ? '{"keys":[]}' : config.jwks);
  const problem = [config.keysProblem, ...problems].filter((text) => text !== '').join('; ');
  const skewS = clockSkewMs / 1_000;
  const accepted = new Set(audiences);
  const lists = [...new Set([...alwaysLists, ...config.spaceDelimitedClaims])];
  const headerOfClaim = claimHeaders.map(({ header, claim }) => ({ header: settable(header), claim }));
  const ofPayload = payloadHeader === '' ? [] : [settable(payloadHeader)];
  return {
    serial: made++,
    name,
    places: config.locations.map(placeOf),
    keys,
    keysUri: config.keysUri,
    forward: config.forward,
    headerNames: [...headerOfClaim.map(({ header }) => header), ...ofPayload],
    check({ audiences: stated, expires, notBefore }, nowS) {
      if (nowS >= expires + skewS) return { refusal: 'expired', why: 'the token has expired (claim exp)' };
      if (nowS < notBefore - skewS)
        return { refusal: 'not-yet-valid', why: 'the token is not valid yet (claim nbf)' };
      if (accepted.size > 0 && !stated.some((one) => accepted.has(one)))
        return { refusal: 'audience', why: 'the token is for another audience (claim aud)' };
      return undefined;
    },
    keysFor(token) {
      if (keys.length === 0)
        return { refusal: 'no-keys', why: `there are no keys${problem === '' ? '' : `: ${problem}`}` };
      const fitting = keysFor(keys, token);
      return fitting.length > 0
        ? fitting
        : { refusal: 'unknown-key', why: "no key has the token's key ID and algorithm" };
    },
    mayBeOfNewKey: ({ keyId }) =>
      // A set without keys is being fetched anyway.
      config.keysUri !== '' &&
      keyId !== undefined &&
      keys.length > 0 &&
      !keys.some((key) => key.keyId === keyId),
    read({ claims }, payload) {
      const headers: Headers = ofPayload.flatMap((header) => [header, payload]);
      for (const { header, claim } of headerOfClaim) {
        const value = fieldValueOf(claimAt(claims, claim));
        if (value !== undefined) headers.push(header, value);
      }
      const subject = typeof claims['sub'] === 'string' ? claims['sub'] : '';
      return { claims: withLists(claims, lists), headers, principal: `${name}/${subject}` };
    },
  };
}

function settable(header: string): string {
  const name = claimHeader(header);
  if (name === undefined)
    throw new Error(`claims cannot be copied to the header ${JSON.stringify(header.slice(0, 64))}`);
  return name;
}

function withLists(claims: Claims, names: readonly string[]): Claims {
  const lists = names.flatMap((name) => {
    const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
    return typeof value === 'string' ? [[name, value.split(' ').filter((one) => one !== '')] as const] : [];
  });
  return lists.length === 0 ? claims : { ...claims, ...Object.fromEntries(lists) };
}

/**
 * A claim as the value of a header. Undefined: it has none that every reader takes for the same: an object, a number that is not exact, or a
 * list with a member that has a comma.
 */
function fieldValueOf(claim: unknown): string | undefined {
  if (Array.isArray(claim)) {
    const members = claim.map((one: unknown) => (Array.isArray(one) ? undefined : fieldValueOf(one)));
    return members.every((one) => one?.includes(',') === false) ? members.join(',') : undefined;
  }
  switch (typeof claim) {
    case 'string':
      return /[\0-\x1f\x7f]/.test(claim) ? undefined : Buffer.from(claim, 'utf8').toString('latin1');
    case 'number':
      return Number.isInteger(claim) && !Number.isSafeInteger(claim) ? undefined : String(claim);
    case 'boolean':
      return String(claim);
    default:
      return undefined;
  }
}
