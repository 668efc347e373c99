/** The status of a TrafficPolicy: at each target whether it is in force, and whether waypoints apply it. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { namespaceOf } from '../../src/model/labels.js';
import {
  acceptedType,
  enforcedType,
  resolvedType,
  type AncestorStatus,
  type ParentRef,
  type TargetRef,
} from '../objects/objects.js';
import { auditedBy, inModeOf, type AuditLookup } from '../compile/audit.js';
import { closedMeans } from '../compile/closed.js';
import {
  compilePolicyObject,
  targetProblem,
  type PolicyObject,
  type TargetingPolicy,
  type TargetLookup,
} from '../compile/traffic-policy-targets.js';
import { jwtIssuers, type KeyLookup } from '../compile/jwt-filter.js';
import { demandsDecisions, type CompiledTrafficPolicy } from '../compile/traffic-policy.js';
import { waypointController, type WaypointName } from '../compile/waypoints.js';
import { missingDecisionServices } from '../problems/decision-services.js';
import { sectionsAudited } from './audit.js';
import {
  condition,
  trueUnless,
  withTransitionTimes,
  type ConditionReason,
  type ConditionUpdate,
} from './conditions.js';
import type { MeshLookup, StatusLookup, StatusUpdate } from './status.js';
import { unenforcedBecause } from './waypoint-binding.js';

/** What the conditions of a target depend on. */
export type PolicyLookup = Pick<
  MeshLookup,
  'waypointOf' | 'isWaypoint' | 'admits' | 'service' | keyof AuditLookup
> &
  TargetLookup;
type OlderVersions = StatusLookup['olderVersions'];

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The features (src/discovery/capabilities.ts) that a waypoint needs for a policy. */
function featuresOf({ sections, from }: CompiledTrafficPolicy): string[] {
  const features = from.length > 0 ? ['ServicePolicy.clients'] : [];
  for (const { settings } of sections) {
    const {
      rateLimits = [],
      externalAuthorization = [],
      faults = [],
      loadShedding = [],
      authentication = [],
      ...fields
    } = settings;
    if (authentication.length > 0) features.push('RouteFilter.jwt');
    for (const { $case } of [...rateLimits, ...externalAuthorization, ...faults, ...loadShedding])
      features.push(`RouteFilter.${snake($case)}`);
    features.push(...Object.keys(fields).map((name) => `ServicePolicy.${snake(name)}`));
    const kind = settings.loadBalancing?.kind;
    if (kind) features.push(`LoadBalancing.${snake(kind.$case)}`);
  }
  return features;
}

/** Why some replicas of the waypoint do not apply the policy. */
function lackedBy(
  waypoint: WaypointName,
  policy: CompiledTrafficPolicy,
  olderVersions: OlderVersions,
): ConditionReason | undefined {
  const needed = featuresOf(policy);
  for (const { version, lacks } of olderVersions?.(waypoint) ?? []) {
    const lacked = needed.filter((feature) => lacks.includes(feature));
    if (lacked.length > 0)
      return {
        reason: 'UnsupportedByWaypoint',
        message: `needs ${[...new Set(lacked)].join(', ')}, which waypoint ${waypoint.namespace}/${waypoint.name} of version ${version} does not support`,
      };
  }
  return undefined;
}

function unenforced(
  policy: TargetingPolicy,
  ref: TargetRef,
  lookup: PolicyLookup,
  olderVersions: OlderVersions,
): ConditionReason | undefined {
  const namespace = namespaceOf(policy);
  const [compiled] = inModeOf(namespace, [compilePolicyObject(policy)], lookup);
  if (!compiled) return undefined;
  if (ref.kind === 'Gateway') return lackedBy({ namespace, name: ref.name }, compiled, olderVersions);
  const service = lookup.service(namespace, ref.name);
  if (!service) return undefined;
  const unbound = unenforcedBecause(service, lookup);
  if (unbound?.reason === 'NoWaypoint' && demandsDecisions(compiled))
    return { ...unbound, message: `${unbound.message}; until then the Service's clients are refused` };
  if (unbound) return unbound;
  const waypoint = lookup.waypointOf(service);
  return waypoint && lackedBy(waypoint, compiled, olderVersions);
}

/** Issuers without keys, one text each. That is no fault of the policy: it is in force, and no token is valid. */
export function keyProblems(policy: TargetingPolicy, keySets: KeyLookup): string[] {
  const { authentication } = compilePolicyObject(policy);
  if (authentication === undefined || authentication === 'closed') return [];
  return jwtIssuers(authentication, keySets).flatMap(({ issuer, keysProblem }) =>
    keysProblem === '' ? [] : [`issuer ${issuer}: ${keysProblem}`],
  );
}

