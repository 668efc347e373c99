/**
 * The policy of what a RequestAuthentication selects. The waypoint validates tokens for requests to a Service; this policy denies requests with
 * a token, or with a header that only a valid token sets, if no token of theirs was validated. Where no waypoint reads requests, it denies all
 * connections. Pure.
 */
import {
  emptyHttpMatch,
  emptyMatch,
  type AuthorizationPolicy,
  type HttpMatch,
} from '../../../src/model/policy.js';
import { unverified, withoutToken } from '../../compile/token-guard.js';
import type { IstioObject } from '../../objects/objects.js';
import { issuersOf } from './request-tokens.js';

/** The rules of the policy that denies. */
export function tokenRules(object: IstioObject<'RequestAuthentication'>): AuthorizationPolicy['rules'] {
  const { jwtRules = [] } = object.spec;
  if (object.invalid !== undefined) return [{ clauses: [] }];
  // Several objects apply together, so a token of another one's issuer is valid, too.
  const conditions: Partial<HttpMatch>[] = [
    ...unverified(issuersOf(object)).map((one) => ({ ...one, claims: [withoutToken([])] })),
    ...jwtRules.flatMap(({ presence, issuer }) =>
      presence === 'REQUIRED' ? [{ claims: [withoutToken(issuer === undefined ? [] : [issuer])] }] : [],
    ),
  ];
  return conditions.map((one) => ({
    clauses: [{ matches: [{ ...emptyMatch, http: { ...emptyHttpMatch, ...one } }] }],
  }));
}
