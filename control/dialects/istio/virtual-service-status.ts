/** The status of VirtualServices: whether they are in force, what of them is not, and whether waypoints enforce them. Pure. */
import { enforcedType, type MeshObject } from '../../objects/objects.js';
import { invalidBecause } from '../../status/accepted.js';
import { condition, type ConditionUpdate } from '../../status/conditions.js';
import { dialectUpdate } from '../../status/dialect.js';
import type { OwnObject, StatusLookup, StatusUpdate } from '../../status/status.js';
import { unenforcedBecause } from '../../status/waypoint-binding.js';
import { hostVerdicts, type VirtualService } from './virtual-service-hosts.js';

export function virtualServiceStatus(object: OwnObject, lookup: StatusLookup): StatusUpdate | undefined {
  const isInForce =
    invalidBecause(object) === undefined && lookup.mesh.problemOf(object as MeshObject) === undefined;
  const enforced = isInForce ? virtualServiceEnforcement(object as VirtualService, lookup) : undefined;
  return dialectUpdate(object, lookup, enforced);
}

/** Every route of a VirtualService needs it. A waypoint that lacks it has all of its rules closed. */
const feature = 'Route.ordered';

/** Undefined if the object is in force for no Service. */
export function virtualServiceEnforcement(
  object: VirtualService,
  { mesh, olderVersions }: Pick<StatusLookup, 'mesh' | 'olderVersions'>,
): ConditionUpdate | undefined {
  const services = hostVerdicts(object, mesh).flatMap(({ services: found, entry }) => [
    ...found.flatMap(({ service, lostTo }) => (lostTo ? [] : [service])),
    ...(entry && !entry.lostTo ? [entry.entry] : []),
  ]);
  for (const service of services) {
    const problem = unenforcedBecause(service, mesh);
    if (problem) return condition(enforcedType, 'False', problem.reason, problem.message);
    const waypoint = mesh.waypointOf(service);
    for (const { version, lacks } of (waypoint && olderVersions?.(waypoint)) ?? [])
      if (waypoint && lacks.includes(feature))
        return condition(
          enforcedType,
          'False',
          'UnsupportedByWaypoint',
          `needs ${feature}, which waypoint ${waypoint.namespace}/${waypoint.name} of version ${version} does not support; its requests are answered with 500`,
        );
  }
  return services.length === 0
    ? undefined
    : condition(enforcedType, 'True', 'Enforced', 'enforced at the waypoint of each Service');
}
