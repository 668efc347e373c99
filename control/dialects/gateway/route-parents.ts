/** The Services to which a route is attached, and why it is not attached to others. Pure. */
import type { Route, RouteKey } from '../../../src/model/route.js';
import { namespaceOf } from '../../../src/model/labels.js';
import { gatewayGroup, type ParentRef, type RouteObject, type ServiceObject } from '../../objects/objects.js';
import { serviceKeyOf, tcpPorts } from '../../compile/service.js';

export interface RouteLookup {
  /** A Service by namespace and name. */
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  /** Routes of one namespace that name the Service as a parent. */
  readonly routesTo: (routeNamespace: string, namespace: string, name: string) => readonly RouteObject[];
  /** The object of another mesh's API that a namespace has for the Service. It yields to routes of that namespace. */
  readonly yieldingTo?: (routeNamespace: string, service: ServiceObject) => string | undefined;
}

/** Why a part of a route is not in force. The reason is the Gateway API's condition reason. */
export interface RouteProblem {
  readonly reason: string;
  readonly message: string;
}

/** Port → the route that has it. */
const taken = new WeakMap<readonly RouteObject[], { service: ServiceObject; ports: Conflicts }>();

/**
 * The ports of a Service that belong to routes, which precede the objects of other meshes' APIs.
 * @param routes attached to the Service, of one namespace. The same array until its content changes
 */
export function portsOfRoutes(service: ServiceObject, routes: readonly RouteObject[]): Conflicts {
  if (routes.length === 0) return noPorts;
  const known = taken.get(routes);
  if (known?.service === service) return known.ports;
  const ports = new Map<number, string>();
  addPorts(ports, service, routes);
  taken.set(routes, { service, ports });
  return ports;
}
const noPorts: Conflicts = new Map();

/** Adds the ports of the routes that no other route has yet. */
function addPorts(ports: Map<number, string>, service: ServiceObject, routes: readonly RouteObject[]): void {
  const name = `${namespaceOf(service)}/${service.metadata.name}`;
  for (const route of [...routes].sort((a, b) => (routeKeyOf(a) < routeKeyOf(b) ? -1 : 1)))
    for (const ref of route.spec.parentRefs ?? []) {
      if (!isServiceParent(ref) || `${refNamespace(ref, route)}/${ref.name}` !== name) continue;
      for (const port of portsOf(service, ref))
        if (!ports.has(port)) ports.set(port, `${route.kind} ${namespaceOf(route)}/${route.metadata.name}`);
    }
}

export interface ParentVerdict {
  readonly ref: ParentRef;
  /** Absent if the Service does not exist. */
  readonly service?: ServiceObject;
  /** Absent: accepted. */
  readonly problem?: RouteProblem;
  /** A restriction of an accepted parent, for its status message. */
  readonly remark?: string;
}

/** If routes of several kinds are attached to one port of a Service, the first kind of this list is in force (GEP-1294). */
const precedence: readonly RouteObject['kind'][] = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'];

/** The core group has an empty name. Its canonical name and examples of other meshes spell it `core`; no other API group has that name. */
export const isCoreGroup = (group: string): boolean => group === '' || group === 'core';
/** The default of the specification is the group of Gateway. */
const groupOf = (ref: ParentRef): string => ref.group ?? gatewayGroup;
export const isServiceParent = (ref: ParentRef): boolean =>
  isCoreGroup(groupOf(ref)) && ref.kind === 'Service';

/**
 * The problem of a parentRef that is meant for a Service but has a wrong group or kind; undefined for all other parentRefs. No API has such a
 * kind, so no other controller reports the mistake, and without a report the route would look as if it were in force.
 */
function misnamedParent(ref: ParentRef): RouteProblem | undefined {
  const message = misnaming(ref);
  return message === undefined ? undefined : { reason: 'NoMatchingParent', message };
}

function misnaming(ref: ParentRef): string | undefined {
  if (groupOf(ref) === gatewayGroup && ref.kind === 'Service')
    return `parentRef ${ref.name}: the default group ${gatewayGroup} has no kind Service: add group: ""`;
  const kind = ref.kind ?? 'Gateway';
  if (!isCoreGroup(groupOf(ref)) || kind === 'Service') return undefined;
  return `parentRef ${ref.name}: the core group has no kind ${kind} that routes are attached to: ${ref.kind === undefined ? 'add kind: Service' : 'write kind: Service, or the group of the Gateway'}`;
}
export const refNamespace = (ref: { readonly namespace?: string }, of: RouteObject): string =>
  ref.namespace ?? namespaceOf(of);

export const isHeadless = ({ spec }: ServiceObject): boolean =>
  spec.clusterIP === 'None' || spec.clusterIPs?.[0] === 'None';
export const isExternal = ({ spec }: ServiceObject): boolean => spec.type === 'ExternalName';

