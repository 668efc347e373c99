/**
 * Audit mode of a namespace or of the mesh: its policies, whichever kind they are written in, are evaluated, counted and logged, and refuse
 * nothing. Pure.
 *
 * The label of a namespace concerns the policies that this namespace owns: by it, its owner could as well delete them. Policies of the root
 * namespace stay enforced in a namespace in audit mode, and the label on the root namespace has no effect, since its policies are those of
 * the mesh: only MeshSettings put these in audit mode.
 */
import { labelsOf } from '../../src/model/labels.js';
import { isAudit } from '../../src/model/object-settings.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Route, RouteFilter } from '../../src/model/route.js';
import type { MeshSettingsObject, NamespaceObject } from '../objects/objects.js';
import type { CompiledResource } from './resource.js';
import type { CompiledSection, CompiledTrafficPolicy, TrafficSettings } from './traffic-policy.js';

export interface AuditLookup {
  readonly meshSettings: Pick<MeshSettingsObject, 'spec'> | undefined;
  /** The namespace whose policies apply to the whole mesh. */
  readonly rootNamespace: string;
  readonly namespace: (name: string) => NamespaceObject | undefined;
}

/** What puts the policies that a namespace owns in audit mode; undefined: nothing does. */
export function auditedBy(owner: string, lookup: AuditLookup): 'mesh' | 'namespace' | undefined {
  if (lookup.meshSettings?.spec.policyMode === 'audit') return 'mesh';
  return owner !== lookup.rootNamespace && isAudit(labelsOf(lookup.namespace(owner)))
    ? 'namespace'
    : undefined;
}

/** A policy in audit mode. One whose own mode is audit keeps it: it allows nothing that others do not allow. */
const audited = (policy: AuthorizationPolicy): AuthorizationPolicy =>
  policy.dryRun
    ? policy
    : { ...policy, dryRun: true, ...(policy.action === 'allow' ? { stillAllows: true as const } : {}) };

const isDecision = ({ $case }: RouteFilter): boolean => $case === 'externalAuthorization';
const inDryRun = (filter: RouteFilter): RouteFilter =>
  ({ ...filter, value: { ...filter.value, dryRun: true } }) as RouteFilter;
const decisionsTried = (filters: readonly RouteFilter[]): readonly RouteFilter[] =>
  filters.map((one) => (isDecision(one) ? inDryRun(one) : one));

/** A route whose rules ask decision services (GEP-1494), in audit mode: the decisions are recorded. */
const auditedRoute = (route: Route): Route => ({
  ...route,
  rules: route.rules.map((rule) => ({
    ...rule,
    filters: decisionsTried(rule.filters),
    backends: rule.backends.map((one) => ({ ...one, filters: decisionsTried(one.filters) })),
  })),
});

/** The resource in audit mode; undefined: audit mode does not change it. */
function inMode(one: CompiledResource, lookup: AuditLookup): CompiledResource | undefined {
  if (one.kind === 'policy')
    return one.guards === undefined && auditedBy(one.value.namespace, lookup)
      ? { kind: 'policy', value: audited(one.value) }
      : undefined;
  if (one.kind !== 'route' || !auditedBy(one.value.namespace, lookup)) return undefined;
  const asks = one.value.rules.some(({ filters, backends }) =>
    [filters, ...backends.map((backend) => backend.filters)].some((list) => list.some(isDecision)),
  );
  return asks ? { kind: 'route', value: auditedRoute(one.value) } : undefined;
}

/** The resources with the policies and routes of namespaces in audit mode changed to that mode. */
export function inAuditMode(
  resources: readonly CompiledResource[],
  lookup: AuditLookup,
): readonly CompiledResource[] {
  const changed = resources.map((one) => inMode(one, lookup));
  if (changed.every((one) => one === undefined)) return resources;
  return resources.map((one, i) => changed[i] ?? one);
}

/** The sections that audit mode is about. The others refuse nobody by a policy: they protect endpoints, or inject faults. */
export const auditedSections: ReadonlySet<CompiledSection['name']> = new Set<CompiledSection['name']>([
  'authentication',
  'externalAuthorization',
  'rateLimits',
]);

const settingsTried = ({
  authentication,
  externalAuthorization,
  rateLimits,
  ...others
}: TrafficSettings): TrafficSettings => ({
  ...others,
  ...(authentication ? { authentication: authentication.map((one) => ({ ...one, dryRun: true })) } : {}),
  ...(externalAuthorization ? { externalAuthorization: externalAuthorization.map(inDryRun) } : {}),
  ...(rateLimits ? { rateLimits: rateLimits.map(inDryRun) } : {}),
});

/** Compiled policies are never changed, so one is changed to audit mode once. */
const known = new WeakMap<CompiledTrafficPolicy, CompiledTrafficPolicy>();

function tried(policy: CompiledTrafficPolicy): CompiledTrafficPolicy {
  let found = known.get(policy);
  if (!found) {
    const sections = policy.sections.map((one) =>
      auditedSections.has(one.name) && !one.isDryRun
        ? { ...one, isDryRun: true, settings: settingsTried(one.settings) }
        : one,
    );
    known.set(policy, (found = { ...policy, sections }));
  }
  return found;
}

/**
 * Policies of one namespace as they are in force: in audit mode their tokens, decisions and rates are in dry run. What is closed, because a
 * policy cannot be read, stays closed.
 */
export const inModeOf = (
  owner: string,
  policies: readonly CompiledTrafficPolicy[],
  lookup: AuditLookup,
): readonly CompiledTrafficPolicy[] => (auditedBy(owner, lookup) ? policies.map(tried) : policies);
