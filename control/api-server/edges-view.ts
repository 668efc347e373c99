/** Edges as a reader of some namespaces sees them. Pure. */
import { otherName, type Edge, type EdgeParty } from '../../src/model/edge.js';

/**
 * Namespaces of the policies that an edge names: `NAMESPACE/NAME`, or `KIND NAMESPACE/NAME ENTRY` if a waypoint refused a request by its token,
 * rate or decision. Several names have commas between them.
 */
export const policyNamespaces = (policy: string): readonly string[] =>
  policy.split(',').flatMap((one) => /(?:^|\s)([^\s/]+)\//.exec(one)?.[1] ?? []);

/** Namespaces whose names an edge may have. */
export const namespacesOf = ({ source, destination, policy }: Edge): readonly string[] => [
  source.namespace,
  destination.namespace,
  ...policyNamespaces(policy),
];

/**
 * An edge as a reader of some namespaces sees it. Of a peer elsewhere it has what the reader's own pods see of it: namespace, identity, and the
 * Service that they dial. Workloads, pods and policies of the other namespace are not named.
 */
export function edgeForReader(edge: Edge, known: ReadonlySet<string>, rootNamespace: string): Edge {
  const party = (of: EdgeParty): EdgeParty =>
    // `other` stands for what is beyond the limits. A workload may have that name, too: then its pod has another one.
    of.namespace === '' || known.has(of.namespace) || (of.workload === otherName && of.pod === otherName)
      ? of
      : { ...of, workload: '', pod: '' };
  const isNamed = policyNamespaces(edge.policy).every((one) => one === rootNamespace || known.has(one));
  return {
    ...edge,
    source: party(edge.source),
    destination: party(edge.destination),
    policy: isNamed ? edge.policy : '',
  };
}
