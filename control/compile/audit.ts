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
import type { MeshSettingsObject, NamespaceObject } from '../objects/objects.js';
import type { CompiledResource } from './resource.js';

export interface AuditLookup {
  readonly mesh: MeshSettingsObject['spec'];
  readonly rootNamespace: string;
  readonly namespace: (name: string) => NamespaceObject | undefined;
}

/** Whether the policies that a namespace owns are in audit mode. */
const isAudited = (owner: string, lookup: AuditLookup): boolean =>
  lookup.mesh.policyMode === 'audit' ||
  (owner !== lookup.rootNamespace && isAudit(labelsOf(lookup.namespace(owner))));

/** A policy in audit mode. One whose own mode is audit keeps it: it allows nothing that others do not allow. */
const audited = (policy: AuthorizationPolicy): AuthorizationPolicy =>
  policy.dryRun
    ? policy
    : { ...policy, dryRun: true, ...(policy.action === 'allow' ? { stillAllows: true as const } : {}) };

/** The resources with the policies of namespaces in audit mode changed to that mode. */
export function inAuditMode(
  resources: readonly CompiledResource[],
  lookup: AuditLookup,
): readonly CompiledResource[] {
  const isConcerned = (one: CompiledResource): boolean =>
    one.kind === 'policy' && one.guards === undefined && isAudited(one.value.namespace, lookup);
  if (!resources.some(isConcerned)) return resources;
  return resources.map((one) =>
    one.kind === 'policy' && isConcerned(one) ? { kind: 'policy', value: audited(one.value) } : one,
  );
}
