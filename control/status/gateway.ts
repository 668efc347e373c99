/** What is written into the status of the Gateway API's kinds, by what is there now. Pure. */
import { isDeepStrictEqual } from 'node:util';
import type { Compiler } from '../compile/compile.js';
import { namespaceOf } from '../../src/model/labels.js';
import {
  gatewayGroup,
  type Condition,
  type GatewayClassObject,
  type GatewayObject,
  type RouteObject,
} from '../objects/objects.js';
import { classConditions, gatewayStatus, routeParents, type WaypointHealth } from './route.js';
import { waypointController } from '../compile/waypoints.js';
import { rfc3339 } from './conditions.js';
import { statusPathOf } from './path.js';
import type { Write } from '../kubernetes/apply-queue.js';

const v1 = `${gatewayGroup}/v1`;

/** Undefined where the route says so already. */
export function routeWrite(object: RouteObject, compiler: Compiler): Write | undefined {
  const parents = routeParents(object, compiler.route(object), compiler, rfc3339(Date.now()));
  const path = statusPathOf(object);
  if (path === undefined || isDeepStrictEqual(parents, object.status?.parents ?? [])) return undefined;
  const { apiVersion = v1, kind } = object;
  const { name, resourceVersion } = object.metadata;
  const namespace = namespaceOf(object);
  return {
    path,
    body: {
      apiVersion,
      kind,
      // The list has several authors and is written whole: where another has written since, it is read again first.
      metadata: { name, namespace, ...(resourceVersion === undefined ? {} : { resourceVersion }) },
      status: { parents },
    },
  };
}

const ofTypes = (
  conditions: readonly Condition[] | undefined,
  wanted: readonly Condition[],
): readonly (Condition | undefined)[] =>
  wanted.map((one) => (conditions ?? []).find(({ type }) => type === one.type));

/**
 * Undefined for Gateways that are none of ours, and where the Gateway says so already.
 * @param health of what was made for it; absent: by others than us
 */
export function gatewayWrite(
  object: GatewayObject,
  compiler: Compiler,
  health?: WaypointHealth,
): Write | undefined {
  const { name } = object.metadata;
  const namespace = namespaceOf(object);
  if (!compiler.isWaypoint({ namespace, name })) return undefined;
  const status = gatewayStatus(object, compiler.service(namespace, name), rfc3339(Date.now()), health);
  const { addresses = [], conditions, listeners = [] } = object.status ?? {};
  const path = statusPathOf(object);
  if (path === undefined) return undefined;
  if (
    isDeepStrictEqual(ofTypes(conditions, status.conditions), status.conditions) &&
    isDeepStrictEqual(addresses, status.addresses) &&
    isDeepStrictEqual(listeners, status.listeners)
  )
    return undefined;
  return {
    path,
    body: { apiVersion: v1, kind: 'Gateway', metadata: { name, namespace }, status },
  };
}

/** Undefined for classes of other controllers, and where the class says so already. */
export function classWrite(object: GatewayClassObject): Write | undefined {
  const { metadata, spec, status } = object;
  if (spec.controllerName !== waypointController) return undefined;
  const conditions = classConditions(metadata, status?.conditions, rfc3339(Date.now()));
  const path = statusPathOf(object);
  if (path === undefined || isDeepStrictEqual(ofTypes(status?.conditions, conditions), conditions))
    return undefined;
  return {
    path,
    body: { apiVersion: v1, kind: 'GatewayClass', metadata: { name: metadata.name }, status: { conditions } },
  };
}
