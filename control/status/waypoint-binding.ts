/** Why no waypoint enforces the routes and policies that are attached to a Service. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import type { ServiceObject } from '../objects/objects.js';
import type { WaypointName } from '../compile/waypoints.js';
import type { ConditionReason } from './conditions.js';
import type { MeshLookup } from './status.js';

export type WaypointLookup = Pick<MeshLookup, 'waypointOf' | 'isWaypoint' | 'admits'>;

/** Undefined if a waypoint serves the Service. */
export function unenforcedBecause(
  service: ServiceObject,
  lookup: WaypointLookup,
): ConditionReason | undefined {
  const waypoint = lookup.waypointOf(service);
  if (waypoint) return unboundBecause(service, waypoint, lookup);
  return {
    reason: 'NoWaypoint',
    message: `Service ${nameOf(service)} has no waypoint: label it or its namespace weft.dev/waypoint=<name>, and create the Gateway <name> of class weft-waypoint`,
  };
}

/**
 * Why the waypoint that the Service's labels name does not serve the Service, which is closed then. Undefined if the Service is served.
 * @param waypoint the waypoint that the labels name
 */
export function unboundBecause(
  service: ServiceObject,
  waypoint: WaypointName,
  lookup: WaypointLookup,
): ConditionReason | undefined {
  const namespace = namespaceOf(service);
  const names = `Service ${nameOf(service)} names the waypoint ${waypoint.namespace}/${waypoint.name}`;
  if (!lookup.isWaypoint(waypoint)) {
    return {
      reason: 'WaypointMissing',
      message: `${names}, but there is no Gateway of class weft-waypoint with that name: create it; until then the Service's clients are refused`,
    };
  }
  if (lookup.admits(waypoint, namespace)) return undefined;
  return {
    reason: 'WaypointNotAllowed',
    message: `${names}, whose Gateway does not admit namespace ${namespace}: the Service's clients are refused until allowedRoutes.namespaces of the Gateway's HBONE listener admits it, or the label is removed`,
  };
}

const nameOf = (service: ServiceObject): string => `${namespaceOf(service)}/${service.metadata.name}`;
