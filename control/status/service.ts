/** The status of a Service whose labels name a waypoint. Pure. */
import { waypointBoundType, type ServiceObject } from '../objects/objects.js';
import { condition, withTransitionTimes, type ConditionUpdate } from './conditions.js';
import type { StatusLookup, StatusUpdate } from './status.js';
import { unboundBecause, type WaypointLookup } from './waypoint-binding.js';

/** The wanted condition. Undefined if the labels name no waypoint. */
export function waypointBound(service: ServiceObject, lookup: WaypointLookup): ConditionUpdate | undefined {
  const waypoint = lookup.waypointOf(service);
  if (!waypoint) return undefined;
  const problem = unboundBecause(service, waypoint, lookup);
  return problem
    ? condition(waypointBoundType, 'False', problem.reason, problem.message)
    : condition(
        waypointBoundType,
        'True',
        'WaypointAccepted',
        `served by the waypoint ${waypoint.namespace}/${waypoint.name}`,
      );
}

/**
 * The condition `weft.dev/WaypointBound`. It is written if the waypoint does not serve the Service, which is closed then. A condition that was
 * written before is corrected or removed. Most Services have none, so a mesh without problems writes nothing.
 */
export function serviceStatus(
  service: ServiceObject,
  { mesh, timestamp }: StatusLookup,
): StatusUpdate | undefined {
  const conditions = service.status?.conditions ?? [];
  const [present] = conditions;
  const wanted = waypointBound(service, mesh);
  if (!present && wanted?.status !== 'False') return undefined;
  if (
    wanted &&
    present?.status === wanted.status &&
    present.reason === wanted.reason &&
    present.message === wanted.message
  )
    return undefined;
  const own = conditions.filter(({ type }) => type === waypointBoundType);
  return {
    // The UID keeps the write from a later Service of the same name.
    boundTo: ['uid'],
    status: {
      // Services have no generation.
      conditions: wanted ? withTransitionTimes([wanted], own, undefined, timestamp) : [],
    },
  };
}
