/** The condition of a policy that records what it would refuse, and refuses nothing: which part of it, and why. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import { policyModeLabel } from '../../src/model/object-settings.js';
import { auditedBy, auditedSections, type AuditLookup } from '../compile/audit.js';
import type { CompiledTrafficPolicy } from '../compile/traffic-policy.js';
import { compilePolicyObject, type TargetingPolicy } from '../compile/traffic-policy-targets.js';
import { hasAuditAnnotation } from '../dialects/istio/request-tokens.js';
import { isDryRun } from '../dialects/istio/authorization.js';
import type { AccessPolicyObject, IstioObject, MeshObject, SmiObject } from '../objects/objects.js';
import { auditType } from '../objects/objects.js';
import { condition, type ConditionReason, type ConditionUpdate } from './conditions.js';

/** Policies about connections and requests, which are in audit mode as a whole. */
export type WholePolicy =
  | AccessPolicyObject
  | IstioObject<'AuthorizationPolicy' | 'RequestAuthentication' | 'PeerAuthentication'>
  | SmiObject<'TrafficTarget'>;

const because = {
  mesh: { reason: 'MeshSettings', message: 'policyMode: audit of MeshSettings' },
  namespace: (name: string): ConditionReason => ({
    reason: 'NamespaceLabel',
    message: `label ${policyModeLabel}=audit of namespace ${name}`,
  }),
};

/** What other objects put the policies of a namespace in audit mode by; undefined: nothing. */
function fromOutside(owner: string, lookup: AuditLookup): ConditionReason | undefined {
  const by = auditedBy(owner, lookup);
  return by && (by === 'mesh' ? because.mesh : because.namespace(owner));
}

/** The policy's own field; undefined: it says nothing. */
function ownField(policy: WholePolicy): string | undefined {
  switch (policy.kind) {
    case 'AccessPolicy':
      return policy.spec.mode === 'audit' ? 'mode: audit' : undefined;
    case 'AuthorizationPolicy':
      if (policy.spec.action === 'AUDIT') return 'action: AUDIT';
      return isDryRun(policy) ? 'annotation istio.io/dry-run' : undefined;
    case 'RequestAuthentication':
      return hasAuditAnnotation(policy) ? `annotation ${policyModeLabel}: audit` : undefined;
    default:
      return undefined;
  }
}

const ownReason = 'OwnField';
const recorded = (reason: string, messages: readonly string[]): ConditionUpdate =>
  condition(auditType, 'True', reason, `refused requests are recorded, and pass: ${messages.join('; ')}`);

/** The condition of a policy that is in audit mode as a whole. Undefined: it is enforced. */
export function auditCondition(policy: WholePolicy, lookup: AuditLookup): ConditionUpdate | undefined {
  // What is closed, because tokens cannot be read, stays closed.
  if (policy.kind === 'RequestAuthentication' && policy.invalid !== undefined) return undefined;
  const own = ownField(policy);
  const outside = fromOutside(namespaceOf(policy), lookup);
  if (own === undefined && !outside) return undefined;
  return recorded(
    own === undefined && outside ? outside.reason : ownReason,
    [own, outside?.message].filter((one) => one !== undefined),
  );
}

/** The sections of a policy that only count by themselves, and single entries of its lists. */
function* triedByThemselves({ sections }: CompiledTrafficPolicy): Generator<string> {
  for (const { name, isDryRun: isTried, settings } of sections) {
    if (isTried) yield name;
    else
      for (const { value } of [
        ...(settings.rateLimits ?? []),
        ...(settings.externalAuthorization ?? []),
        ...(settings.faults ?? []),
      ])
        if ('dryRun' in value && value.dryRun && 'name' in value)
          yield `${name} ${value.name.slice(value.name.lastIndexOf(' ') + 1)}`;
  }
}

/** The condition of a policy whose sections may be in audit mode or dry run, each by itself. Undefined: none is. */
export function sectionsAudited(policy: TargetingPolicy, lookup: AuditLookup): ConditionUpdate | undefined {
  const compiled = compilePolicyObject(policy);
  const own = [...triedByThemselves(compiled)];
  const outside = fromOutside(namespaceOf(policy), lookup);
  const concerned = outside
    ? compiled.sections.filter(({ name, isDryRun: isTried }) => auditedSections.has(name) && !isTried)
    : [];
  if (own.length + concerned.length === 0) return undefined;
  return recorded(concerned.length > 0 && outside ? outside.reason : ownReason, [
    ...(outside && concerned.length > 0
      ? [`${concerned.map(({ name }) => name).join(', ')} (${outside.message})`]
      : []),
    ...(own.length > 0 ? [`${own.join(', ')} (dryRun: true)`] : []),
  ]);
}

const wholePolicies: ReadonlySet<MeshObject['kind']> = new Set<WholePolicy['kind']>([
  'AccessPolicy',
  'AuthorizationPolicy',
  'RequestAuthentication',
  'PeerAuthentication',
  'TrafficTarget',
]);

/** How many policies about connections and requests are in audit mode as a whole. */
export function auditedCount(objects: Iterable<MeshObject>, lookup: AuditLookup): number {
  let count = 0;
  for (const object of objects)
    if (wholePolicies.has(object.kind) && auditCondition(object as WholePolicy, lookup)) count++;
  return count;
}
