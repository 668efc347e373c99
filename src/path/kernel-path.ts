/** Whether connections between two pods of a node may be kernel flows. Pure. */
import { isV6, type IpAddress } from '../model/address.js';
import type { NodePod } from '../model/node-pod.js';
import type { Service } from '../model/service.js';
import type { MeshView } from '../state/store.js';
import { planOutbound, type OutboundPlan } from './choose-path.js';

/**
 * What keeps connections from `source` to a port of `destination` from the kernel path; undefined: nothing does. Every address of the source
 * has to reach the port at every address of the destination of its family, unaudited.
 */
export function kernelPathObstacle(
  view: MeshView,
  source: NodePod,
  destination: NodePod,
  port: number,
  node: string,
): string | undefined {
  for (const { sameNode, namespace, name } of [source, destination])
    if (sameNode !== 'kernel')
      return `the settings of ${namespace}/${name} demand mutual TLS also between pods of one node (sameNode: encrypted)`;
  let count = 0;
  for (const sourceIp of source.addresses)
    for (const ip of destination.addresses) {
      if (isV6(ip) !== isV6(sourceIp)) continue;
      count++;
      const plan = planOutbound(view, {
        source,
        sourceIp,
        dialed: { ip, port },
        node,
        locality: (uid) => (uid === destination.uid ? 'joined' : 'elsewhere'),
        random: 0,
      });
      const found = obstacleOf(plan, destination);
      if (found !== undefined) return found;
    }
  return count > 0 ? undefined : 'the pods have no addresses of one family';
}

function obstacleOf(plan: OutboundPlan, destination: NodePod): string | undefined {
  if (plan.kind === 'refuse') return plan.why;
  if (plan.kind === 'hbone') return 'a waypoint serves the port';
  if (plan.kind === 'plain') return 'the destination is not in the mesh';
  if (plan.workload.uid !== destination.uid) return 'another workload owns an address of the destination';
  // A plan through a Service would depend on all of that Service's endpoints.
  if (plan.service !== undefined) return 'an address of the destination is that of a Service';
  // Requests that a policy in audit mode would deny must be counted, and only the agent counts them.
  const { audited } = plan.verdict;
  return audited.length === 0
    ? undefined
    : `in audit mode ${audited.join(', ')} would refuse it, and only the agent records that`;
}

/** What keeps the kernel from balancing a Service for those who dial its address `ip`; undefined: nothing does. */
export function kernelServiceObstacle(view: MeshView, service: Service, ip: IpAddress): string | undefined {
  if (service.waypoint) return 'the Service has a waypoint';
  // The kernel's table has no source namespace: an address that resolves to another Service for some namespace, or now for all, is left out.
  if (service.scope !== undefined || view.serviceByAddress(ip, undefined) !== service)
    return 'the address leads to this Service only for some clients, so the agent chooses the endpoint';
  return undefined;
}
