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
  return object.kind === 'AuthorizationPolicy' && object.spec.action === 'CUSTOM'
    ? {
        reason: 'Unsupported',
        message:
          'action CUSTOM: there are no extension providers; requests that its rules match are denied. Instead: externalAuthorization of a TrafficPolicy (external-authorization.md), or ALLOW and DENY policies',
      }
    : undefined;
}
