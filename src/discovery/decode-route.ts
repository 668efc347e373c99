/** Routes as they come over discovery. A rule that is not understood answers 500 to what it may be for; the others stay. */
import { errorText, type Decoded } from '../base/errors.js';
import type {
  BackendTarget,
  PathChange,
  PathMatch,
  Route,
  RouteFilter,
  RouteIdleTimeouts,
  RouteKey,
  RouteMatch,
  RouteRule,
  SessionPersistence,
  ValueMatch,
} from '../model/route.js';
import type { ServiceKey } from '../model/workload.js';
import * as pbWeft from './gen/weft.js';
import { strict, unknownFields, type ReadResult, type Shape } from './reading.js';

function need(value: string, field: string): string {
  if (value === '') throw new Error(`${field} is empty`);
  return value;
}

/** A kind of a later version is never passed over: the route would do something else than it says. */
function oneOf<T extends string>(kinds: readonly T[], kind: string, field: string): T {
  const found = kinds.find((one) => one === kind);
  if (found === undefined) throw new Error(`${field} of unknown kind ${JSON.stringify(kind.slice(0, 64))}`);
  return found;
}
const routeKinds = { http: 'HTTPRoute', grpc: 'GRPCRoute', tls: 'TLSRoute', tcp: 'TCPRoute' } as const;
const pathKinds: readonly PathMatch['kind'][] = ['exact', 'prefix', 'regex', 'suffix'];
const valueKinds: readonly ValueMatch['kind'][] = ['exact', 'regex'];
const changeKinds: readonly PathChange['kind'][] = ['full', 'prefix'];
const sessionKinds: readonly SessionPersistence['kind'][] = ['cookie', 'header'];

function portNumber(value: number): number {
  if (value < 1 || value > 65535) throw new Error(`port ${value} is out of range`);
  return value;
}

const valueMatch = ({ kind, name, value }: pbWeft.ValueMatch): ValueMatch => ({
  kind: oneOf(valueKinds, kind, 'value match'),
  name: need(name, 'name of a value match'),
  value,
});

function target(message: pbWeft.BackendTarget | undefined): BackendTarget {
  if (!message) throw new Error('backend without target');
  if (message.invalid !== '') return { kind: 'invalid', reason: message.invalid };
  return {
    kind: 'service',
    service: need(message.service, 'service of a backend') as ServiceKey,
    port: portNumber(message.port),
  };
}

const change = (message: pbWeft.PathChange | undefined): { path?: PathChange } =>
  message ? { path: { kind: oneOf(changeKinds, message.kind, 'path change'), value: message.value } } : {};

function filter({ filter: message }: pbWeft.RouteFilter): RouteFilter {
  switch (message?.$case) {
    case undefined:
      throw new Error('filter of unknown kind');
    case 'requestHeaders':
      return { kind: 'request-headers', ...message.value };
    case 'responseHeaders':
      return { kind: 'response-headers', ...message.value };
    case 'redirect': {
      const { scheme, hostname, port: to, statusCode } = message.value;
      if (statusCode < 300 || statusCode > 399) throw new Error(`redirect with status ${statusCode}`);
      return {
        kind: 'redirect',
        ...(scheme === '' ? {} : { scheme }),
        ...(hostname === '' ? {} : { hostname }),
        ...(to === 0 ? {} : { port: portNumber(to) }),
        ...change(message.value.path),
        statusCode,
      };
    }
    case 'rewrite': {
      const { hostname } = message.value;
      return { kind: 'rewrite', ...(hostname === '' ? {} : { hostname }), ...change(message.value.path) };
    }
    case 'mirror': {
      const { backend, numerator, denominator } = message.value;
      if (denominator === 0) throw new Error('mirror of a fraction without denominator');
      return { kind: 'mirror', backend: target(backend), numerator, denominator };
    }
    case 'cors':
      return { kind: 'cors', ...message.value };
  }
}

function session(message: pbWeft.SessionPersistence): SessionPersistence {
  const { absoluteTimeoutMs, idleTimeoutMs, permanent } = message;
  return {
    kind: oneOf(sessionKinds, message.kind, 'session persistence'),
    name: need(message.name, 'name of a session'),
    ...(absoluteTimeoutMs === 0 ? {} : { absoluteTimeoutMs }),
    ...(idleTimeoutMs === 0 ? {} : { idleTimeoutMs }),
    permanent,
  };
}

const idle = ({ bodyIdleMs, streamIdleMs }: pbWeft.IdleTimeouts): RouteIdleTimeouts => ({
  ...(bodyIdleMs === undefined ? {} : { bodyIdleMs }),
  ...(streamIdleMs === undefined ? {} : { streamIdleMs }),
});

