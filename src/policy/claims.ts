/** Conditions on the claims of a token (RFC 7519). */
import type { ClaimMatch, ClaimValue } from '../model/policy.js';
import { stringMatches } from './string-match.js';

/** The payload of a valid token. */
export type Claims = Readonly<Record<string, unknown>>;

/** The value of a claim; undefined if there is none. */
export function claimAt(claims: Claims, path: readonly string[]): unknown {
  let at: unknown = claims;
  for (const name of path) {
    if (typeof at !== 'object' || at === null || Array.isArray(at) || !Object.hasOwn(at, name))
      return undefined;
    at = (at as Claims)[name];
  }
  return at;
}

const valueMatches = (match: ClaimValue, value: unknown): boolean =>
  match.kind === 'number' || match.kind === 'boolean'
    ? value === match.value
    : match.kind === 'presence'
      ? value !== undefined && value !== null && value !== ''
      : typeof value === 'string' && stringMatches(match, value);

/** Without a token no claim has a value, so only a negated condition holds. Pure. */
export function claimHolds({ path, values, negated }: ClaimMatch, claims: Claims | undefined): boolean {
  const value = claims && claimAt(claims, path);
  const members: readonly unknown[] = Array.isArray(value) ? value : [value];
  return values.some((one) => members.some((member) => valueMatches(one, member))) !== negated;
}
