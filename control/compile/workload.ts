/** Workloads: applications on a machine outside of the cluster that has an agent of its own. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import { workloadNamespacesAnnotation } from '../../src/model/ownership.js';
import type { ObjectKey } from '../objects/object-key.js';
import type { NodeObject, PodObject, WorkloadObject } from '../objects/objects.js';
import type { ClaimIndex, Problem } from '../registry/claims.js';

/**
 * Whether a node accepts Workloads of a namespace. A Node of the cluster accepts the namespaces that its annotation names. A machine that is
 * not a Node of the registry decides by itself (flags of its agent).
 */
export function nodeAccepts(node: NodeObject | undefined, namespace: string): boolean {
  if (!node) return true;
  const taken = (node.metadata.annotations?.[workloadNamespacesAnnotation] ?? '').split(',');
  return taken.some((one) => one.trim() === '*' || one.trim() === namespace);
}

/** Why no resources are sent for a Workload; undefined if they are. */
export function workloadProblem(
  key: ObjectKey,
  object: WorkloadObject,
  isAccepted: boolean,
  claims: ClaimIndex,
): Problem | undefined {
  const { node, addresses } = object.spec;
  if (!isAccepted)
    return {
      reason: 'NodeNotAllowed',
      message: `${node} is a Node of the cluster, whose annotation ${workloadNamespacesAnnotation} does not name ${namespaceOf(object)}`,
    };
  return claims.addressProblem(key, addresses, 'nothing');
}

/** A name below /run/netns, or an absolute path; no segment begins with a dot. As in the CRD. */
const netnsPattern = /^([A-Za-z0-9_][A-Za-z0-9_.:@+-]*|(\/[A-Za-z0-9_][A-Za-z0-9_.:@+-]*)+)$/;
const netnsLengthMax = 1024;

/**
 * Converts a Workload to a pod of its machine: enrolled, in the network namespace that `spec.netns` names. Error: `spec.netns` is neither a
 * name nor an absolute path.
 */
export function podOfWorkload(object: WorkloadObject): PodObject {
  const { node, addresses, serviceAccount, netns, ports } = object.spec;
  if (netns.length > netnsLengthMax || !netnsPattern.test(netns))
    throw new Error(
      `spec.netns: ${JSON.stringify(netns.slice(0, 64))} is neither a name nor an absolute path`,
    );
  return {
    kind: 'Pod',
    metadata: {
      ...object.metadata,
      labels: { ...object.metadata.labels, 'weft.dev/mesh': 'enabled' },
      annotations: { ...object.metadata.annotations, 'weft.dev/netns': netns },
    },
    spec: {
      nodeName: node,
      ...(serviceAccount === undefined ? {} : { serviceAccountName: serviceAccount }),
      containers: [{ ports: [...(ports ?? [])] }],
    },
    status: { podIPs: addresses.map((ip) => ({ ip })) },
  };
}
