/** The workloads that a request to an endpoint may reach. */
import type { Service } from '../../model/service.js';
import type { ServiceKey } from '../../model/workload.js';
import { candidatesOf, type Candidate } from '../../state/resolve.js';
import type { MeshView } from '../../state/store.js';
import type { Endpoint } from '../cluster/endpoint.js';

/** The Service port that a request is sent to: the one that the client dialed, or a route's backend. */
export interface ServicePort {
  readonly service: ServiceKey;
  readonly port: number;
}

/**
 * The workloads that a request to this endpoint may reach: the endpoint's own, or every endpoint of the Service if another waypoint chooses.
 * @param node the waypoint's node
 */
export function reachableBy(
  view: MeshView,
  node: string,
  endpoint: Endpoint,
  sent: ServicePort | undefined,
): readonly Candidate[] {
  // The current workload: the endpoint's copy may be older than a policy that selects the workload.
  const workload = view.workload(endpoint.workload.uid) ?? endpoint.workload;
  if (!endpoint.via || !sent) return [{ workload, target: endpoint.target }];
  const service = view.service(sent.service);
  if (!service) return [{ workload, target: endpoint.target }];
  // The other waypoint prefers endpoints by its own node, and health may differ when the request arrives there: take every endpoint.
  const all: Service = {
    ...service,
    loadBalancing: { preference: [], mode: 'unspecified', allowUnhealthy: true },
  };
  return candidatesOf(view, all, { ip: endpoint.target.ip, port: sent.port }, node);
}
