/** Compiles issuers of tokens to the filter that waypoints validate tokens with. Pure. Errors name the field. */
import type { JwtIssuer, JwtLocation } from '../../src/discovery/gen/weft.js';
import { claimHeader } from '../../src/model/claim-headers.js';
import type { RouteFilter } from '../../src/model/route.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import { readKeySet } from '../jwks/key-set.js';
import { uriProblem } from '../jwks/uri.js';
import type { JwtIssuerSpec, JwtSpec } from '../objects/authentication-policy.js';
import { durationMs } from './traffic-policy-values.js';

/** Where the keys of an issuer come from. */
export type KeySource =
  | { readonly kind: 'inline'; readonly jwks: string }
  | { readonly kind: 'uri'; readonly uri: string }
  | { readonly kind: 'none'; readonly problem: string };

/** An issuer without its keys, which may be fetched later than it is compiled. */
export interface IssuerTemplate extends Omit<JwtIssuer, 'jwks' | 'keysProblem' | 'keysUri'> {
  readonly keys: KeySource;
}
export interface JwtTemplate {
  readonly name: string;
  readonly issuers: readonly IssuerTemplate[];
  readonly required: boolean;
  readonly dryRun: boolean;
}

/** The keys behind a URI. */
export interface FetchedKeys {
  /** Empty: there are none. */
  readonly jwks: string;
  /** Why there are none. */
  readonly problem: string;
}
export interface KeyLookup {
  of(uri: string): FetchedKeys;
}

/** Envoy's default, and Istio's. */
export const clockSkewMs = 60_000;
/** A longer tolerance would make the expiry of tokens meaningless. */
const clockSkewMsMax = 600_000;

/** The places without `from`: as RFC 6750 names them. */
export const defaultLocations: readonly JwtLocation[] = [
  { place: { $case: 'header', value: { name: 'authorization', prefix: 'Bearer ' } } },
  { place: { $case: 'query', value: 'access_token' } },
];

/** The name of a header that a token may set, in lower case. */
export function claimHeaderName(at: string, given: string): string {
  const name = claimHeader(given);
  if (name === undefined) throw new Error(`${at}: ${JSON.stringify(given)} cannot be set from a token`);
  return name;
}

function locationOf(one: NonNullable<JwtIssuerSpec['from']>[number], at: string): JwtLocation {
  const { header, query, cookie } = one;
  if ([header, query, cookie].filter((place) => place !== undefined).length !== 1)
    throw new Error(`${at}: give one of header, query and cookie`);
  if (header)
    return {
      place: { $case: 'header', value: { name: header.name.toLowerCase(), prefix: header.prefix ?? '' } },
    };
  if (query !== undefined) return { place: { $case: 'query', value: query } };
  return { place: { $case: 'cookie', value: cookie ?? '' } };
}

