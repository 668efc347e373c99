import type { PolicyObject } from '../compile/traffic-policy-targets.js';
import type { ObjectChange, Registry } from '../registry/registry.js';
import type { Recompile } from './kind.js';

/** Recompiles the Services that a policy targets, before and after the change, and those behind a Gateway that it targets. */
export function recompileTargets(
  { before, now, namespace }: Pick<ObjectChange<PolicyObject>, 'before' | 'now' | 'namespace'>,
  registry: Registry,
  recompile: Recompile,
): void {
  for (const { kind, name } of [before, now].flatMap((policy) => policy?.spec.targetRefs ?? [])) {
    if (kind === 'Gateway') recompile.servicesThrough({ namespace, name });
    const service = kind === 'Service' ? registry.service(namespace, name) : undefined;
    if (service) recompile.objects([service]);
  }
}
