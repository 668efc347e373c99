/** The status of the Gateway API's policies about backends: one entry per target, beside those of other controllers. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { namespaceOf } from '../../src/model/labels.js';
import {
  acceptedType,
  enforcedType,
  type AncestorStatus,
  type BackendTrafficPolicyObject,
  type TargetRef,
} from '../objects/objects.js';
import { isCoreGroup } from '../compile/route-parents.js';
import { targetProblem } from '../compile/traffic-policy-targets.js';
import { waypointController } from '../compile/waypoints.js';
import { condition, withTransitionTimes, type ConditionReason, type ConditionUpdate } from './conditions.js';
import type { StatusLookup, StatusUpdate } from './status.js';
import { ancestorOf, type PolicyLookup } from './traffic-policy.js';
import { unenforcedBecause } from './waypoint-binding.js';

export type BackendPolicyObject = BackendTrafficPolicyObject;

/** Most entries that the API server accepts. */
const ancestorsMax = 16;

const closedMeans = 'until it is corrected, its Services have the smallest retry budget';

/** The first part of the policy that has no effect. */
const unsupported = ({ spec }: BackendPolicyObject): ConditionReason | undefined =>
  spec.sessionPersistence
    ? {
        reason: 'UnsupportedValue',
        message: 'sessionPersistence has no effect here: set it in the rule of an HTTPRoute or GRPCRoute',
      }
    : undefined;

/** The conditions at one target. Undefined if the target is another controller's: no Service, or a Service without a waypoint of Weft. */
export function backendConditions(
  policy: BackendPolicyObject,
  ref: TargetRef,
  lookup: PolicyLookup,
): readonly ConditionUpdate[] | undefined {
  if (!isCoreGroup(ref.group) || ref.kind !== 'Service') return undefined;
  const service = lookup.service(namespaceOf(policy), ref.name);
  const problem =
    targetProblem(policy, ref, lookup) ??
    (policy.invalid === undefined
      ? undefined
      : { reason: 'Invalid', message: `${policy.invalid}; ${closedMeans}` });
  const missing = service && (unenforcedBecause(service, lookup) ?? unsupported(policy));
  return [
    problem
      ? condition(acceptedType, 'False', problem.reason, problem.message)
      : condition(acceptedType, 'True', 'Accepted', 'in force'),
    ...(missing && !problem ? [condition(enforcedType, 'False', missing.reason, missing.message)] : []),
  ];
}

export function backendPolicyStatus(
  policy: BackendPolicyObject,
  { mesh, timestamp }: StatusLookup,
): StatusUpdate | undefined {
  const { generation } = policy.metadata;
  const present = policy.status?.ancestors ?? [];
  const others = present.filter(({ controllerName }) => controllerName !== waypointController);
  const own = policy.spec.targetRefs.flatMap((ref): AncestorStatus[] => {
    const conditions = backendConditions(policy, ref, mesh);
    if (!conditions) return [];
    const ancestorRef = ancestorOf(policy, ref);
    const before = present.find(
      (one) => one.controllerName === waypointController && isDeepStrictEqual(one.ancestorRef, ancestorRef),
    );
    return [
      {
        ancestorRef,
        controllerName: waypointController,
        conditions: withTransitionTimes(conditions, before?.conditions, generation, timestamp),
      },
    ];
  });
  const ancestors = [...others, ...own].slice(0, Math.max(ancestorsMax, others.length));
  if (isDeepStrictEqual(ancestors, present)) return undefined;
  // Several controllers write the list, each as a whole: the resource version makes a write fail after another controller's write.
  return { boundTo: ['resourceVersion'], status: { ancestors } };
}
