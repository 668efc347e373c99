/** Which policies a filter leaves. Pure. */
import type { PolicyState, Problem } from '../../model/mesh-snapshot.js';
import type { Filter } from './edges.js';
import { namespaceOf } from '../../model/party-name.js';
import { hasText } from './text.js';

/** Those that refused something first. */
export function filteredPolicies(
  policies: readonly PolicyState[],
  { namespace, text }: Filter,
): PolicyState[] {
  return policies
    .filter(
      (policy) =>
        (namespace === '' ||
          policy.namespace === namespace ||
          policy.workloads.some((id) => namespaceOf(id) === namespace)) &&
        hasText(
          [policy.kind, `${policy.namespace}/${policy.name}`, ...policy.workloads, ...policy.rules],
          text,
        ),
    )
    .sort(
      (a, b) =>
        b.refused - a.refused ||
        b.audited - a.audited ||
        (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1),
    );
}

/** Whether an error of its object says that it is not in force as written. */
export const isUnenforced = (
  { kind, namespace, name }: Pick<PolicyState, 'kind' | 'namespace' | 'name'>,
  problems: readonly Problem[],
): boolean =>
  problems.some(({ level, object }) => level === 'fail' && object === `${kind} ${namespace}/${name}`);
