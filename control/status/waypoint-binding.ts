/** Why no waypoint enforces the routes and policies that are attached to a Service, or to a name outside of the cluster. Pure. */
import type { ServedObject } from '../objects/objects.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { WaypointName } from '../compile/waypoints.js';
import type { ConditionReason } from './conditions.js';
import type { MeshLookup } from './status.js';

export type WaypointLookup = Pick<MeshLookup, 'waypointOf' | 'isWaypoint' | 'admits'>;

/** Undefined if a waypoint serves the Service. */
export function unenforcedBecause(
  service: ServedObject,
  lookup: WaypointLookup,
): ConditionReason | undefined {
  const waypoint = lookup.waypointOf(service);
  if (waypoint) return unboundBecause(service, waypoint, lookup);
  return {
    reason: 'NoWaypoint',
    message: `${nameOf(service)} has no waypoint: label it or its namespace weft.dev/waypoint=<name>, and create the Gateway <name> of class weft-waypoint`,
  };
}

/**
 * Why the waypoint that the Service's labels name does not serve the Service, which is closed then. Undefined if the Service is served.
 * @param waypoint the waypoint that the labels name
 */
export function unboundBecause(
  service: ServedObject,
  waypoint: WaypointName,
  lookup: WaypointLookup,
): ConditionReason | undefined {
  const namespace = namespaceOf(service);
  const names = `${nameOf(service)} names the waypoint ${waypoint.namespace}/${waypoint.name}`;
  if (!lookup.isWaypoint(waypoint)) {
    return {
      reason: 'WaypointMissing',
      message: `${names}, but there is no Gateway of class weft-waypoint with that name: create it; until then its clients are refused`,
    };
  }
  if (lookup.admits(waypoint, namespace)) return undefined;
  return {
    reason: 'WaypointNotAllowed',
    message: `${names}, whose Gateway does not admit namespace ${namespace}: its clients are refused until allowedRoutes.namespaces of the Gateway's HBONE listener admits it, or the label is removed`,
  };
}

const nameOf = (object: ServedObject): string =>
  `${object.kind} ${namespaceOf(object)}/${object.metadata.name}`;
