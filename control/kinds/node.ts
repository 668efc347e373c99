import { labelsOf } from '../../src/model/labels.js';
import { claimRanks, workloadNamespacesAnnotation } from '../../src/model/ownership.js';
import type { NodeObject } from '../objects/objects.js';
import { addressClaims } from '../registry/claims.js';
import type { Kind } from './kind.js';
import { pickMeta, type Raw } from './metadata.js';

export const nodeKind: Kind<NodeObject> = {
  address: { group: '', versions: ['v1'], plural: 'nodes', clusterWide: true },
  schema: 'core',
  pickFields(raw) {
    const { metadata, status } = raw as Raw<NodeObject>;
    return {
      kind: 'Node',
      metadata: pickMeta(metadata),
      status: { addresses: (status?.addresses ?? []).map(({ type, address }) => ({ type, address })) },
    };
  },
  claims: ({ status }) => ({
    rank: claimRanks.node,
    claimed: addressClaims((status?.addresses ?? []).map(({ address }) => address)),
  }),
  dependents({ before, now, name }, { indexes }, recompile) {
    // Most updates of a Node change only its status. The fields that other objects depend on change about once in its life.
    if (JSON.stringify(dependedOn(before)) === JSON.stringify(dependedOn(now))) return;
    for (const pod of indexes.Pod.all()) if (pod.spec.nodeName === name) recompile.objects([pod]);
    for (const workload of indexes.Workload.all()) {
      if (workload.spec.node !== name) continue;
      recompile.objects([workload]);
      recompile.claimsOf(workload);
    }
  },
};

/** The fields that other objects depend on: the locality of the node's pods, and the namespaces whose Workloads it accepts. */
const dependedOn = (node: NodeObject | undefined): unknown =>
  node && [labelsOf(node), node.metadata.annotations?.[workloadNamespacesAnnotation]];
