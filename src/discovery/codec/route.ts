/**
 * Codec of routes (weft.v1.Route): the control plane encodes, waypoints decode. A rule that cannot be decoded responds 500 to every
 * request that it may match; the other rules stay.
 */
import { errorText, type Decoded } from '../../base/errors.js';
import {
  pathChangeKinds,
  type Route,
  type RouteFilter,
  type RouteKey,
  type RouteMatch,
  type RouteRule,
  type SessionPersistence,
  type ValueMatch,
} from '../../model/route.js';
import { hashKeyKinds, rateLimitKeyKinds, retryConditionKinds } from '../../model/service-policy.js';
import type { ServiceKey } from '../../model/workload.js';
import { routeShape } from '../gen/shapes.js';
import * as pb from '../gen/weft.js';
import { decodeTarget, encodeTarget } from './backend-target.js';
import { need, oneOf, portNumber, present, readable, strict, type ReadResult } from './decoding.js';
import { decodeMatch, decodeValueMatch, encodeMatch, pathKinds, valueKinds } from './route-match.js';
import { unknownFields, unknownText, type UnknownField } from './unknown-fields.js';

const objectKinds = { http: 'HTTPRoute', grpc: 'GRPCRoute', tls: 'TLSRoute', tcp: 'TCPRoute' } as const;
const routeKinds = Object.keys(objectKinds) as readonly Route['kind'][];
const sessionKinds: readonly SessionPersistence['kind'][] = ['cookie', 'header'];

const encodeRule = (rule: RouteRule): pb.RouteRule => ({
  ...rule,
  name: rule.name ?? '',
  matches: rule.matches.map(encodeMatch),
  filters: rule.filters.map((filter) => ({ filter })),
  backends: rule.backends.map((backend) => ({
    ...backend,
    target: encodeTarget(backend.target),
    filters: backend.filters.map((filter) => ({ filter })),
  })),
  idleTimeouts: rule.idleTimeouts,
  retry: rule.retry,
  retryPolicy: rule.retryPolicy,
  sessionPersistence: rule.sessionPersistence && pb.SessionPersistence.fromPartial(rule.sessionPersistence),
  withoutExternalAuthorization: rule.withoutExternalAuthorization === true,
});

export function encodeRoute(route: Route): Uint8Array {
  return pb.Route.encode({
    ...route,
    parents: route.parents.map(({ service, port = 0 }) => ({ service, port })),
    rules: route.rules.map(encodeRule),
    ordered: route.ordered === true,
    clientNamespaces: [...(route.clientNamespaces ?? [])],
  }).finish();
}

/** What a kind of filter needs of its configuration is checked where waypoints compile it (src/waypoint/filters). */
function decodeFilter({ filter }: pb.RouteFilter): RouteFilter {
  if (!filter) throw new Error('filter of unknown kind');
  return filter;
}

const decodeSession = (message: pb.SessionPersistence): SessionPersistence => {
  const { kind, name, absoluteTimeoutMs, idleTimeoutMs, permanent } = message;
  return {
    kind: oneOf(sessionKinds, kind, 'session persistence'),
    name: need(name, 'name of a session'),
    ...present({ absoluteTimeoutMs, idleTimeoutMs }),
    permanent,
  };
};

function decodeRule({ name, matches, filters, backends, ...message }: pb.RouteRule): RouteRule {
  const { idleTimeouts, retry, retryPolicy, sessionPersistence, withoutExternalAuthorization, ...timeouts } =
    message;
  return {
    ...present({ name }),
    matches: matches.map(decodeMatch),
    filters: filters.map(decodeFilter),
    backends: backends.map((backend) => ({
      target: decodeTarget(backend.target),
      weight: backend.weight,
      filters: backend.filters.map(decodeFilter),
    })),
    ...timeouts,
    ...(idleTimeouts && { idleTimeouts }),
    ...(retry && { retry }),
    ...(retryPolicy && { retryPolicy }),
    ...(sessionPersistence && { sessionPersistence: decodeSession(sessionPersistence) }),
    ...(withoutExternalAuthorization ? { withoutExternalAuthorization } : {}),
  };
}

/** Whether the field at this path is unknown. With a slash at the end: any field in the message; with `/*`: a field of the message itself. */
type IsUnknown = (path: string) => boolean;

/** The decodable conditions of a match: it matches at least the requests of the original, and takes precedence where that may have. */
function knownConditions(message: pb.RouteMatch, at: string, isUnknown: IsUnknown): RouteMatch {
  const { pathKind, path: value, method, headers, query } = message;
  const kind = pathKinds.find((one) => one === pathKind && !isUnknown(`${at}1`));
  const known = (list: readonly pb.ValueMatch[], field: number): ValueMatch[] =>
    readable(
      list.filter((_, index) => !isUnknown(`${at}${field}.${index}/`)),
      decodeValueMatch,
    );
  const match = {
    ...(kind === undefined ? {} : { path: { kind, value } }),
    ...(message.ignorePathCase && !isUnknown(`${at}20`) ? { ignorePathCase: true as const } : {}),
    ...present({ method }),
    headers: known(headers, 4),
    query: known(query, 5),
  };
  const isWhole =
    !isUnknown(at) &&
    (kind !== undefined || pathKind === '') &&
    match.headers.length === headers.length &&
    match.query.length === query.length;
  if (isWhole && !message.unreadable) return match;
  // Without an unknown field of its own the match is known to have no path.
  const isEveryPath = pathKind === '' && !message.unreadable && !isUnknown(`${at}*`);
  return { ...match, ...(isEveryPath ? { path: { kind: 'prefix', value: '/' } } : {}), unreadable: true };
}

