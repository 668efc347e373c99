/** Where a client's connection goes, and whether this waypoint still carries it there. */
import type { SocketAddress } from '../../model/address.js';
import type { Service } from '../../model/service.js';
import type { Workload } from '../../model/workload.js';
import type { ServicePort } from '../authorization/policy-groups.js';
import type { WaypointState } from '../state/waypoint-state.js';

/** A Service's port, or a workload's own address. */
export type Destination =
  | {
      readonly kind: 'service';
      readonly service: Service;
      readonly port: number;
      readonly dialled: SocketAddress;
    }
  | { readonly kind: 'workload'; readonly workload: Workload; readonly dialled: SocketAddress };

/** The Service port that was asked for; undefined where a workload's own address was. */
export const servicePortOf = (destination: Destination): ServicePort | undefined =>
  destination.kind === 'service' ? { service: destination.service.key, port: destination.port } : undefined;

/** Why nothing may be sent to a Service any more: one that is gone names no policies. Undefined where it is known. */
export const unknownService = (state: WaypointState, sent: ServicePort | undefined): string | undefined =>
  sent && !state.view.service(sent.service)
    ? `Service ${sent.service} is not known any more: its policies cannot be read`
    : undefined;

/**
 * Why this waypoint no longer carries what it once took, by the state of now; undefined where it does. The Service's owner ends a
 * waypoint's part by a label: from then on nothing but the Service's own policies and nodes may decide.
 */
export function notServed(state: WaypointState, destination: Destination): string | undefined {
  if (destination.kind === 'service') {
    const { key } = destination.service;
    const service = state.view.service(key);
    if (!service) return `Service ${key} is not known any more`;
    if (!state.serves(service, undefined, destination.port))
      return `Service ${key} is not served by this waypoint any more`;
    return service.ports.some(({ servicePort }) => servicePort === destination.port)
      ? undefined
      : `Service ${key} has no port ${destination.port} any more`;
  }
  const { uid } = destination.workload;
  const workload = state.view.workload(uid);
  return workload && state.serves(undefined, workload, destination.dialled.port)
    ? undefined
    : `${uid} is not served by this waypoint any more`;
}
