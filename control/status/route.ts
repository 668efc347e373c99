/** The status of routes: one entry per Service that a route is attached to, in the Gateway API's conditions. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { namespaceOf } from '../../src/model/labels.js';
import { unsupportedRules } from '../../src/discovery/capabilities.js';
import { enforcedType, type ParentStatus, type RouteObject, type ServiceObject } from '../objects/objects.js';
import type { ParentVerdict } from '../dialects/gateway/route-parents.js';
import type { CompiledRoute } from '../dialects/gateway/routes.js';
import { waypointController } from '../compile/waypoints.js';
import {
  condition,
  trueUnless,
  withTransitionTimes,
  type ConditionReason,
  type ConditionUpdate,
} from './conditions.js';
import type { StatusLookup, StatusUpdate } from './status.js';
import { unenforcedBecause, type WaypointLookup } from './waypoint-binding.js';

type RouteStatusLookup = WaypointLookup & Pick<StatusLookup, 'olderVersions'>;

/** The lookups as properties: a spread of the registry would lose its methods. */
const lookupOf = (mesh: WaypointLookup): WaypointLookup => ({
  waypointOf: (service) => mesh.waypointOf(service),
  isWaypoint: (name) => mesh.isWaypoint(name),
  admits: (waypoint, namespace) => mesh.admits(waypoint, namespace),
});

export function routeStatus(route: RouteObject, lookup: StatusLookup): StatusUpdate | undefined {
  const { mesh, timestamp, olderVersions } = lookup;
  const parents = routeParents(route, mesh.route(route), { ...lookupOf(mesh), olderVersions }, timestamp);
  if (isDeepStrictEqual(parents, route.status?.parents ?? [])) return undefined;
  // Several controllers write the list, each as a whole: the resource version makes a write fail after another controller's write.
  return { boundTo: ['resourceVersion'], status: { parents } };
}

/** The route's `status.parents` with Weft's entries updated. Entries of other controllers keep their content and position. */
export function routeParents(
  route: RouteObject,
  compiled: CompiledRoute,
  lookup: RouteStatusLookup,
  timestamp: string,
): readonly ParentStatus[] {
  const { generation } = route.metadata;
  const ownNamespace = namespaceOf(route);
  const missing = compiled.parents.map((verdict) => ({
    ref: verdict.ref,
    conditions: parentConditions(verdict, compiled, lookup),
  }));
  const present = (route.status?.parents ?? []).flatMap((entry): ParentStatus[] => {
    if (entry.controllerName !== waypointController) return [entry];
    const at = missing.findIndex(({ ref }) => isSameRef(ref, entry.parentRef, ownNamespace));
    const [found] = at < 0 ? [] : missing.splice(at, 1);
    // The route no longer names this parent.
    if (!found) return [];
    const conditions = withTransitionTimes(found.conditions, entry.conditions, generation, timestamp);
    return [{ parentRef: found.ref, controllerName: waypointController, conditions }];
  });
  const added = missing.map(({ ref, conditions }): ParentStatus => ({
    parentRef: ref,
    controllerName: waypointController,
    conditions: withTransitionTimes(conditions, undefined, generation, timestamp),
  }));
  return [...present, ...added];
}

interface Dropped {
  readonly everyRule: boolean;
  readonly message: string;
}

/** Rules that replicas of the Service's waypoint cannot apply, because their version lacks a feature. */
function droppedByVersions(
  service: ServiceObject,
  { route }: CompiledRoute,
  lookup: RouteStatusLookup,
): readonly Dropped[] {
  const waypoint = lookup.waypointOf(service);
  if (!waypoint || !route || !lookup.olderVersions) return [];
  const found = new Map<string, Dropped>();
  for (const { version, lacks } of lookup.olderVersions(waypoint)) {
    const rules = [...unsupportedRules(route, lacks)];
    if (rules.length === 0) continue;
    const whole = rules.some(([index]) => index === undefined);
    const what = rules
      .map(([index, feature]) => `${index === undefined ? 'the route' : `rules[${index}]`} needs ${feature}`)
      .join(', ');
    found.set(version, {
      everyRule: whole || rules.length === route.rules.length,
      message: `${what}, which waypoint ${waypoint.namespace}/${waypoint.name} of version ${version} does not support`,
    });
  }
  return [...found.values()];
}

function parentConditions(
  { service, problem, remark }: ParentVerdict,
  compiled: CompiledRoute,
  lookup: RouteStatusLookup,
): readonly ConditionUpdate[] {
  const { unsupported, unresolved, unread } = compiled;
  const dropped = [
    ...(compiled.invalid ? [compiled.invalid] : []),
    ...(service && !problem ? droppedByVersions(service, compiled, lookup) : []),
  ];
  const everyRule = dropped.some((one) => one.everyRule);
  const closed: ConditionReason | undefined =
    dropped.length === 0
      ? undefined
      : {
          reason: 'UnsupportedValue',
          message: `${dropped.map(({ message }) => message).join('; ')}; requests that ${everyRule ? 'it' : 'such a rule'} might match are answered with 500`,
        };
  const unaccepted = problem ?? unsupported ?? (everyRule ? closed : undefined);
  const settings = unread === undefined ? undefined : { reason: 'UnsupportedValue', message: unread };
  const unenforced = service && !problem ? (unenforcedBecause(service, lookup) ?? settings) : undefined;
  return [
    trueUnless('Accepted', unaccepted, remark ?? 'attached to the Service'),
    trueUnless('ResolvedRefs', unresolved, 'all references are resolved'),
    // The Gateway API specifies the prefix of the message.
    ...(closed && !everyRule && !problem
      ? [condition('PartiallyInvalid', 'True', closed.reason, `Dropped Rule: ${closed.message}`)]
      : []),
    ...(unenforced ? [condition(enforcedType, 'False', unenforced.reason, unenforced.message)] : []),
  ];
}

const isSameRef = (
  a: ParentStatus['parentRef'],
  b: ParentStatus['parentRef'],
  ownNamespace: string,
): boolean =>
  (a.group ?? 'gateway.networking.k8s.io') === (b.group ?? 'gateway.networking.k8s.io') &&
  (a.kind ?? 'Gateway') === (b.kind ?? 'Gateway') &&
  (a.namespace ?? ownNamespace) === (b.namespace ?? ownNamespace) &&
  a.name === b.name &&
  a.sectionName === b.sectionName &&
  a.port === b.port;
