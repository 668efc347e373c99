/** The status of a GatewayClass. Pure. */
import type { GatewayClassObject } from '../objects/objects.js';
import { waypointController } from '../compile/waypoints.js';
import { condition, hasConditions, withTransitionTimes } from './conditions.js';
import type { StatusLookup, StatusUpdate } from './status.js';

/** Undefined for classes of other controllers. */
export function gatewayClassStatus(
  { metadata, spec, status }: GatewayClassObject,
  { timestamp }: Pick<StatusLookup, 'timestamp'>,
): StatusUpdate | undefined {
  if (spec.controllerName !== waypointController) return undefined;
  const accepted = condition('Accepted', 'True', 'Accepted', 'Gateways of this class are waypoints of Weft');
  const conditions = withTransitionTimes([accepted], status?.conditions, metadata.generation, timestamp);
  return hasConditions(status?.conditions, conditions) ? undefined : { status: { conditions } };
}
