/** The status of Istio's AuthorizationPolicies and RequestAuthentications: as of an AccessPolicy. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import { hasEffect, readsRequests } from './authorization.js';
import { scopeOf, type SecurityPolicy } from './security-scope.js';
import { enforcedType } from '../../objects/objects.js';
import { condition, type ConditionUpdate } from '../../status/conditions.js';
import { dialectUpdate } from '../../status/dialect.js';
import { enforcementOf } from '../../status/policy.js';
import type { MeshLookup, StatusLookup, StatusUpdate } from '../../status/status.js';

export const securityStatus = (object: SecurityPolicy, lookup: StatusLookup): StatusUpdate | undefined =>
  dialectUpdate(object, lookup, securityEnforcement(object, lookup.mesh));

/** The condition Enforced. Undefined for a policy that needs no waypoint. */
export function securityEnforcement(object: SecurityPolicy, lookup: MeshLookup): ConditionUpdate | undefined {
  if (!hasEffect(object)) return undefined;
  const namespace = namespaceOf(object);
  const { selector, targets } = scopeOf(object);
  for (const name of targets?.gateways ?? [])
    if (!lookup.isWaypoint({ namespace, name }))
      return condition(
        enforcedType,
        'False',
        'TargetNotFound',
        `Gateway ${namespace}/${name} is no waypoint of Weft: the policy has no effect there`,
      );
  const [entry] = targets?.serviceEntries ?? [];
  if (entry !== undefined)
    return condition(
      enforcedType,
      'False',
      'NoWaypoint',
      `no waypoint serves ServiceEntry ${namespace}/${entry}: connections to it are not authorized`,
    );
  if (targets && targets.services.length === 0)
    return condition(enforcedType, 'True', 'Enforced', 'enforced at the waypoints that it targets');
  return enforcementOf(
    {
      namespace,
      isMeshWide: namespace === lookup.rootNamespace,
      readsRequests: targets !== undefined || readsRequests(object),
      ...(selector ? { selector } : {}),
      ...(targets ? { services: targets.services } : {}),
    },
    lookup,
  );
}
