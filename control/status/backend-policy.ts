/** The status of the Gateway API's policies about backends: one entry per target, beside those of other controllers. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { namespaceOf } from '../../src/model/labels.js';
import {
  acceptedType,
  enforcedType,
  type AncestorStatus,
  type BackendTlsPolicyObject,
  type BackendTrafficPolicyObject,
  type TargetRef,
} from '../objects/objects.js';
import { compileBackendTls } from '../dialects/gateway/backend-tls-policy.js';
import { clientCertificatesMax } from '../../src/model/client-certificate.js';
import { certificateNames, secretsToMount } from '../waypoint/client-certificates.js';
import { backendKind, targetProblem } from '../compile/traffic-policy-targets.js';
import { waypointController } from '../compile/waypoints.js';
import {
  condition,
  trueUnless,
  withTransitionTimes,
  type ConditionReason,
  type ConditionUpdate,
} from './conditions.js';
import type { StatusLookup, StatusUpdate } from './status.js';
import { ancestorOf, type PolicyLookup } from './traffic-policy.js';
import { unenforcedBecause } from './waypoint-binding.js';

export type BackendPolicyObject = BackendTrafficPolicyObject | BackendTlsPolicyObject;
type BackendLookup = PolicyLookup & Pick<StatusLookup['mesh'], 'configMap' | 'policiesWithCertificates'>;

/** Most entries that the API server accepts. */
const ancestorsMax = 16;

const closedMeans: Readonly<Record<BackendPolicyObject['kind'], string>> = {
  XBackendTrafficPolicy: 'until it is corrected, its Services have the smallest retry budget',
  BackendTLSPolicy: 'until it is corrected, connections to its targets are refused',
};

/** The first part of the policy that has no effect. */
const unsupported = (policy: BackendPolicyObject): ConditionReason | undefined =>
  policy.kind === 'XBackendTrafficPolicy' && policy.spec.sessionPersistence
    ? {
        reason: 'UnsupportedValue',
        message: 'sessionPersistence has no effect here: set it in the rule of an HTTPRoute or GRPCRoute',
      }
    : undefined;

/** The API server sets the interval of every budget, so it is no reason to report the policy as unenforced. */
const inForce = (policy: BackendPolicyObject): string =>
  policy.kind === 'XBackendTrafficPolicy' && policy.spec.retryConstraint?.budget?.interval !== undefined
    ? 'in force; budget.interval has no effect: retries under way are counted'
    : 'in force';

/** Why the TLS of a policy cannot be spoken, as the reason of Accepted, and of ResolvedRefs if it is a reference. */
function tlsProblem(
  policy: BackendPolicyObject,
  lookup: BackendLookup,
  waypointNamespace: string | undefined,
): { readonly accepted: ConditionReason; readonly resolved?: ConditionReason } | undefined {
  if (policy.kind !== 'BackendTLSPolicy' || policy.invalid !== undefined) return undefined;
  const compiled = compileBackendTls(
    policy,
    (namespace, name) => lookup.configMap(namespace, name),
    waypointNamespace,
  );
  if (!('problem' in compiled)) return undefined;
  const { reason, message: why } = compiled.problem;
  const message = `${why}; ${closedMeans.BackendTLSPolicy}`;
  if (reason === 'Invalid') return { accepted: { reason, message } };
  return { accepted: { reason: 'NoValidCACertificate', message }, resolved: { reason, message: why } };
}

/** Why waypoints do not mount the Secret that a policy names; undefined: they do, or it names none. */
function unmounted(policy: BackendPolicyObject, lookup: BackendLookup): ConditionReason | undefined {
  if (policy.kind !== 'BackendTLSPolicy') return undefined;
  const [name] = certificateNames(policy);
  if (name === undefined) return undefined;
  const { left } = secretsToMount(lookup.policiesWithCertificates(namespaceOf(policy)));
  return left.has(name)
    ? {
        reason: 'TooManyCertificates',
        message: `the waypoints of a namespace mount ${clientCertificatesMax} Secrets, and older policies name as many: connections that need ${name} are refused`,
      }
    : undefined;
}

/** The conditions at one target. Undefined: the target is another controller's. */
export function backendConditions(
  policy: BackendPolicyObject,
  ref: TargetRef,
  lookup: BackendLookup,
): readonly ConditionUpdate[] | undefined {
  const kind = backendKind(policy, ref);
  if (!kind) return undefined;
  const service = lookup.servedObject(kind, namespaceOf(policy), ref.name);
  const tls = tlsProblem(policy, lookup, service && lookup.waypointOf(service)?.namespace);
  const problem =
    targetProblem(policy, ref, lookup) ??
    (policy.invalid === undefined
      ? tls?.accepted
      : { reason: 'Invalid', message: `${policy.invalid}; ${closedMeans[policy.kind]}` });
  const missing =
    service && (unenforcedBecause(service, lookup) ?? unsupported(policy) ?? unmounted(policy, lookup));
  return [
    trueUnless(acceptedType, problem, inForce(policy)),
    ...(policy.kind === 'BackendTLSPolicy'
      ? [trueUnless('ResolvedRefs', tls?.resolved, 'all references are resolved')]
      : []),
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
