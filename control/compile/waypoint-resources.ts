/** The waypoint of a host, and what it is sent besides the host's Service: the settings of its ports, and policies. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import { refusedWaypoint } from '../../src/model/refused-waypoint.js';
import type { Service } from '../../src/model/service.js';
import type { PolicyTarget } from '../dialects/istio/destination-rule/port-settings.js';
import type { RulesInForce } from '../dialects/istio/destination-rule/in-force.js';
import { waypointPolicies } from '../dialects/istio/authorization.js';
import type { CompileContext } from '../kinds/kind.js';
import type { CompiledResource } from './resource.js';
import type { WaypointRef } from '../../src/model/workload.js';
import type { ServedObject } from '../objects/objects.js';
import { servicePolicies, waypointNeededBy } from './service-policy.js';
import { hbonePort, waypointCaller, waypointReference, type WaypointName } from './waypoints.js';

export interface BoundWaypoint {
  /** What clients are sent: their connections take this way, or are refused. */
  readonly reference: WaypointRef;
  /** Undefined: the Gateway does not admit the object's namespace. */
  readonly served: WaypointName | undefined;
}

/** The waypoint that connections to the object take; undefined: none. During an uninstall waypoints enforce no policy, so none is used. */
export function boundWaypoint(
  object: ServedObject,
  { settings, registry }: Pick<CompileContext, 'settings' | 'registry'>,
): BoundWaypoint | undefined {
  if (settings.removal !== undefined) return undefined;
  const waypoint = registry.waypointOf(object);
  if (!waypoint) {
    // What must not pass without a decision does not pass at all where nobody asks for one.
    const needed = object.kind === 'Service' ? waypointNeededBy(object, registry) : undefined;
    return needed && { reference: refusedWaypoint(needed, hbonePort), served: undefined };
  }
  return registry.admits(waypoint, namespaceOf(object))
    ? { reference: waypointReference(waypoint), served: waypoint }
    : { reference: refusedWaypoint(waypoint, hbonePort), served: undefined };
}

/**
 * @param waypoint whose Gateway admits the object's namespace
 * @param rules the DestinationRules in force
 */
export function waypointResources(
  object: ServedObject,
  service: Service,
  target: PolicyTarget,
  waypoint: WaypointName,
  { registry, security }: Pick<CompileContext, 'registry' | 'security'>,
  rules: RulesInForce | undefined,
): CompiledResource[] {
  const { ofWaypoints } = security(waypoint.namespace);
  return [
    ...servicePolicies({ object, key: service.key, target }, waypoint, registry, rules).map(
      (value) => ({ kind: 'servicePolicy', node: waypointCaller(waypoint), value }) as const,
    ),
    ...waypointPolicies({ ...service, namespace: namespaceOf(object) }, waypoint, ofWaypoints, registry),
  ];
}
