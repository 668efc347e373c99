/** The endpoints that the mesh state assigns to a cluster (Envoy: ClusterLoadAssignment). Pure. */
import type { EndpointTls, LocalityPolicy } from '../../discovery/gen/weft.js';
import type { SocketAddress } from '../../model/address.js';
import type { Service } from '../../model/service.js';
import type { AppProtocol, Locality, PortMapping, WaypointRef, Workload } from '../../model/workload.js';
import { prioritiesOf } from '../../state/resolve.js';
import type { MeshView } from '../../state/store.js';
import type { ClientCertificate } from './client-certificate.js';
import type { EndpointConfig } from './endpoint.js';

/** By priority: the nearest first. No level is empty. */
export type Assignment = readonly (readonly EndpointConfig[])[];

/** The mesh as one waypoint sees it. */
export interface WaypointView {
  readonly view: MeshView;
  /** The waypoint's node: endpoints near it are preferred where a Service asks for that. */
  readonly node: string;
  isSelf(waypoint: WaypointRef): boolean;
}

/**
 * The endpoints of a Service's port.
 * @param locality the preference of the port's settings, in place of the Service's own
 * @param tls that the endpoints speak themselves
 * @param clientCertificate that `tls` names
 */
export function assignmentOfService(
  waypointView: WaypointView,
  service: Service,
  { servicePort: port, appProtocol: protocol }: PortMapping,
  {
    locality,
    tls,
    clientCertificate,
  }: {
    readonly locality?: LocalityPolicy | undefined;
    readonly tls?: EndpointTls | undefined;
    readonly clientCertificate?: ClientCertificate | undefined;
  } = {},
): Assignment {
  const { view, node } = waypointView;
  const { key, waypoint } = service;
  const like = service.addresses[0]?.ip ?? view.endpointsOf(key)[0]?.addresses[0];
  if (!like) return [];
  const levels = prioritiesOf(
    view,
    preferring(service, locality, view.localityOf(node)),
    { ip: like, port },
    node,
  );
  const via = waypoint && !waypointView.isSelf(waypoint) ? waypoint : undefined;
  if (!via)
    return levels.map((level) =>
      level.map(({ workload, target }) => ({
        workload,
        target,
        protocol,
        via: undefined,
        tls,
        clientCertificate,
      })),
    );
  // The Service's own waypoint chooses the endpoint, so the policies of all candidates count (policy-groups.ts).
  const first = levels[0]?.[0];
  const vip = service.addresses[0]?.ip;
  if (!first || !vip) return [];
  return [[{ workload: first.workload, target: { ip: vip, port }, protocol, via }]];
}

const scopes = ['region', 'zone', 'node'] as const;

/**
 * The Service with the preference of a locality policy; its own, if the policy states none. A scope that this node has no label for is left
 * out: nothing would be near, not even what runs on the same node.
 */
function preferring(
  service: Service,
  locality: LocalityPolicy | undefined,
  here: Locality | undefined,
): Service {
  const wanted = locality?.preference ?? [];
  if (wanted.length === 0) return service;
  const preference = scopes.filter(
    (scope) => wanted.includes(scope) && (scope === 'node' || (here?.[scope] ?? '') !== ''),
  );
  const { allowUnhealthy = false } = service.loadBalancing ?? {};
  return { ...service, loadBalancing: { preference, mode: 'failover', allowUnhealthy } };
}

/** The endpoint of a workload that the client dialed by the workload's own address. */
export function assignmentOfWorkload(workload: Workload, target: SocketAddress): Assignment {
  const declared = new Set<AppProtocol>();
  for (const ports of workload.services.values()) {
    for (const port of ports) if (port.targetPort === target.port) declared.add(port.appProtocol);
  }
  // If the workload's Services declare different protocols, the protocol is unknown.
  const [protocol = 'unknown'] = declared;
  return [[{ workload, target, protocol: declared.size === 1 ? protocol : 'unknown', via: undefined }]];
}