/** A rule that responds 500 to every request that the original rule may match. `at`: the path of the rule's fields. */
function closedRule(
  { name, matches }: Pick<pb.RouteRule, 'name' | 'matches'>,
  reason: string,
  at: string,
  isUnknown: IsUnknown,
): RouteRule {
  return {
    ...present({ name }),
    matches: matches.map((one, index) => knownConditions(one, `${at}2.${index}/`, isUnknown)),
    filters: [],
    backends: [{ target: { kind: 'invalid', reason: `not understood: ${reason}` }, weight: 1, filters: [] }],
  };
}

/**
 * Reads a route and closes the parts that cannot be decoded. A closed rule responds 500 to requests that match its known conditions. An
 * unknown field of the route itself closes all its rules. A route of an unknown kind refuses those connections to its parents' ports that
 * no other route handles.
 * @param name the resource name, `<Kind>/<namespace>/<name>`
 * @param features the features of an older waypoint, for which the route is closed as that waypoint would do it; undefined: this version's
 */
export function readRoute(
  name: string,
  bytes: Uint8Array,
  features?: ReadonlySet<string>,
): ReadResult<Route> {
  let message: pb.Route;
  let unknown: readonly UnknownField[];
  try {
    message = pb.Route.decode(bytes);
    unknown = unknownFields(bytes, routeShape, features);
  } catch (error) {
    // The parents of the route are unknown, so nothing can be closed.
    return { value: undefined, problems: [errorText(error)] };
  }
  const problems = unknown.map(unknownText);
  const isUnknown: IsUnknown = (at) =>
    unknown.some(({ path }) =>
      at.endsWith('/*')
        ? path.startsWith(at.slice(0, -1)) && !path.slice(at.length - 1).includes('/')
        : at.endsWith('/')
          ? path.startsWith(at)
          : path === at,
    );
  const problem = (error: unknown): string => {
    const text = errorText(error);
    if (!problems.includes(text)) problems.push(text);
    return text;
  };
  const [, namedNamespace = '', namedName = ''] = name.split('/');
  let whole: string | undefined = unknown.some(({ path }) => !path.startsWith('6.'))
    ? problems[0]
    : undefined;
  const kind = routeKinds.find((one) => one === message.kind);
  if (!kind) whole = problem(`route of unknown kind ${JSON.stringify(message.kind.slice(0, 64))}`);
  for (const field of ['namespace', 'name'] as const)
    if (message[field] === '') whole = problem(`${field} is empty`);
  const namespace = message.namespace || namedNamespace;
  const own = message.name || namedName;
  if (namespace === '' || own === '') return { value: undefined, problems };
  const parents = message.parents.flatMap(({ service: parent, port: at }): Route['parents'] => {
    if (parent === '') {
      whole = problem('service of a parent is empty');
      return [];
    }
    try {
      return [{ service: parent as ServiceKey, ...(at === 0 ? {} : { port: portNumber(at) }) }];
    } catch (error) {
      whole = problem(error);
      return [{ service: parent as ServiceKey }];
    }
  });
  const rules = message.rules.map((one, i) => {
    const at = `6.${i}/`;
    if (whole !== undefined) return closedRule(one, whole, at, isUnknown);
    const inside = unknown.find(({ path }) => path.startsWith(at));
    if (inside !== undefined) return closedRule(one, inside.feature, at, isUnknown);
    try {
      return decodeRule(one);
    } catch (error) {
      return closedRule(one, problem(error), at, isUnknown);
    }
  });
  const value: Route = {
    key: (message.ordered && name !== ''
      ? name
      : kind
        ? `${objectKinds[kind]}/${namespace}/${own}`
        : name || `?/${namespace}/${own}`) as RouteKey,
    kind: kind ?? 'tcp',
    namespace,
    name: own,
    createdMs: message.createdMs,
    parents,
    // The rules of a route of an unknown kind have an unknown meaning, too.
    // An older waypoint gets the closed rules without the fields that it does not know.
    ...(message.ordered && !isUnknown('20') ? { ordered: true } : {}),
    ...(message.clientNamespaces.length > 0 && !isUnknown('21')
      ? { clientNamespaces: message.clientNamespaces }
      : {}),
    rules: kind ? rules : [closedRule({ name: '', matches: [] }, whole ?? 'its kind', '', () => false)],
  };
  return { value, problems };
}

/** Values of the fields of `weft.v1.Route`, `weft.v1.ServicePolicy` and their parts that have a fixed set of values. */
export const routeValues: Readonly<Record<string, readonly string[]>> = {
  'Route.kind': routeKinds,
  'RouteMatch.path_kind': pathKinds,
  'ValueMatch.kind': valueKinds,
  'PathChange.kind': pathChangeKinds,
  'SessionPersistence.kind': sessionKinds,
  'RateLimitKey.kind': rateLimitKeyKinds,
  'HashKey.kind': hashKeyKinds,
  'RetryPolicy.condition_kind': retryConditionKinds,
};

/** Decodes a route; any unknown part is an error. */
export function decodeRoute(bytes: Uint8Array): Decoded<Route> {
  return strict(readRoute('', bytes));
}
