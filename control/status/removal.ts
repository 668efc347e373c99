/** What objects say once nobody carries them out any more: written on the way off the cluster, since nobody is there to correct it later. Pure. */
import { isDeepStrictEqual } from 'node:util';
import type { Compiler } from '../compile/compile.js';
import { namespaceOf } from '../../src/model/labels.js';
import {
  gatewayGroup,
  routeKinds,
  type Condition,
  type GatewayClassObject,
  type GatewayObject,
  type RouteObject,
  type ServiceObject,
} from '../objects/objects.js';
import { conditionsOf, type Saying } from './route.js';
import { waypointController } from '../compile/waypoints.js';
import { acceptedCondition, judgedKinds, rfc3339 } from './conditions.js';
import { statusPathOf } from './path.js';
import type { Write } from '../kubernetes/apply-queue.js';

const removed = { reason: 'MeshIsBeingRemoved', message: 'Weft is being uninstalled: it is not in force' };
const v1 = `${gatewayGroup}/v1`;
/** As the Gateway API's CRDs have it before a controller has looked. */
const waiting = { status: 'Unknown', reason: 'Pending', message: 'Waiting for controller' };
const unprogrammed = {
  type: 'Programmed',
  status: 'False',
  reason: 'Pending',
  message: 'Weft is being uninstalled: nobody goes through it',
};

/** One for each object that says otherwise now. */
export function* removalWrites(compiler: Compiler): Generator<Write> {
  for (const kind of judgedKinds)
    for (const object of compiler.ofKind(kind)) yield* some(acceptedCondition(object, removed));
  for (const kind of routeKinds) for (const object of compiler.ofKind(kind)) yield* some(routeWrite(object));
  for (const object of compiler.ofKind('Service')) yield* some(serviceWrite(object));
  for (const object of compiler.ofKind('Gateway'))
    if (compiler.isWaypoint({ namespace: namespaceOf(object), name: object.metadata.name }))
      yield* some(gatewayWrite(object));
  for (const object of compiler.ofKind('GatewayClass'))
    if (object.spec.controllerName === waypointController) yield* some(classWrite(object));
}

function* some(write: Write | undefined): Generator<Write> {
  if (write) yield write;
}

function statusWrite(
  object: RouteObject | ServiceObject | GatewayObject | GatewayClassObject,
  apiVersion: string,
  status: object,
): Write | undefined {
  const path = statusPathOf(object);
  if (path === undefined) return undefined;
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const metadata = {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
  return { path, body: { apiVersion, kind: object.kind, metadata, status } };
}

/** Entries of other controllers stay as they are. */
function routeWrite(object: RouteObject): Write | undefined {
  const now = object.status?.parents ?? [];
  const parents = now.filter(({ controllerName }) => controllerName !== waypointController);
  return parents.length === now.length
    ? undefined
    : statusWrite(object, object.apiVersion ?? v1, { parents });
}

/** Of a Service only our own condition is known here. */
const serviceWrite = (object: ServiceObject): Write | undefined =>
  (object.status?.conditions ?? []).length === 0 ? undefined : statusWrite(object, 'v1', { conditions: [] });

function withConditions(
  sayings: readonly Saying[],
  now: readonly Condition[] | undefined,
  generation: number | undefined,
): readonly Condition[] | undefined {
  const wanted = conditionsOf(sayings, now, generation, rfc3339(Date.now()));
  const before = wanted.map((one) => now?.find(({ type }) => type === one.type));
  return isDeepStrictEqual(before, wanted) ? undefined : wanted;
}

function gatewayWrite(object: GatewayObject): Write | undefined {
  const { conditions, listeners = [] } = object.status ?? {};
  const { generation } = object.metadata;
  const sayings = [{ type: 'Accepted', ...waiting }, unprogrammed];
  const wanted = withConditions(sayings, conditions, generation);
  if (!wanted) return undefined;
  return statusWrite(object, v1, {
    addresses: [],
    conditions: wanted,
    listeners: listeners.map((listener) => ({
      ...listener,
      conditions: conditionsOf([unprogrammed], listener.conditions, generation, rfc3339(Date.now())),
    })),
  });
}

function classWrite(object: GatewayClassObject): Write | undefined {
  const accepted = { type: 'Accepted', ...waiting };
  const conditions = withConditions([accepted], object.status?.conditions, object.metadata.generation);
  return conditions && statusWrite(object, v1, { conditions });
}
