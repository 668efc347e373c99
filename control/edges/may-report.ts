/** Which edges a program may report: only those of which one side is its own. Pure. */
import type { Edge, EdgeParty } from '../../src/model/edge.js';
import type { Caller } from '../authentication/authenticator.js';
import type { Compiler } from '../compile/compile.js';
import { isService } from '../authentication/service-callers.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import { servedEdge, type ObservableMesh, type ReportedEdge } from './waypoint-reports.js';

export type EdgeRegistry = ObservableMesh & Pick<Compiler, 'indexes' | 'mayRequestCertificate'>;

/** Whether the pod runs on the node, the workload is the pod's, and the identity is one of that node's pods of the namespace. */
function isOfNode(
  { namespace, workload, pod, identity }: EdgeParty,
  node: string,
  registry: EdgeRegistry,
): boolean {
  const { Pod, Workload } = registry.indexes;
  const on = Pod.get(namespace, pod)?.spec.nodeName ?? Workload.get(namespace, pod)?.spec.node;
  if (on !== node) return false;
  // An agent that does not know the pod's workload yet takes the pod's name.
  const names = new Set([pod]);
  for (const { workloadName } of registry.workloadsNamed(namespace, pod)) names.add(workloadName);
  for (const { workloadName } of registry.observable.workloadsNamed(namespace, pod)) names.add(workloadName);
  if (!names.has(workload)) return false;
  return (
    identity === undefined ||
    (identity.includes(`/ns/${namespace}/sa/`) && registry.mayRequestCertificate(node, identity))
  );
}

/**
 * How the caller may report this edge; undefined: it may not. An agent reports what pods of its node do and what reaches
 * them; the other side is what the agent says. A waypoint reports what clients of the mesh send to what uses it.
 * @param caller authenticated
 */
export function mayReport(
  { name: caller, namespaces }: Pick<Caller, 'name' | 'namespaces'>,
  edge: Omit<Edge, 'counts'>,
  registry: EdgeRegistry,
): ReportedEdge | undefined {
  if (isService(caller)) return undefined;
  const { reporter, source, destination } = edge;
  const waypoint = waypointOfCaller(caller);
  if (waypoint) {
    return reporter === 'waypoint' ? servedEdge(edge, waypoint, registry) : undefined;
  }
  if (reporter === 'waypoint') return undefined;
  const own = reporter === 'source' ? source : destination;
  if (namespaces?.includes(own.namespace) === false) return undefined;
  return isOfNode(own, caller, registry) ? { namespace: own.namespace, destination } : undefined;
}
