/** The destination of a client's connection, and whether this waypoint still serves it. */
import type { SocketAddress } from '../../model/address.js';
import type { Service } from '../../model/service.js';
import { subsetOf } from '../../model/subset.js';
import type { Workload } from '../../model/workload.js';
import type { ServicePort } from '../authorization/reachable.js';
import type { WaypointState } from '../state/waypoint-state.js';

/** A Service's port, or a workload's own address. `dialed`: the address that the client connected to. */
export type Destination =
  | {
      readonly kind: 'service';
      readonly service: Service;
      readonly port: number;
      readonly dialed: SocketAddress;
    }
  | { readonly kind: 'workload'; readonly workload: Workload; readonly dialed: SocketAddress };

/** The Service port that the client dialed; undefined if it dialed a workload's own address. */
export const servicePortOf = (destination: Destination): ServicePort | undefined =>
  destination.kind === 'service' ? { service: destination.service.key, port: destination.port } : undefined;

/** The reason if a Service is unknown: without the Service its policies are unknown, so nothing may be sent to it. Else undefined. */
export function unknownService(state: WaypointState, sent: ServicePort | undefined): string | undefined {
  if (!sent || state.view.service(sent.service)) return undefined;
  // The policies of a subset are those of its Service: what is under way goes on when a DestinationRule is removed.
  const of = subsetOf(sent.service)?.service;
  return of && state.view.service(of)
    ? undefined
    : `Service ${sent.service} is no longer known, so its policies are unknown`;
}

/**
 * The reason if this waypoint no longer serves a destination that it served before; else undefined. The Service's owner can change the
 * waypoint by a label at any time: from then on only the Service's own policies and nodes may decide.
 */
export function notServed(state: WaypointState, destination: Destination): string | undefined {
  if (destination.kind === 'service') {
    const { key } = destination.service;
    const service = state.view.service(key);
    if (!service) return `Service ${key} is no longer known`;
    if (!state.serves(service, undefined, destination.port))
      return `Service ${key} is no longer served by this waypoint`;
    return service.ports.some(({ servicePort }) => servicePort === destination.port)
      ? undefined
      : `Service ${key} no longer has port ${destination.port}`;
  }
  const { uid } = destination.workload;
  const { ip, port } = destination.dialed;
  const workload = state.view.workload(uid);
  if (!workload || !state.serves(undefined, workload, port))
    return `${uid} is no longer served by this waypoint`;
  // The address may belong to another workload by now, whose policies are other ones.
  return workload.addresses.includes(ip) ? undefined : `${uid} no longer has the address ${ip}`;
}
