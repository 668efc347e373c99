/** The Services that a route is attached to, and what keeps it from them. Pure. */
import type { Route, RouteKey } from '../../src/model/route.js';
import { namespaceOf } from '../../src/model/labels.js';
import { gatewayGroup, type ParentRef, type RouteObject, type ServiceObject } from '../objects/objects.js';
import { serviceKeyOf, tcpPorts } from './service.js';

export interface RouteLookup {
  /** Names are as references have them, namespaces filled in. */
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  /** Routes of one namespace that name the Service as a parent. */
  readonly routesTo: (routeNamespace: string, namespace: string, name: string) => readonly RouteObject[];
}

/** Why something of a route does not hold, in the specification's word. */
export interface RouteProblem {
  readonly reason: string;
  readonly message: string;
}

export interface ParentVerdict {
  readonly ref: ParentRef;
  /** Absent where there is none. */
  readonly service?: ServiceObject;
  /** Absent: accepted. */
  readonly problem?: RouteProblem;
  /** Of an accepted one: what else is to be known. */
  readonly remark?: string;
}

/** Of several types on one port of a Service, the first holds (GEP-1294). */
const precedence: readonly RouteObject['kind'][] = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'];

/** The core group has no name. `core` is how its canonical name and other meshes' examples spell it; no API group is called so. */
export const isCoreGroup = (group: string): boolean => group === '' || group === 'core';
/** The specification's default is a Gateway's. */
const groupOf = (ref: ParentRef): string => ref.group ?? gatewayGroup;
export const isServiceParent = (ref: ParentRef): boolean =>
  isCoreGroup(groupOf(ref)) && ref.kind === 'Service';

/**
 * Why a reference that means a Service names none; undefined of all others. No API has such a kind, so no other controller reports it, and
 * a route that nobody reports on looks as if it were in force.
 */
function misnamedParent(ref: ParentRef): RouteProblem | undefined {
  const message = misnaming(ref);
  return message === undefined ? undefined : { reason: 'NoMatchingParent', message };
}

function misnaming(ref: ParentRef): string | undefined {
  if (groupOf(ref) === gatewayGroup && ref.kind === 'Service')
    return `parentRef ${ref.name}: ${gatewayGroup}, the group of a parentRef without one, has no kind Service: add group: ""`;
  const kind = ref.kind ?? 'Gateway';
  if (!isCoreGroup(groupOf(ref)) || kind === 'Service') return undefined;
  return `parentRef ${ref.name}: the core group has no kind ${kind} that routes are attached to: ${ref.kind === undefined ? 'add kind: Service' : 'write kind: Service, or the group of the Gateway'}`;
}
export const refNamespace = (ref: { readonly namespace?: string }, of: RouteObject): string =>
  ref.namespace ?? namespaceOf(of);

const isHeadless = ({ spec }: ServiceObject): boolean =>
  spec.clusterIP === 'None' || spec.clusterIPs?.[0] === 'None';
export const isExternal = ({ spec }: ServiceObject): boolean => spec.type === 'ExternalName';

/** Of a Service `sectionName` is the name of a port; where both are given, both have to match (ParentReference). */
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

function parentProblem(ref: ParentRef, name: string, service: ServiceObject | undefined): string | undefined {
  if (!service) return `there is no Service ${name}`;
  if (isExternal(service)) return `Service ${name} is an ExternalName: it has no address of its own`;
  if (isHeadless(service)) return `Service ${name} is headless: its clients do not go by its address`;
  if (namesPorts(ref) && portsOf(service, ref).length === 0) return `Service ${name} has no ${portText(ref)}`;
  return undefined;
}

type Lost = ReadonlyMap<number, string>;
/** By the list of routes: for all routes of a kind it is the same, and with thousands of them it is found once. */
const found = new WeakMap<readonly RouteObject[], Map<string, { service: ServiceObject; lost: Lost }>>();

/** Port by port, what keeps routes of a kind from the Service: a more specific type that is attached too. */
function conflicts(
  kind: RouteObject['kind'],
  name: string,
  service: ServiceObject,
  others: readonly RouteObject[],
): Lost {
  let ofList = found.get(others);
  if (!ofList) found.set(others, (ofList = new Map()));
  const known = ofList.get(kind);
  if (known?.service === service) return known.lost;
  const lost = findConflicts(kind, name, service, others);
  ofList.set(kind, { service, lost });
  return lost;
}

function findConflicts(
  kind: RouteObject['kind'],
  name: string,
  service: ServiceObject,
  others: readonly RouteObject[],
): Lost {
  const lost = new Map<number, string>();
  const rank = precedence.indexOf(kind);
  const stronger = others
    .filter(({ kind }) => precedence.indexOf(kind) < rank)
    .sort((a, b) => (routeKeyOf(a) < routeKeyOf(b) ? -1 : 1));
  for (const other of stronger) {
    for (const ref of other.spec.parentRefs ?? []) {
      if (!isServiceParent(ref)) continue;
      if (`${refNamespace(ref, other)}/${ref.name}` !== name) continue;
      for (const port of portsOf(service, ref))
        if (!lost.has(port)) lost.set(port, `${other.kind} ${namespaceOf(other)}/${other.metadata.name}`);
    }
  }
  return lost;
}

export const routeKeyOf = (object: RouteObject): RouteKey =>
  `${object.kind}/${namespaceOf(object)}/${object.metadata.name}` as RouteKey;

interface Attached {
  readonly verdict: ParentVerdict;
  readonly parents: Route['parents'];
}

/** Undefined of parents that are none of ours. */
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
  // Producers' routes are of the Service's namespace and consumers' of their own: each namespace's routes are one persona's.
  const lost = conflicts(
    object.kind,
    name,
    service,
    lookup.routesTo(namespaceOf(object), namespace, ref.name),
  );
  const key = serviceKeyOf(service);
  const ports = portsOf(service, ref);
  const won = ports.filter((port) => !lost.has(port));
  if (lost.size === 0 || won.length === ports.length) {
    const parents = namesPorts(ref) ? ports.map((port) => ({ service: key, port })) : [{ service: key }];
    return { verdict: { ref, service }, parents };
  }
  const taken = ports
    .flatMap((port) => (lost.has(port) ? [`port ${port} is routed by ${lost.get(port)}`] : []))
    .join(', ');
  if (won.length === 0)
    return { verdict: { ref, service, problem: { reason: 'Conflicted', message: taken } }, parents: [] };
  return {
    verdict: { ref, service, remark: `not everywhere: ${taken}` },
    parents: won.map((port) => ({ service: key, port })),
  };
}