/** For a Service parent, `sectionName` is the name of a port. If `port` is given as well, both must match (ParentReference). */
const namesPorts = (ref: ParentRef): boolean => ref.port !== undefined || ref.sectionName !== undefined;
const portsOf = (service: ServiceObject, ref: ParentRef): readonly number[] =>
  tcpPorts(service)
    .filter(
      ({ name, port }) =>
        (ref.port === undefined || port === ref.port) &&
        (ref.sectionName === undefined || name === ref.sectionName),
    )
    .map(({ port }) => port);

function portText({ port, sectionName }: ParentRef): string {
  if (sectionName === undefined) return `TCP port ${port}`;
  return `TCP port with the name ${sectionName} (sectionName)${port === undefined ? '' : ` and the number ${port}`}`;
}

/** Why no route can be attached to a Service. @param name `<namespace>/<name>` */
export function unroutableBecause(name: string, service: ServiceObject | undefined): string | undefined {
  if (!service) return `there is no Service ${name}`;
  if (isExternal(service)) return `Service ${name} is an ExternalName: it has no address of its own`;
  if (isHeadless(service)) return `Service ${name} is headless: it has no address of its own`;
  return undefined;
}

function parentProblem(ref: ParentRef, name: string, service: ServiceObject | undefined): string | undefined {
  const why = unroutableBecause(name, service);
  if (!service || why !== undefined) return why;
  if (namesPorts(ref) && portsOf(service, ref).length === 0) return `Service ${name} has no ${portText(ref)}`;
  return undefined;
}

/** Port → the route of a stronger kind that has it. */
type Conflicts = ReadonlyMap<number, string>;
/**
 * A cache of conflicts by list of attached routes and by kind. All routes of a kind share the result, so that thousands of routes need one
 * search.
 */
const cache = new WeakMap<
  readonly RouteObject[],
  Map<string, { service: ServiceObject; conflicts: Conflicts }>
>();

/** The ports of the Service that routes of this kind do not get, because a route of a stronger kind is attached. */
function conflictsOf(
  kind: RouteObject['kind'],
  service: ServiceObject,
  others: readonly RouteObject[],
): Conflicts {
  let ofList = cache.get(others);
  if (!ofList) cache.set(others, (ofList = new Map()));
  const known = ofList.get(kind);
  if (known?.service === service) return known.conflicts;
  const conflicts = findConflicts(kind, service, others);
  ofList.set(kind, { service, conflicts });
  return conflicts;
}

function findConflicts(
  kind: RouteObject['kind'],
  service: ServiceObject,
  others: readonly RouteObject[],
): Conflicts {
  const rank = precedence.indexOf(kind);
  const lost = new Map<number, string>();
  addPorts(
    lost,
    service,
    others.filter((other) => precedence.indexOf(other.kind) < rank),
  );
  return lost;
}

export const routeKeyOf = (object: RouteObject): RouteKey =>
  `${object.kind}/${namespaceOf(object)}/${object.metadata.name}` as RouteKey;

interface Attached {
  readonly verdict: ParentVerdict;
  readonly parents: Route['parents'];
}

/** Attaches a route to one parent. Undefined for parents of other controllers. */
export function attach(object: RouteObject, ref: ParentRef, lookup: RouteLookup): Attached | undefined {
  const misnamed = misnamedParent(ref);
  if (misnamed) return { verdict: { ref, problem: misnamed }, parents: [] };
  if (!isServiceParent(ref)) return undefined;
  const namespace = refNamespace(ref, object);
  const name = `${namespace}/${ref.name}`;
  const service = lookup.service(namespace, ref.name);
  const why = parentProblem(ref, name, service);
  if (!service || why !== undefined) {
    const problem = { reason: 'NoMatchingParent', message: why ?? '' };
    return { verdict: { ref, ...(service ? { service } : {}), problem }, parents: [] };
  }
  // Producer routes are in the Service's namespace, consumer routes in their own: only routes of one namespace conflict.
  const lost = conflictsOf(object.kind, service, lookup.routesTo(namespaceOf(object), namespace, ref.name));
  const key = serviceKeyOf(service);
  const ports = portsOf(service, ref);
  const won = ports.filter((port) => !lost.has(port));
  const yielding = lookup.yieldingTo?.(namespaceOf(object), service);
  const precedes =
    yielding === undefined
      ? []
      : [`${yielding} is not in force at these ports: routes of the Gateway API precede it`];
  if (lost.size === 0 || won.length === ports.length) {
    const parents = namesPorts(ref) ? ports.map((port) => ({ service: key, port })) : [{ service: key }];
    const remark = precedes.length === 0 ? {} : { remark: `attached to the Service; ${precedes.join('; ')}` };
    return { verdict: { ref, service, ...remark }, parents };
  }
  const takenText = ports
    .flatMap((port) => (lost.has(port) ? [`port ${port} belongs to ${lost.get(port)}`] : []))
    .join(', ');
  if (won.length === 0)
    return { verdict: { ref, service, problem: { reason: 'Conflicted', message: takenText } }, parents: [] };
  return {
    verdict: { ref, service, remark: [`not in force on every port: ${takenText}`, ...precedes].join('; ') },
    parents: won.map((port) => ({ service: key, port })),
  };
}
