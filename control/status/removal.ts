/** The status of objects while Weft is uninstalled: no remaining condition may claim that they are in force. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import {
  isRoute,
  type Condition,
  type GatewayClassObject,
  type GatewayObject,
  type MeshObject,
  type RouteObject,
  type ServiceObject,
} from '../objects/objects.js';
import { waypointController } from '../compile/waypoints.js';
import { acceptedUpdate } from './accepted.js';
import type { BackendPolicyObject } from './backend-policy.js';
import { hasConditions, withTransitionTimes, type ConditionUpdate } from './conditions.js';
import { isOwn, type StatusLookup, type StatusUpdate } from './status.js';

const removed = { reason: 'MeshIsBeingRemoved', message: 'not in force: Weft is being uninstalled' };
/** The default condition in the Gateway API's CRDs, before a controller has processed the object. */
const waiting = {
  type: 'Accepted',
  status: 'Unknown',
  reason: 'Pending',
  message: 'Waiting for controller',
};
const unprogrammed = {
  type: 'Programmed',
  status: 'False',
  reason: 'Pending',
  message: 'Weft is being uninstalled: the waypoint is not used',
};
const boundTo = ['uid', 'resourceVersion'] as const;

/** The removal status of an object of any kind. Undefined if the object has it already, or other controllers write its status. */
export function removalStatus(object: MeshObject, lookup: StatusLookup): StatusUpdate | undefined {
  if (isOwn(object)) return acceptedUpdate(object, removed, lookup.timestamp);
  if (isRoute(object)) return routeStatus(object);
  switch (object.kind) {
    case 'Service':
      return serviceStatus(object);
    case 'Gateway':
      return gatewayStatus(object, lookup);
    case 'GatewayClass':
      return gatewayClassStatus(object, lookup);
    case 'XBackendTrafficPolicy':
    case 'BackendTLSPolicy':
      return backendPolicyRemoval(object);
    default:
      return undefined;
  }
}

/** Removes Weft's entries. Entries of other controllers stay as they are. */
function routeStatus(route: RouteObject): StatusUpdate | undefined {
  const present = route.status?.parents ?? [];
  const parents = present.filter(({ controllerName }) => controllerName !== waypointController);
  return parents.length === present.length ? undefined : { boundTo, status: { parents } };
}

/** The same for the policies of the Gateway API. */
function backendPolicyRemoval(policy: BackendPolicyObject): StatusUpdate | undefined {
  const present = policy.status?.ancestors ?? [];
  const ancestors = present.filter(({ controllerName }) => controllerName !== waypointController);
  return ancestors.length === present.length ? undefined : { boundTo, status: { ancestors } };
}

/** Removes Weft's condition: no other condition of a Service is read. */
const serviceStatus = (service: ServiceObject): StatusUpdate | undefined =>
  (service.status?.conditions ?? []).length === 0 ? undefined : { boundTo, status: { conditions: [] } };

function changedConditions(
  wanted: readonly ConditionUpdate[],
  present: readonly Condition[] | undefined,
  generation: number | undefined,
  timestamp: string,
): readonly Condition[] | undefined {
  const conditions = withTransitionTimes(wanted, present, generation, timestamp);
  return hasConditions(present, conditions) ? undefined : conditions;
}

function gatewayStatus(gateway: GatewayObject, { mesh, timestamp }: StatusLookup): StatusUpdate | undefined {
  const { name, generation } = gateway.metadata;
  if (!mesh.isWaypoint({ namespace: namespaceOf(gateway), name })) return undefined;
  const { conditions: present, listeners = [] } = gateway.status ?? {};
  const conditions = changedConditions([waiting, unprogrammed], present, generation, timestamp);
  if (!conditions) return undefined;
  return {
    boundTo,
    status: {
      addresses: [],
      conditions,
      listeners: listeners.map((listener) => ({
        ...listener,
        conditions: withTransitionTimes([unprogrammed], listener.conditions, generation, timestamp),
      })),
    },
  };
}

function gatewayClassStatus(
  { metadata, spec, status }: GatewayClassObject,
  { timestamp }: StatusLookup,
): StatusUpdate | undefined {
  if (spec.controllerName !== waypointController) return undefined;
  const conditions = changedConditions([waiting], status?.conditions, metadata.generation, timestamp);
  return conditions && { boundTo, status: { conditions } };
}
