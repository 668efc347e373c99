/** Compiles a TrafficSplit to routes: one for each port of the root Service, since a backend may lack a port. Pure. */
import { errorText } from '../../../src/base/errors.js';
import { namespaceOf } from '../../../src/model/labels.js';
import type { Route, RouteBackend, RouteKey, RouteMatch, RouteRule } from '../../../src/model/route.js';
import { appProtocol } from '../../compile/protocols.js';
import { isExternal, portsOfRoutes, unroutableBecause } from '../gateway/route-parents.js';
import { serviceKeyOf, tcpPorts } from '../../compile/service.js';
import type { RouteObject, ServiceObject, SmiObject, TrafficSplitSpec } from '../../objects/objects.js';
import type { Problem } from '../../registry/claims.js';
import { routeMatchesOf } from './route-group.js';
import { checkVersion, matchesOfGroup, rootOf, serviceName } from './specs.js';
import { weightsOf } from './weights.js';
import { createdMs } from '../../objects/age.js';

export interface SplitLookup {
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  readonly group: (namespace: string, name: string) => SmiObject<'HTTPRouteGroup'> | undefined;
  /** TrafficSplits of the root Service, the oldest first. */
  readonly splits: (namespace: string, root: string) => readonly SmiObject<'TrafficSplit'>[];
  /** Routes of the Gateway API in the Service's namespace that are attached to it. */
  readonly routes: (namespace: string, root: string) => readonly RouteObject[];
  /** The name of the namespace's VirtualService that is in force for a port of the Service. */
  readonly virtualService: (service: ServiceObject, port: Port) => string | undefined;
}

export interface CompiledSplit {
  readonly routes: readonly Route[];
  readonly problem?: Problem;
}

type Split = SmiObject<'TrafficSplit'>;
type Port = ReturnType<typeof tcpPorts>[number];

const without = (reason: string, message: string): CompiledSplit => ({
  routes: [],
  problem: { reason, message },
});

const hasMatches = ({ spec }: Split): boolean => Array.isArray(spec?.matches) && spec.matches.length > 0;

/** Results by list of a root's objects: a list is the same array until its content changes, and each of its objects asks. */
const oldest = new WeakMap<readonly Split[], { readonly found: Split | undefined }>();
/** The oldest object without matches. @param list the oldest first */
function oldestOf(list: readonly Split[]): Split | undefined {
  let known = oldest.get(list);
  if (!known) oldest.set(list, (known = { found: list.find((one) => !hasMatches(one)) }));
  return known.found;
}

/** Error: the field that cannot be read. The routes of an `invalid` object respond with an error to what it may be about. */
export function compileSplit(object: Split, lookup: SplitLookup): CompiledSplit {
  const namespace = namespaceOf(object);
  const { invalid } = object;
  const root = rootOf(object);
  if (invalid === undefined) check(object, root);
  if (root === undefined)
    return without(
      'ForeignNamespace',
      `service: it has to be a Service of namespace ${namespace}; the object has no effect`,
    );
  const service = lookup.service(namespace, root);
  const why = unroutableBecause(`${namespace}/${root}`, service);
  if (!service || why !== undefined) return without('TargetNotFound', `service: ${why}`);
  const claimed = claimsOf(object, root, service, lookup);
  const ports = tcpPorts(service).filter(({ port }) => !claimed.has(port));
  const problems = [...new Set([...claimed].map(([port, by]) => `port ${port} belongs to ${by}`))];
  if (ports.length === 0)
    return without(
      problems.length > 0 ? 'Conflicted' : 'NoPorts',
      problems.join(', ') || 'service: it has no TCP port',
    );
  if (invalid !== undefined || !object.spec)
    return {
      routes: ports.flatMap((port) => closedRoutes(object, service, port, invalid ?? 'spec is missing')),
    };
  const found: string[] = [];
  const matched = matchesOf(object.spec, namespace, lookup, found);
  const routes = ports.flatMap((port) => routesOf(object, service, port, matched, lookup, found));
  const all = [...problems, ...new Set(found)];
  if (all.length === 0) return { routes };
  return {
    routes,
    problem: { reason: problems.length > 0 ? 'Conflicted' : 'PartiallyInvalid', message: all.join('; ') },
  };
}

function check(object: Split, root: string | undefined): void {
  checkVersion(object);
  const { spec } = object;
  if (!spec) throw new Error('spec: it is missing');
  weightsOf(spec.backends);
  // A name of another namespace is no error of the object's form: it has no effect, and its status says so.
  if (root === undefined && !spec.service.includes('.')) throw new Error('spec.service: it is no name');
}

/** Ports that are not the object's, each with what has them. */
function claimsOf(
  object: Split,
  root: string,
  service: ServiceObject,
  lookup: SplitLookup,
): ReadonlyMap<number, string> {
  const namespace = namespaceOf(object);
  const claimed = new Map(portsOfRoutes(service, lookup.routes(namespace, root)));
  // Requests that no object with matches takes are those of the oldest object without matches.
  const oldest = oldestOf(lookup.splits(namespace, root));
  const isLater = !hasMatches(object) && oldest && oldest.metadata.name !== object.metadata.name;
  for (const one of tcpPorts(service)) {
    const { port } = one;
    if (claimed.has(port)) continue;
    const virtualService = lookup.virtualService(service, one);
    if (virtualService !== undefined) claimed.set(port, `VirtualService ${namespace}/${virtualService}`);
    else if (isLater) claimed.set(port, `the older TrafficSplit ${namespace}/${oldest.metadata.name}`);
  }
  return claimed;
}

