/**
 * What a RequestAuthentication means as long as tokens are not validated. In Istio it refuses requests with an invalid token, and lets those
 * without a token pass. A token that nobody validates could be invalid: requests that carry one are denied, the others pass. Pure.
 */
import {
  emptyHttpMatch,
  emptyMatch,
  type AuthorizationPolicy,
  type HttpMatch,
} from '../../../src/model/policy.js';
import type { JwtRule } from '../../objects/istio-security.js';
import type { IstioObject } from '../../objects/objects.js';

/** Headers that are denied, whatever their value is: endpoints differ in what they take for a token in it. */
function headersOf(rule: JwtRule): string[] {
  const { fromHeaders = [], fromParams = [], fromCookies = [] } = rule;
  const hasPlace = fromHeaders.length + fromParams.length + fromCookies.length > 0;
  return [
    ...(hasPlace ? [] : ['authorization']),
    ...fromHeaders.map(({ name }) => name),
    ...(fromCookies.length > 0 ? ['cookie'] : []),
    // Istio removes these from what clients send: only a validated token sets them, and endpoints believe them.
    ...(rule.outputPayloadToHeader ? [rule.outputPayloadToHeader] : []),
    ...(rule.outputClaimToHeaders ?? []).map(({ header }) => header),
  ].map((name) => name.toLowerCase());
}

/** Query parameters that hold a token. Without another place, Istio looks into `access_token`, too. */
const parametersOf = ({ fromHeaders = [], fromParams = [], fromCookies = [] }: JwtRule): readonly string[] =>
  fromHeaders.length + fromParams.length + fromCookies.length > 0 ? fromParams : ['access_token'];

/** The rules of the policy that denies. */
export function tokenRules({
  spec,
  invalid,
}: IstioObject<'RequestAuthentication'>): AuthorizationPolicy['rules'] {
  const { jwtRules = [] } = spec;
  if (invalid !== undefined || jwtRules.some(({ presence }) => presence === 'REQUIRED'))
    return [{ clauses: [] }];
  const headers = new Set(jwtRules.flatMap(headersOf));
  const parameters = [...new Set(jwtRules.flatMap(parametersOf))];
  const conditions: Partial<HttpMatch>[] = [
    ...[...headers].map((name) => ({
      headers: [{ name, values: [{ kind: 'presence' }] as const, negated: false }],
    })),
    ...(parameters.length > 0 ? [{ parameters }] : []),
  ];
  return conditions.map((one) => ({
    clauses: [{ matches: [{ ...emptyMatch, http: { ...emptyHttpMatch, ...one } }] }],
  }));
}
