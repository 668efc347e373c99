import { namespaceOf } from '../../src/model/labels.js';
import type { WaypointName } from '../compile/waypoints.js';
import { backendKind, type PolicyObject } from '../compile/traffic-policy-targets.js';
import type { ObjectChange, Registry } from '../registry/registry.js';
import type { Recompile } from './kind.js';

/** Recompiles the Services that a policy targets, before and after the change, and those behind a Gateway that it targets. */
export function recompileTargets(
  { before, now, namespace }: Pick<ObjectChange<PolicyObject>, 'before' | 'now' | 'namespace'>,
  registry: Registry,
  recompile: Recompile,
): void {
  for (const policy of [before, now])
    for (const ref of policy?.spec.targetRefs ?? []) {
      const { name } = ref;
      if (ref.kind === 'Gateway') recompile.servicesThrough({ namespace, name });
      const kind = policy && backendKind(policy, ref);
      const target = kind && registry.servedObject(kind, namespace, name);
      if (target) recompile.objects([target]);
    }
}

/** Recompiles the pods of the Services behind a waypoint: they reference the policies about its tokens. */
export function recompilePodsBehind(
  { namespace, name }: WaypointName,
  registry: Pick<Registry, 'indexes' | 'waypointOf'>,
  recompile: Recompile,
): void {
  if (!recompile.once(`pods behind ${namespace}/${name}`)) return;
  for (const service of registry.indexes.Service.all()) {
    const waypoint = registry.waypointOf(service);
    if (waypoint?.namespace === namespace && waypoint.name === name)
      recompile.selected(namespaceOf(service), service.spec.selector);
  }
}
