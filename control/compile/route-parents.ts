/** The Services that a route is attached to, and what keeps it from them. Pure. */
import type { Route, RouteKey } from '../../src/model/route.js';
import { namespaceOf } from './labels.js';
import type { ParentRef, RouteObject, ServiceObject } from './objects.js';
import { serviceKeyOf, tcpPorts } from './service.js';

export interface RouteSurroundings {
  /** Names are as references have them, namespaces filled in. */
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  /** Routes of one namespace that name the Service as a parent. */
  readonly routesTo: (routeNamespace: string, namespace: string, name: string) => readonly RouteObject[];
}

/** Why something of a route does not hold, in the specification's word. */
export interface RouteTrouble {
  readonly reason: string;
  readonly message: string;
}

export interface ParentVerdict {
  readonly ref: ParentRef;
  /** Absent where there is none. */
  readonly service?: ServiceObject;
  /** Absent: accepted. */
  readonly trouble?: RouteTrouble;
  /** Of an accepted one: what else is to be known. */
  readonly note?: string;
}

/** Of several types on one port of a Service, the first holds (GEP-1294). */
const precedence: readonly RouteObject['kind'][] = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'];

/** Of `ref`; the specification's defaults are a Gateway's. */
export const isServiceParent = (ref: ParentRef): boolean => ref.group === '' && ref.kind === 'Service';
export const refNamespace = (ref: { readonly namespace?: string }, of: RouteObject): string =>
  ref.namespace ?? namespaceOf(of);

const isHeadless = ({ spec }: ServiceObject): boolean =>
  spec.clusterIP === 'None' || spec.clusterIPs?.[0] === 'None';
export const isExternal = ({ spec }: ServiceObject): boolean => spec.type === 'ExternalName';

function portsOf(service: ServiceObject, ref: ParentRef): readonly number[] {
  const ports = tcpPorts(service).map(({ port }) => port);
  return ref.port === undefined ? ports : ports.filter((port) => port === ref.port);
}

function parentTrouble(ref: ParentRef, name: string, service: ServiceObject | undefined): string | undefined {
  if (ref.sectionName !== undefined)
    return 'a Service has no sections: name a port by port, not by sectionName';
  if (!service) return `there is no Service ${name}`;
  if (isExternal(service)) return `Service ${name} is an ExternalName: it has no address of its own`;
  if (isHeadless(service)) return `Service ${name} is headless: its clients do not go by its address`;
  if (ref.port !== undefined && portsOf(service, ref).length === 0)
    return `Service ${name} has no TCP port ${ref.port}`;
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
      if (!isServiceParent(ref) || ref.sectionName !== undefined) continue;
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

export function attach(object: RouteObject, ref: ParentRef, around: RouteSurroundings): Attached {
  const namespace = refNamespace(ref, object);
  const name = `${namespace}/${ref.name}`;
  const service = around.service(namespace, ref.name);
  const why = parentTrouble(ref, name, service);
  if (!service || why !== undefined) {
    const trouble = { reason: 'NoMatchingParent', message: why ?? '' };
    return { verdict: { ref, ...(service ? { service } : {}), trouble }, parents: [] };
  }
  // Producers' routes are of the Service's namespace and consumers' of their own: each namespace's routes are one persona's.
  const lost = conflicts(
    object.kind,
    name,
    service,
    around.routesTo(namespaceOf(object), namespace, ref.name),
  );
  const key = serviceKeyOf(service);
  const ports = portsOf(service, ref);
  const won = ports.filter((port) => !lost.has(port));
  if (lost.size === 0 || won.length === ports.length) {
    const parent = { service: key, ...(ref.port === undefined ? {} : { port: ref.port }) };
    return { verdict: { ref, service }, parents: [parent] };
  }
  const taken = ports
    .flatMap((port) => (lost.has(port) ? [`port ${port} is routed by ${lost.get(port)}`] : []))
    .join(', ');
  if (won.length === 0)
    return { verdict: { ref, service, trouble: { reason: 'Conflicted', message: taken } }, parents: [] };
  return {
    verdict: { ref, service, note: `not everywhere: ${taken}` },
    parents: won.map((port) => ({ service: key, port })),
  };
}
