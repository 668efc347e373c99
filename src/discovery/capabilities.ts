/**
 * The features of routes and of Services' settings that a version of the waypoint can apply. A feature is a field of a message in weft.proto,
 * or a value of a field with a fixed set of values. A waypoint states its features when it subscribes; the control plane closes for it the
 * rules that need others. Adding a field to weft.proto adds the feature: there is no list to extend.
 */
import type { Route, RouteRule } from '../model/route.js';
import { encodeRoute, readRoute, routeValues } from './codec/route.js';
import { unknownFields, type Shape } from './codec/unknown-fields.js';
import { routeShape, servicePolicyShape } from './gen/shapes.js';

/** Names in the metadata of the xDS Node. */
export const versionKey = 'WEFT_VERSION';
export const featuresKey = 'WEFT_FEATURES';

/** The features of version 0.1.0, whose waypoints state none. Never changed: every version has them. */
const first: Readonly<Record<string, string>> = {
  Route: 'kind namespace name created_ms parents rules kind=http kind=grpc kind=tls kind=tcp',
  RouteParent: 'service port',
  RouteRule:
    'name matches filters backends request_timeout_ms backend_request_timeout_ms retry session_persistence idle_timeouts',
  IdleTimeouts: 'body_idle_ms stream_idle_ms',
  RouteMatch:
    'path_kind path method headers query path_kind=exact path_kind=prefix path_kind=regex path_kind=suffix',
  ValueMatch: 'kind name value kind=exact kind=regex',
  HeaderPair: 'name value',
  PathChange: 'kind value kind=full kind=prefix',
  BackendTarget: 'service port invalid',
  RouteFilter: 'request_headers response_headers redirect rewrite mirror cors',
  HeaderFilter: 'set add remove',
  RedirectFilter: 'scheme hostname port path status_code',
  RewriteFilter: 'hostname path',
  MirrorFilter: 'backend numerator denominator',
  CorsFilter: 'allow_origins allow_methods allow_headers expose_headers allow_credentials max_age_s',
  RouteBackend: 'target weight filters',
  RouteRetry: 'codes attempts backoff_ms',
  SessionPersistence: 'kind name absolute_timeout_ms idle_timeout_ms permanent kind=cookie kind=header',
};
export const firstFeatures: ReadonlySet<string> = new Set(
  Object.entries(first).flatMap(([message, names]) => names.split(' ').map((name) => `${message}.${name}`)),
);

function* fieldsOf(shape: Shape, seen = new Set<Shape>()): Generator<string> {
  if (seen.has(shape)) return;
  seen.add(shape);
  for (const [name, of] of Object.values(shape.fields)) {
    yield `${shape.name}.${name}`;
    if (typeof of === 'function') yield* fieldsOf(of(), seen);
  }
}

/** The features of this version. */
export const features: ReadonlySet<string> = new Set([
  ...[routeShape, servicePolicyShape].flatMap((shape) => [...fieldsOf(shape)]),
  ...Object.entries(routeValues).flatMap(([field, values]) => values.map((value) => `${field}=${value}`)),
]);

/** What a waypoint of this version says of itself. @param version the program's */
export const capabilitiesOf = (version: string): Readonly<Record<string, unknown>> => ({
  [versionKey]: version,
  [featuresKey]: [...features].filter((feature) => !firstFeatures.has(feature)),
});

export interface Capabilities {
  /** `0.1.0` if the waypoint states none. */
  readonly version: string;
  /** Features of this version that the waypoint does not have, sorted. */
  readonly lacks: readonly string[];
}

const versionCharsMax = 64;

/** Reads what a waypoint states. Any content is possible. Features that this version does not know are left out, so the result is bounded. */
export function readCapabilities(metadata: unknown): Capabilities {
  const fields = (metadata ?? {}) as Readonly<Record<string, unknown>>;
  const [version, listed] = [fields[versionKey], fields[featuresKey]];
  const stated = new Set<unknown>(Array.isArray(listed) ? listed : []);
  return {
    version: typeof version === 'string' && version !== '' ? version.slice(0, versionCharsMax) : '0.1.0',
    lacks: [...features].filter((feature) => !firstFeatures.has(feature) && !stated.has(feature)).sort(),
  };
}

const without = (lacks: readonly string[]): ReadonlySet<string> =>
  new Set([...features].filter((feature) => !lacks.includes(feature)));

/** The features of an encoded route, beyond those that every waypoint has. */
export const featuresOfRoute = (bytes: Uint8Array): readonly string[] => [
  ...new Set(unknownFields(bytes, routeShape, firstFeatures).map(({ feature }) => feature)),
];

const unreadableFlag = 'RouteMatch.unreadable';
const isUnreadable = ({ matches }: RouteRule): boolean =>
  matches.some(({ unreadable }) => unreadable === true);

/**
 * An encoded route for a waypoint that lacks features: the rules that use them are closed. A waypoint that does not know the mark of a match
 * that cannot be read would prefer other rules of the route for its requests, so all rules are closed then.
 */
export function routeWithout(name: string, bytes: Uint8Array, lacks: readonly string[]): Uint8Array {
  const { value: route } = readRoute(name, bytes, without(lacks));
  if (!route) return bytes;
  if (!lacks.includes(unreadableFlag) || !route.rules.some(isUnreadable)) return encodeRoute(route);
  const closed = closedBackends(`not understood: ${unreadableFlag}`);
  const rules = route.rules.map(({ name: own, matches, backends }) => ({
    ...(own === undefined ? {} : { name: own }),
    matches: matches.map(({ unreadable: _, ...match }) => match),
    filters: [],
    backends: backends.some(({ target }) => target.kind === 'invalid') ? backends : closed,
  }));
  return encodeRoute({ ...route, rules });
}

const closedBackends = (reason: string): RouteRule['backends'] => [
  { target: { kind: 'invalid', reason }, weight: 1, filters: [] },
];

/** Rules of a route, by index, that a waypoint cannot apply, with the first feature that it lacks. `undefined` as index: the whole route. */
export function unsupportedRules(
  route: Route,
  lacks: readonly string[],
): ReadonlyMap<number | undefined, string> {
  const found = new Map<number | undefined, string>();
  if (lacks.length === 0) return found;
  const bytes = encodeRoute(route);
  if (lacks.includes(unreadableFlag) && readRoute('', bytes, without(lacks)).value?.rules.some(isUnreadable))
    found.set(undefined, unreadableFlag);
  for (const { path, feature } of unknownFields(bytes, routeShape, without(lacks))) {
    const rule = /^6\.(\d+)\//.exec(path)?.[1];
    const index = rule === undefined ? undefined : Number(rule);
    if (!found.has(index)) found.set(index, feature);
  }
  return found;
}