/** What requests have to meet. Undefined: nothing, they are all meant. */
interface Matched {
  readonly matches: readonly RouteMatch[];
  /** Why requests that may be meant cannot be told from others. */
  readonly closed?: string;
}

function matchesOf(
  { matches = [] }: TrafficSplitSpec,
  namespace: string,
  lookup: SplitLookup,
  problems: string[],
): Matched | undefined {
  if (matches.length === 0) return undefined;
  const found: RouteMatch[] = [];
  let closed: string | undefined;
  for (const [index, { name }] of matches.entries()) {
    const group = lookup.group(namespace, name);
    const field = `matches[${index}]: HTTPRouteGroup ${namespace}/${name}`;
    if (!group) {
      problems.push(`${field} does not exist, so it matches no request`);
      continue;
    }
    try {
      if (group.invalid !== undefined) throw new Error(group.invalid);
      for (const one of matchesOfGroup(group)) found.push(...routeMatchesOf(one, `matches ${one.name}`));
    } catch (error) {
      closed ??= `${field} cannot be read: ${errorText(error)}`;
      problems.push(`${closed}; requests that it may match are answered with 500`);
    }
  }
  return { matches: found, ...(closed === undefined ? {} : { closed }) };
}

/** Without a declared protocol it is found out per connection, so that the port has a route of each kind. */
function kindsOf(port: Port): readonly ('http' | 'tcp')[] {
  const protocol = appProtocol(port);
  if (protocol === 'unknown') return ['http', 'tcp'];
  return protocol === 'tcp' || protocol === 'tls' ? ['tcp'] : ['http'];
}

function routesOf(
  object: Split,
  service: ServiceObject,
  port: Port,
  matched: Matched | undefined,
  lookup: SplitLookup,
  problems: string[],
): Route[] {
  if (!object.spec) return [];
  const backends = backendsOf(object.spec, namespaceOf(object), port.port, lookup, problems);
  return kindsOf(port).flatMap((kind) => {
    const route = (rules: readonly RouteRule[]): Route => routeOf(object, service, port, kind, rules);
    if (!matched) return [route([{ matches: [], filters: [], backends }])];
    // Connections that are not HTTP meet no match.
    if (kind === 'tcp') return [];
    if (matched.closed !== undefined) return [route([closedRule(matched.closed)])];
    if (matched.matches.length === 0) return [];
    return [
      route([{ matches: matched.matches, filters: [], backends }, ...rest(object, service, port, lookup)]),
    ];
  });
}

/** Other requests go to the root Service, unless an object without matches splits them. */
function rest(object: Split, service: ServiceObject, { port }: Port, lookup: SplitLookup): RouteRule[] {
  const others = lookup.splits(namespaceOf(object), service.metadata.name);
  return oldestOf(others) ? [] : [{ matches: [], filters: [], backends: [toService(service, port, 1)] }];
}

const toService = (service: ServiceObject, port: number, weight: number): RouteBackend => ({
  target: { kind: 'service', service: serviceKeyOf(service), port },
  weight,
  filters: [],
});

/** Backends that have the port. If none has it, requests get an error. */
function backendsOf(
  { backends }: TrafficSplitSpec,
  namespace: string,
  port: number,
  lookup: SplitLookup,
  problems: string[],
): RouteBackend[] {
  const weights = weightsOf(backends);
  const found = backends.flatMap(({ service: given }, index): RouteBackend[] => {
    const name = serviceName(given, namespace);
    const field = `backends[${index}]`;
    const service = name === undefined ? undefined : lookup.service(namespace, name);
    const weight = weights[index] ?? 0;
    const why =
      name === undefined
        ? `${given} is not a Service of namespace ${namespace}`
        : !service || isExternal(service)
          ? `there is no Service ${namespace}/${name}`
          : tcpPorts(service).some((one) => one.port === port)
            ? undefined
            : `Service ${namespace}/${name} has no TCP port ${port}`;
    if (service && why === undefined) return [toService(service, port, weight)];
    // A backend with weight 0 may be created later (the specification's workflow).
    if (weight > 0) problems.push(`${field}: ${why ?? ''}, so it gets nothing`);
    return [];
  });
  if (found.some(({ weight }) => weight > 0)) return found;
  const reason = 'no backend of the TrafficSplit has the port and a weight above 0';
  problems.push(`port ${port}: ${reason}; requests are refused`);
  return [{ target: { kind: 'invalid', reason }, weight: 1, filters: [] }];
}

const closedRule = (reason: string): RouteRule => ({
  matches: [],
  filters: [],
  backends: [{ target: { kind: 'invalid', reason }, weight: 1, filters: [] }],
});
const closedRoutes = (object: Split, service: ServiceObject, port: Port, reason: string): Route[] =>
  kindsOf(port).map((kind) => routeOf(object, service, port, kind, [closedRule(reason)]));

function routeOf(
  object: Split,
  service: ServiceObject,
  { port }: Port,
  kind: 'http' | 'tcp',
  rules: readonly RouteRule[],
): Route {
  const namespace = namespaceOf(object);
  // No object's name has a colon, so no other route has this name.
  const name = `TrafficSplit:${object.metadata.name}:${port}`;
  return {
    key: `${kind === 'http' ? 'HTTPRoute' : 'TCPRoute'}/${namespace}/${name}` as RouteKey,
    kind,
    namespace,
    name,
    createdMs: createdMs(object),
    parents: [{ service: serviceKeyOf(service), port }],
    rules,
  };
}
