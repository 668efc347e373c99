/** The status of an AccessPolicy: whether it is in force, and whether waypoints enforce its rules on requests. Pure. */
import { labelsOf, namespaceOf, selects, type Labels } from '../../src/model/labels.js';
import { enforcedType, type AccessPolicyObject } from '../objects/objects.js';
import { readsRequests } from '../compile/policies.js';
import { auditCondition } from './audit.js';
import { acceptedUpdate, invalidBecause } from './accepted.js';
import { condition, type ConditionUpdate } from './conditions.js';
import type { MeshLookup, StatusLookup, StatusUpdate } from './status.js';
import { unenforcedBecause } from './waypoint-binding.js';

export const policyStatus = (
  policy: AccessPolicyObject,
  { mesh, timestamp }: StatusLookup,
): StatusUpdate | undefined =>
  acceptedUpdate(
    policy,
    invalidBecause(policy) ?? mesh.problemOf(policy),
    timestamp,
    policyEnforcement(policy, mesh),
    undefined,
    auditCondition(policy, mesh),
  );

const withoutWaypoint =
  '; without a waypoint, such a rule allows nothing in an ALLOW policy, and denies everything that it might match in a DENY policy';

/** The condition Enforced. Undefined for a policy that needs no waypoint, as all its rules are about connections. */
export function policyEnforcement(
  policy: AccessPolicyObject,
  lookup: MeshLookup,
): ConditionUpdate | undefined {
  const { selector, targetRefs } = policy.spec;
  const namespace = namespaceOf(policy);
  const found = enforcementOf(
    {
      namespace,
      isMeshWide: namespace === lookup.rootNamespace && !selector,
      readsRequests: readsRequests(policy),
      ...(selector ? { selector: selector.matchLabels } : {}),
      ...(targetRefs ? { services: targetRefs.map(({ name }) => name) } : {}),
    },
    lookup,
  );
  return found?.status === 'True' && comparesTokens(policy)
    ? (withoutTokens(policy, lookup) ?? found)
    : found;
}

const comparesTokens = ({ spec }: AccessPolicyObject): boolean =>
  spec.rules.some(({ from }) => (from ?? []).some(({ jwt }) => jwt !== undefined));

/** A policy that compares tokens where nobody validates any. Undefined: somebody does. */
function withoutTokens(
  { metadata, spec }: AccessPolicyObject,
  lookup: MeshLookup,
): ConditionUpdate | undefined {
  const namespace = namespaceOf({ metadata });
  const { selector, targetRefs } = spec;
  // Policies of the whole mesh are for Services with and without tokens.
  if (!targetRefs && namespace === lookup.rootNamespace) return undefined;
  const services = targetRefs
    ? targetRefs.flatMap(({ name }) => lookup.service(namespace, name) ?? [])
    : lookup.services(namespace).filter(({ spec: { selector: of } }) =>
        lookup.selectable(namespace).some((one) => {
          const labels = labelsOf(one);
          return selects(of, labels) && (!selector || selects(selector.matchLabels, labels));
        }),
      );
  if (services.some((service) => lookup.validatesTokens(service))) return undefined;
  return condition(
    enforcedType,
    'False',
    'NoTokens',
    'no AuthenticationPolicy validates tokens for a Service of the policy, so that no request has a valid one: rules on tokens match nothing, and their negations match every request',
  );
}

/** What the condition Enforced depends on. */
export interface EnforcedPolicy {
  readonly namespace: string;
  /** Whether it selects pods of all namespaces. */
  readonly isMeshWide: boolean;
  readonly readsRequests: boolean;
  readonly selector?: Labels;
  /** Names of the Services that it targets, instead of pods. */
  readonly services?: readonly string[];
}

export function enforcementOf(policy: EnforcedPolicy, lookup: MeshLookup): ConditionUpdate | undefined {
  const { namespace, services, readsRequests: isOfRequests } = policy;
  if (!isOfRequests) return undefined;
  if (!services) return selectedEnforcement(policy, lookup);
  for (const name of services) {
    const service = lookup.service(namespace, name);
    const problem = service
      ? unenforcedBecause(service, lookup)
      : { reason: 'TargetNotFound', message: `there is no Service ${namespace}/${name}` };
    if (problem) return condition(enforcedType, 'False', problem.reason, problem.message);
  }
  return condition(enforcedType, 'True', 'Enforced', 'enforced at the waypoint of each target Service');
}

/** The condition for a policy by selector or namespace. Workloads that no Service selects are ignored: they have no waypoint by design. */
function selectedEnforcement(
  { namespace: own, selector, isMeshWide }: EnforcedPolicy,
  lookup: MeshLookup,
): ConditionUpdate {
  let isEnforced = false;
  for (const namespace of isMeshWide ? lookup.namespaces() : [own]) {
    const services = lookup.services(namespace);
    for (const one of lookup.selectable(namespace)) {
      const labels = labelsOf(one);
      if (selector && !selects(selector, labels)) continue;
      // One Service with a waypoint is enough: the workload's agent accepts requests from that waypoint alone.
      const problems = services
        .filter(({ spec }) => selects(spec.selector, labels))
        .map((service) => unenforcedBecause(service, lookup));
      if (problems.includes(undefined)) isEnforced = true;
      const [problem] = problems;
      if (problem && !problems.includes(undefined))
        return condition(enforcedType, 'False', problem.reason, `${problem.message}${withoutWaypoint}`);
    }
  }
  return isEnforced
    ? condition(enforcedType, 'True', 'Enforced', 'enforced at the waypoints of the selected workloads')
    : condition(
        enforcedType,
        'False',
        'NoWaypoint',
        `rules on methods, paths, hosts, headers, tokens and TLS server names are enforced at waypoints, and no selected workload is behind a Service with a waypoint${withoutWaypoint}`,
      );
}
