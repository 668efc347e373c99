/** Which changes stand beside an edge. Pure. */
import type { Change } from '../../model/change.js';

/** Those of objects in its namespaces, of the namespaces themselves, and of the cluster. */
export const changesBeside = (changes: readonly Change[], namespaces: readonly string[]): Change[] =>
  changes.filter(
    ({ kind, namespace, name }) =>
      namespaces.includes(namespace) ||
      (namespace === '' && (kind !== 'Namespace' || namespaces.includes(name))),
  );
