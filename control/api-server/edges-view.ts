/** Edges as a reader of some namespaces sees them. Pure. */
import { otherName, type Edge, type EdgeParty } from '../../src/model/edge.js';

/** Namespace of a policy's name as it is reported, `NAMESPACE/NAME`; empty: it has none. */
const policyNamespace = (policy: string): string =>
  policy.includes('/') ? (policy.split('/')[0] ?? '') : '';

/** Namespaces whose names an edge may have. */
export const namespacesOf = ({ source, destination, policy }: Edge): readonly string[] => [
  source.namespace,
  destination.namespace,
  policyNamespace(policy),
];

/**
 * An edge as a reader of some namespaces sees it. Of a peer elsewhere it has what the reader's own pods see of it: namespace, identity, and the
 * Service that they dial. Workloads, pods and policies of the other namespace are not named.
 */
export function edgeForReader(edge: Edge, known: ReadonlySet<string>, rootNamespace: string): Edge {
  const party = (of: EdgeParty): EdgeParty =>
    // `other` is no name.
    of.namespace === '' || known.has(of.namespace) || of.workload === otherName
      ? of
      : { ...of, workload: '', pod: '' };
  const home = policyNamespace(edge.policy);
  const isNamed = home === '' || home === rootNamespace || known.has(home);
  return {
    ...edge,
    source: party(edge.source),
    destination: party(edge.destination),
    policy: isNamed ? edge.policy : '',
  };
}