const unenforcedMeans = (policy: TargetingPolicy, lookup: AuditLookup): string =>
  policy.kind === 'AuthenticationPolicy' &&
  policy.spec.jwt?.dryRun !== true &&
  auditedBy(namespaceOf(policy), lookup) === undefined
    ? "; until a waypoint validates tokens, connections to the Service's pods are refused"
    : '';

export interface TargetConditions {
  readonly ref: TargetRef;
  readonly conditions: readonly ConditionUpdate[];
}

/** The conditions of a policy at each of its targets. */
export function targetConditions(
  policy: TargetingPolicy,
  lookup: PolicyLookup,
  olderVersions?: OlderVersions,
): TargetConditions[] {
  const { invalid } = policy;
  return policy.spec.targetRefs.map((ref) => {
    const problem =
      targetProblem(policy, ref, lookup) ??
      (invalid === undefined
        ? undefined
        : { reason: 'Invalid', message: `${invalid}; ${closedMeans(policy.kind)}` });
    if (problem)
      return { ref, conditions: [condition(acceptedType, 'False', problem.reason, problem.message)] };
    const missing = unenforced(policy, ref, lookup, olderVersions);
    return {
      ref,
      conditions: [
        condition(
          acceptedType,
          'True',
          'Accepted',
          ['in force', ...keyProblems(policy, lookup.keySets)].join('; '),
        ),
        missing
          ? condition(
              enforcedType,
              'False',
              missing.reason,
              `${missing.message}${unenforcedMeans(policy, lookup)}`,
            )
          : condition(enforcedType, 'True', 'Enforced', 'applied by the waypoint'),
      ],
    };
  });
}

const nameOf = ({ kind, name, sectionName }: TargetRef): string =>
  `${kind} ${name}${sectionName === undefined ? '' : ` port ${sectionName}`}`;

/** One condition for all targets: false with the first target where it is false. */
function summary(type: string, targets: readonly TargetConditions[]): ConditionUpdate[] {
  const all = targets.flatMap(({ ref, conditions }) =>
    conditions.filter((one) => one.type === type).map((one) => ({ ref, one })),
  );
  const wrong = all.find(({ one }) => one.status === 'False');
  if (wrong) return [{ ...wrong.one, message: `${nameOf(wrong.ref)}: ${wrong.one.message}` }];
  return all[0] ? [all[0].one] : [];
}

/** The conditions Accepted and Enforced of the policy as a whole. */
export function policyConditions(
  policy: TargetingPolicy,
  targets: readonly TargetConditions[],
): ConditionUpdate[] {
  const conditions = [...summary(acceptedType, targets), ...summary(enforcedType, targets)];
  if (conditions.length > 0) return conditions;
  // The closed form of a policy has no targets if none of them can be read.
  const message = `${policy.invalid ?? 'it has no target'}; ${closedMeans(policy.kind)}`;
  return [condition(acceptedType, 'False', 'Invalid', message)];
}

/** The condition ResolvedRefs of a policy that asks decision services. */
function decisionServices(policy: TargetingPolicy, lookup: PolicyLookup): ConditionUpdate[] {
  if (policy.kind !== 'TrafficPolicy' || policy.spec.externalAuthorization === undefined) return [];
  const [missing] = missingDecisionServices(policy, lookup);
  return [
    trueUnless(
      resolvedType,
      missing && { reason: 'BackendNotFound', message: `${missing.what}; ${missing.help}` },
      'the decision services exist',
    ),
  ];
}

export function trafficPolicyStatus(
  policy: TargetingPolicy,
  { mesh, timestamp, olderVersions }: StatusLookup,
): StatusUpdate | undefined {
  const { generation } = policy.metadata;
  const targets = targetConditions(policy, mesh, olderVersions);
  const present = policy.status ?? {};
  const audit = sectionsAudited(policy, mesh);
  const ofWhole = [...decisionServices(policy, mesh), ...(audit ? [audit] : [])];
  const conditions = withTransitionTimes(
    [...policyConditions(policy, targets), ...ofWhole],
    present.conditions,
    generation,
    timestamp,
  );
  const ancestors = targets.map((target): AncestorStatus => {
    const ancestorRef = ancestorOf(policy, target.ref);
    const before = present.ancestors?.find((one) => isDeepStrictEqual(one.ancestorRef, ancestorRef));
    return {
      ancestorRef,
      controllerName: waypointController,
      conditions: withTransitionTimes(
        [...target.conditions, ...ofWhole],
        before?.conditions,
        generation,
        timestamp,
      ),
    };
  });
  const status = { conditions, ancestors };
  return isDeepStrictEqual(status, {
    conditions: present.conditions ?? [],
    ancestors: present.ancestors ?? [],
  })
    ? undefined
    : { status };
}

export const ancestorOf = (
  policy: PolicyObject,
  { group, kind, name, sectionName }: TargetRef,
): ParentRef => ({
  group,
  kind,
  namespace: namespaceOf(policy),
  name,
  ...(sectionName === undefined ? {} : { sectionName }),
});
