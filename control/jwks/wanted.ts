/** Which objects want key sets to be fetched. Pure. */
import { compileAuthenticationPolicy } from '../compile/authentication-policy.js';
import type { Compiler } from '../compile/compile.js';
import { urisOf } from '../compile/jwt-filter.js';
import { issuersOf } from '../dialects/istio/request-tokens.js';
import type { AuthenticationPolicyObject, IstioObject } from '../objects/objects.js';

export type WantingObject = AuthenticationPolicyObject | IstioObject<'RequestAuthentication'>;

/** The objects that may name key sets. */
export function* wantingObjects({
  indexes,
  authenticationPolicies,
}: Pick<Compiler, 'indexes' | 'authenticationPolicies'>): Iterable<WantingObject> {
  yield* authenticationPolicies.all();
  yield* indexes.RequestAuthentication.all();
}

/** The URIs of key sets that an object names. */
export function urisOfObject(object: WantingObject): readonly string[] {
  if (object.kind === 'RequestAuthentication') return urisOf({ issuers: issuersOf(object) });
  return compileAuthenticationPolicy(object).sections.flatMap(({ settings }) =>
    (settings.authentication ?? []).flatMap(urisOf),
  );
}
