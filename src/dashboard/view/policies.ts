/** Which policies a filter leaves. Pure. */
import type { PolicyState } from '../../model/mesh-snapshot.js';
import type { Filter } from './edges.js';
import { namespaceOf } from './edges.js';

/** Those that refused something first. */
export function filteredPolicies(
  policies: readonly PolicyState[],
  { namespace, text }: Filter,
): PolicyState[] {
  const wanted = text.trim().toLowerCase();
  return policies
    .filter(
      (policy) =>
        (namespace === '' ||
          policy.namespace === namespace ||
          policy.workloads.some((id) => namespaceOf(id) === namespace)) &&
        [policy.kind, `${policy.namespace}/${policy.name}`, ...policy.workloads, ...policy.rules].some(
          (part) => part.toLowerCase().includes(wanted),
        ),
    )
    .sort(
      (a, b) =>
        b.refused - a.refused ||
        b.audited - a.audited ||
        (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1),
    );
}
