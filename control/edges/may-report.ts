/** Which edges a program may report: only those of which one side is its own. Pure. */
import type { Edge, EdgeParty } from '../../src/model/edge.js';
import type { Caller } from '../authentication/authenticator.js';
import type { Compiler } from '../compile/compile.js';
import { isService } from '../authentication/service-callers.js';
import { waypointOfCaller, type WaypointName } from '../compile/waypoints.js';
import { serviceInHost } from '../../src/model/service-host.js';

export type EdgeRegistry = Pick<Compiler, 'indexes' | 'service' | 'waypointOf' | 'mayRequestCertificate'>;

/** Whether the pod runs on the node, and the identity is one of that node's pods of the namespace. */
function isOfNode({ namespace, pod, identity }: EdgeParty, node: string, registry: EdgeRegistry): boolean {
  const { Pod, Workload } = registry.indexes;
  const on = Pod.get(namespace, pod)?.spec.nodeName ?? Workload.get(namespace, pod)?.spec.node;
  if (on !== node) return false;
  return (
    identity === undefined ||
    (identity.includes(`/ns/${namespace}/sa/`) && registry.mayRequestCertificate(node, identity))
  );
}

/** The namespace of the Service, if its labels or those of its namespace name this waypoint. */
function servedNamespace(host: string, waypoint: WaypointName, registry: EdgeRegistry): string | undefined {
  const named = serviceInHost(host);
  const service = named && registry.service(named.namespace, named.name);
  const of = service && registry.waypointOf(service);
  return of?.namespace === waypoint.namespace && of.name === waypoint.name ? named?.namespace : undefined;
}

/**
 * The namespace for which the caller may report this edge; undefined: it may not. An agent reports what pods of its node do and what reaches
 * them, a waypoint what reaches its own namespace and the Services that use it. The other side is what the caller says.
 * @param caller authenticated
 */
export function mayReport(
  { name: caller, namespaces }: Pick<Caller, 'name' | 'namespaces'>,
  { reporter, source, destination, service }: Omit<Edge, 'counts'>,
  registry: EdgeRegistry,
): string | undefined {
  if (isService(caller)) return undefined;
  const waypoint = waypointOfCaller(caller);
  if (waypoint) {
    if (reporter !== 'waypoint') return undefined;
    const served = servedNamespace(service, waypoint, registry);
    if (served !== undefined) return served;
    // The edge must not name a Service of another namespace.
    return destination.namespace === waypoint.namespace && isOwnHost(service, waypoint)
      ? waypoint.namespace
      : undefined;
  }
  if (reporter === 'waypoint') return undefined;
  const own = reporter === 'source' ? source : destination;
  if (namespaces?.includes(own.namespace) === false) return undefined;
  return isOfNode(own, caller, registry) ? own.namespace : undefined;
}

/** Host names outside of the cluster's domain are those of the waypoint's own namespace's objects. */
const isOwnHost = (host: string, { namespace }: WaypointName): boolean => {
  const of = serviceInHost(host);
  return of === undefined || of.namespace === namespace;
};