function rule(message: pbWeft.RouteRule): RouteRule {
  const { name, requestTimeoutMs, backendRequestTimeoutMs, idleTimeouts, retry, sessionPersistence } =
    message;
  return {
    ...(name === '' ? {} : { name }),
    matches: message.matches.map(({ pathKind, path: value, method, headers, query }) => ({
      ...(pathKind === '' ? {} : { path: { kind: oneOf(pathKinds, pathKind, 'path match'), value } }),
      ...(method === '' ? {} : { method }),
      headers: headers.map(valueMatch),
      query: query.map(valueMatch),
    })),
    filters: message.filters.map(filter),
    backends: message.backends.map((one) => ({
      target: target(one.target),
      weight: one.weight,
      filters: one.filters.map(filter),
    })),
    ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }),
    ...(backendRequestTimeoutMs === undefined ? {} : { backendRequestTimeoutMs }),
    ...(idleTimeouts ? { idleTimeouts: idle(idleTimeouts) } : {}),
    ...(retry
      ? {
          retry: {
            codes: retry.codes,
            ...(retry.attempts === undefined ? {} : { attempts: retry.attempts }),
            ...(retry.backoffMs === undefined ? {} : { backoffMs: retry.backoffMs }),
          },
        }
      : {}),
    ...(sessionPersistence ? { sessionPersistence: session(sessionPersistence) } : {}),
  };
}

const fields = (count: number): Record<number, true> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [i + 1, true as const]));
const of = (count: number, nested: Record<number, () => Shape> = {}): (() => Shape) => {
  const shape = { ...fields(count), ...nested };
  return () => shape;
};
const pair = of(2);
const headerFilter = of(3, { 1: pair, 2: pair });
const filterShape = of(6, {
  1: headerFilter,
  2: headerFilter,
  3: of(5, { 4: pair }),
  4: of(2, { 2: pair }),
  5: of(3, { 1: of(3) }),
  6: of(6),
});
const ruleShape = of(8, {
  2: of(5, { 4: of(3), 5: of(3) }),
  3: filterShape,
  4: of(3, { 1: of(3), 3: filterShape }),
  7: of(3),
  8: of(5),
  2000: pair,
});
/** By field number, as in proto/weft.proto. */
const routeShape = of(6, { 5: pair, 6: ruleShape })();

function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}

/** What of a match is understood: it holds for as much or more. */
const knownOf = ({ pathKind, path: value, method, headers, query }: pbWeft.RouteMatch): RouteMatch => {
  const kind = pathKinds.find((one) => one === pathKind);
  const readable = (list: readonly pbWeft.ValueMatch[]): ValueMatch[] =>
    list.flatMap((one) => attempt(() => valueMatch(one)) ?? []);
  return {
    ...(kind === undefined ? {} : { path: { kind, value } }),
    ...(method === '' ? {} : { method }),
    headers: readable(headers),
    query: readable(query),
  };
};

/** Answers 500 to whatever the rule may be for. */
function closedRule(
  { name, matches }: Pick<pbWeft.RouteRule, 'name' | 'matches'>,
  reason: string,
): RouteRule {
  return {
    ...(name === '' ? {} : { name }),
    matches: matches.map(knownOf),
    filters: [],
    backends: [{ target: { kind: 'invalid', reason: `not understood: ${reason}` }, weight: 1, filters: [] }],
  };
}

/**
 * A route, closed where it is not understood: a rule answers 500 to what its known conditions hold for; something of the route itself
 * closes all its rules; a kind of route that is not known refuses the connections to its parents' ports that no other route is for.
 * @param name of the resource, `<Kind>/<namespace>/<name>`
 */
export function readRoute(name: string, bytes: Uint8Array): ReadResult<Route> {
  let message: pbWeft.Route;
  let unknown: readonly string[];
  try {
    message = pbWeft.Route.decode(bytes);
    unknown = unknownFields(bytes, routeShape);
  } catch (error) {
    // Whose route it is, nobody can tell.
    return { value: undefined, problems: [errorText(error)] };
  }
  const problems = unknown.map((path) => `field ${path} is not known`);
  const problem = (error: unknown): string => {
    const text = errorText(error);
    if (!problems.includes(text)) problems.push(text);
    return text;
  };
  const [, namedNamespace = '', namedName = ''] = name.split('/');
  let whole: string | undefined = unknown.some((path) => !path.startsWith('6.')) ? problems[0] : undefined;
  const kind = attempt(() =>
    oneOf(Object.keys(routeKinds) as (keyof typeof routeKinds)[], message.kind, 'route'),
  );
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
    if (whole !== undefined) return closedRule(one, whole);
    const inside = unknown.find((path) => path.startsWith(`6.${i}/`));
    if (inside !== undefined) return closedRule(one, `field ${inside}`);
    try {
      return rule(one);
    } catch (error) {
      return closedRule(one, problem(error));
    }
  });
  const value: Route = {
    key: (kind ? `${routeKinds[kind]}/${namespace}/${own}` : name || `?/${namespace}/${own}`) as RouteKey,
    kind: kind ?? 'tcp',
    namespace,
    name: own,
    createdMs: message.createdMs,
    parents,
    // What a route of another kind has for rules is not known either.
    rules: kind ? rules : [closedRule({ name: '', matches: [] }, whole ?? 'its kind')],
  };
  return { value, problems };
}

/** A route that is understood as a whole. */
export function decodeRoute(bytes: Uint8Array): Decoded<Route> {
  return strict(readRoute('', bytes));
}
