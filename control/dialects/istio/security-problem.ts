/** Why a policy of Istio's security API is not in force as written. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { Problem } from '../../registry/claims.js';
import type { Registry } from '../../registry/registry.js';
import { scopeOf, type SecurityPolicy } from './security-scope.js';

export function securityProblem(object: SecurityPolicy, registry: Registry): Problem | undefined {
  const { targets } = scopeOf(object);
  const root = registry.rootNamespace;
  if (targets && targets.classes.length > 0 && namespaceOf(object) !== root)
    return {
      reason: 'TargetNotAllowed',
      message: `a GatewayClass can be targeted in the root namespace ${root} alone; that target is ignored`,
    };
  if (object.kind === 'AuthorizationPolicy')
    return object.spec.action === 'CUSTOM'
      ? {
          reason: 'Unsupported',
          message:
            'action CUSTOM: there are no extension providers; requests that its rules match are denied. Write what the provider decides as ALLOW and DENY policies',
        }
      : undefined;
  if ((object.spec.jwtRules ?? []).length === 0) return undefined;
  return {
    reason: 'Unsupported',
    message:
      'tokens are not validated yet: requests to what it selects that carry a token where its jwtRules look for one are denied, and other requests pass as in Istio. Where no waypoint reads the requests, all connections are denied. Rules on requestPrincipals and request.auth of AuthorizationPolicies allow nothing',
  };
}
