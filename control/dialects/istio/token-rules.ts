/**
 * The policy of what a RequestAuthentication selects. The waypoint validates tokens for requests to a Service; this policy denies requests with
 * a token, or with a header that only a valid token sets, if no token of theirs was validated. Where no waypoint reads requests, it denies all
 * connections. Pure.
 */
import { namespaceOf } from '../../../src/model/labels.js';
import { emptyHttpMatch, emptyMatch, type AuthorizationPolicy } from '../../../src/model/policy.js';
import { unverified, withoutToken, type Conditions } from '../../compile/unverified-tokens.js';
import type { IstioObject, ServiceObject } from '../../objects/objects.js';
import type { Registry } from '../../registry/registry.js';
import { issuersOf } from './request-tokens.js';
import { scopeOf } from './security-scope.js';

/** The requests that are denied. Absent conditions: everything. */
export function tokenConditions(
  object: IstioObject<'RequestAuthentication'>,
): readonly (Conditions | undefined)[] {
  const { jwtRules = [] } = object.spec;
  if (object.invalid !== undefined) return [undefined];
  // Several objects apply together, so a token of another one's issuer is valid, too.
  return [
    ...unverified(issuersOf(object)).map((one) => ({ ...one, claims: [withoutToken([])] })),
    ...jwtRules.flatMap(({ presence, issuer }) =>
      presence === 'REQUIRED' ? [{ claims: [withoutToken(issuer === undefined ? [] : [issuer])] }] : [],
    ),
  ];
}

/** The rules of the policy that denies. */
export const tokenRules = (object: IstioObject<'RequestAuthentication'>): AuthorizationPolicy['rules'] =>
  tokenConditions(object).map((one) => ({
    clauses: one ? [{ matches: [{ ...emptyMatch, http: { ...emptyHttpMatch, ...one } }] }] : [],
  }));

/** The RequestAuthentications that target a Service. Others select its pods, which reference them. */
export function requestsTargeting(
  service: ServiceObject,
  registry: Pick<Registry, 'indexes'>,
): IstioObject<'RequestAuthentication'>[] {
  return registry.indexes.RequestAuthentication.in(namespaceOf(service)).filter((object) =>
    scopeOf(object).targets?.services.includes(service.metadata.name),
  );
}
