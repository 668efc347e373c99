/**
 * Filters that a Service port demands of whatever reaches its endpoints: validated tokens, and decisions about requests. A client could
 * otherwise evade them by a route of another Service, or by the address of a pod.
 */
import { subsetOf } from '../../model/subset.js';
import type { StagedFilter } from '../filters/filter.js';
import type { Client } from '../listener/client.js';
import { servicePortOf, type Destination } from '../listener/destination.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { ServicePort } from './reachable.js';

const none: readonly StagedFilter[] = [];

/**
 * The filters that a request or a connection has to pass besides those of the Service port that the client dialed.
 * @param sent the Service port that it is sent to; undefined: the dialed address
 */
export function demandedElsewhere(
  state: WaypointState,
  client: Client,
  destination: Destination,
  sent: ServicePort | undefined,
): readonly StagedFilter[] {
  if (destination.kind === 'service') {
    if (!sent) return none;
    const dialed = destination.service.key;
    const { service, port } = sent;
    if (service === dialed && port === destination.port) return none;
    const whole = subsetOf(service)?.service ?? service;
    return whole === dialed && port === destination.port
      ? none
      : state.requestSettings(whole, port, client).demanded;
  }
  const { workload, dialed } = destination;
  const found: StagedFilter[] = [];
  for (const [key, ports] of state.view.servicesOf(workload))
    for (const { servicePort, targetPort } of ports)
      if (targetPort === dialed.port) found.push(...state.requestSettings(key, servicePort, client).demanded);
  return found;
}

/** All filters that a connection would have to pass. One that is not HTTP cannot pass them. */
export function isAnyDemanded(
  state: WaypointState,
  client: Client,
  destination: Destination,
  sent: ServicePort | undefined,
): boolean {
  const asked = servicePortOf(destination);
  return (
    (asked !== undefined && state.requestSettings(asked.service, asked.port, client).demanded.length > 0) ||
    demandedElsewhere(state, client, destination, sent).length > 0
  );
}