function keysOf({ inline, uri }: JwtIssuerSpec['jwks'], at: string): KeySource {
  if ((inline === undefined) === (uri === undefined)) throw new Error(`${at}: give either inline or uri`);
  if (uri !== undefined) {
    const problem = uriProblem(uri);
    if (problem !== undefined) throw new Error(`${at}.uri: ${problem}`);
    return { kind: 'uri', uri };
  }
  try {
    return { kind: 'inline', jwks: readKeySet(inline ?? '').jwks };
  } catch (error) {
    throw new Error(`${at}.inline: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

function issuerTemplate(spec: JwtIssuerSpec, at: string): IssuerTemplate {
  const skewMs = spec.clockSkew === undefined ? clockSkewMs : durationMs(`${at}.clockSkew`, spec.clockSkew);
  if (skewMs > clockSkewMsMax) throw new Error(`${at}.clockSkew: it may be at most 10m`);
  return {
    issuer: spec.issuer,
    audiences: [...(spec.audiences ?? [])],
    keys: keysOf(spec.jwks, `${at}.jwks`),
    locations: spec.from
      ? spec.from.map((one, index) => locationOf(one, `${at}.from[${index}]`))
      : [...defaultLocations],
    clockSkewMs: skewMs,
    forward: spec.forward ?? false,
    claimHeaders: (spec.claimHeaders ?? []).map(({ header, claim }, index) => ({
      header: claimHeaderName(`${at}.claimHeaders[${index}].header`, header),
      claim: [...claim],
    })),
    payloadHeader:
      spec.payloadHeader === undefined ? '' : claimHeaderName(`${at}.payloadHeader`, spec.payloadHeader),
    spaceDelimitedClaims: [...(spec.spaceDelimitedClaims ?? [])],
  };
}

/** @param name of the policy, for logs and metrics */
export function jwtTemplate(spec: JwtSpec, name: string, at: string): JwtTemplate {
  const issuers = spec.issuers.map((one, index) => issuerTemplate(one, `${at}.issuers[${index}]`));
  const names = new Set<string>();
  for (const { issuer, claimHeaders } of issuers) {
    if (names.has(issuer)) throw new Error(`${at}.issuers: the issuer ${issuer} occurs twice`);
    names.add(issuer);
    const headers = new Set<string>();
    for (const { header } of claimHeaders) {
      if (headers.has(header)) throw new Error(`${at}.issuers: the header ${header} is set twice`);
      headers.add(header);
    }
  }
  return { name, issuers, required: spec.required ?? true, dryRun: spec.dryRun ?? false };
}

/** Limits of docs/limits.md. Each port of each Service has its own copy. */
export const filterLimits = { issuers: 64, keysBytes: 128 * 1024 } as const;

const tooManyIssuers = `more than ${filterLimits.issuers} issuers`;
const namesCharsMax = 1_024;

/** Why a port is closed whose tokens have more issuers than fit; undefined: they fit. Nobody would protect the headers and places of the others. */
export const crowdedBecause = ({ name, issuers }: JwtTemplate): string | undefined =>
  issuers.length > filterLimits.issuers
    ? `${name.slice(0, namesCharsMax)}: ${issuers.length} in all, ${tooManyIssuers}`
    : undefined;
/** Whether a port is closed for that reason. */
export const isCrowded = ({ closed }: Pick<ServicePolicy, 'closed'>): boolean =>
  closed?.endsWith(tooManyIssuers) === true;

/** The issuers with the keys that are known now, or with the reason why they have none. */
export function jwtIssuers({ issuers }: Pick<JwtTemplate, 'issuers'>, fetched: KeyLookup): JwtIssuer[] {
  let left: number = filterLimits.keysBytes;
  const keysFor = (keys: KeySource): FetchedKeys => {
    if (keys.kind === 'none') return { jwks: '', problem: keys.problem };
    const found = keys.kind === 'uri' ? fetched.of(keys.uri) : { jwks: keys.jwks, problem: '' };
    if (found.jwks.length > left)
      return { jwks: '', problem: `the keys of all issuers have more than ${filterLimits.keysBytes} bytes` };
    left -= found.jwks.length;
    return found;
  };
  return issuers.slice(0, filterLimits.issuers).map(({ keys, ...issuer }) => {
    const { jwks, problem } = keysFor(keys);
    const keysUri = keys.kind === 'uri' ? keys.uri : '';
    return { ...issuer, jwks, keysUri, keysProblem: jwks === '' ? problem : '' };
  });
}

/** The filter that waypoints apply. */
export const jwtFilter = (template: JwtTemplate, fetched: KeyLookup): RouteFilter => ({
  $case: 'jwt',
  value: { ...template, issuers: jwtIssuers(template, fetched) },
});

/** URIs of key sets that a template needs. */
export const urisOf = ({ issuers }: Pick<JwtTemplate, 'issuers'>): string[] =>
  issuers.flatMap(({ keys }) => (keys.kind === 'uri' ? [keys.uri] : []));
