/** The status of Istio's AuthorizationPolicies and RequestAuthentications: as of an AccessPolicy. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import { hasEffect, readsRequests } from './authorization.js';
import { scopeOf, type SecurityPolicy } from './security-scope.js';
import { enforcedType } from '../../objects/objects.js';
import { mayHaveWaypoint } from '../../compile/waypoints.js';
import { auditCondition } from '../../status/audit.js';
import { condition, type ConditionReason, type ConditionUpdate } from '../../status/conditions.js';
import { dialectUpdate } from '../../status/dialect.js';
import { unenforcedBecause } from '../../status/waypoint-binding.js';
import { enforcementOf } from '../../status/policy.js';
import type { MeshLookup, StatusLookup, StatusUpdate } from '../../status/status.js';

export const securityStatus = (object: SecurityPolicy, lookup: StatusLookup): StatusUpdate | undefined =>
  dialectUpdate(
    object,
    lookup,
    securityEnforcement(object, lookup.mesh),
    hasEffect(object) ? auditCondition(object, lookup.mesh) : undefined,
  );

/** The condition Enforced. Undefined for a policy that needs no waypoint. */
export function securityEnforcement(object: SecurityPolicy, lookup: MeshLookup): ConditionUpdate | undefined {
  if (!hasEffect(object)) return undefined;
  const crowded = object.kind === 'RequestAuthentication' ? lookup.crowdedPort(object) : undefined;
  if (crowded)
    return condition(
      enforcedType,
      'False',
      'TooManyIssuers',
      `requests to ${crowded.service} port ${crowded.port} are refused: ${crowded.closed ?? ''}. Have fewer issuers, or an AuthenticationPolicy at the Service`,
    );
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
  for (const name of targets?.serviceEntries ?? []) {
    const problem = entryProblem(namespace, name, lookup);
    if (problem) return condition(enforcedType, 'False', problem.reason, problem.message);
  }
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

/** Why no waypoint authorizes connections to a ServiceEntry; undefined: one does. */
function entryProblem(namespace: string, name: string, lookup: MeshLookup): ConditionReason | undefined {
  const entry = lookup.servedObject('ServiceEntry', namespace, name);
  if (!entry) return { reason: 'TargetNotFound', message: `there is no ServiceEntry ${namespace}/${name}` };
  if (entry.kind === 'ServiceEntry' && !mayHaveWaypoint(entry))
    return {
      reason: 'NoWaypoint',
      message: `connections to ServiceEntry ${namespace}/${name} are not authorized: they take no waypoint. Its resolution has to be STATIC or DNS, without a workloadSelector`,
    };
  return unenforcedBecause(entry, lookup);
}
