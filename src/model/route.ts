/**
 * Routes of waypoints: Gateway API routes attached to Services, compiled by the control plane. Plain, structured-cloneable data;
 * src/waypoint/routes compiles it to functions.
 */
import type { Brand } from '../base/brand.js';
import type * as pb from '../discovery/gen/weft.js';
import type { ServiceKey } from './workload.js';

/** `<Kind>/<namespace>/<name>` */
export type RouteKey = Brand<string, 'RouteKey'>;

export type PathMatch =
  | { readonly kind: 'exact'; readonly value: string }
  /** Matches whole segments: `/a` matches `/a` and `/a/b`, not `/ab`. The value has no trailing slash, except for `/`. */
  | { readonly kind: 'prefix'; readonly value: string }
  /** Matches any path that begins with the value: `/a` matches `/ab`, too. */
  | { readonly kind: 'string-prefix'; readonly value: string }
  /** RE2-like syntax without backreferences, matched against the whole path. */
  | { readonly kind: 'regex'; readonly value: string }
  /** A gRPC method of any service: `/Method`. */
  | { readonly kind: 'suffix'; readonly value: string };

export interface ValueMatch {
  /** `present`: any value, and `value` is empty. `prefix` and `present` occur only in ordered routes. */
  readonly kind: 'exact' | 'regex' | 'prefix' | 'present';
  /**
   * Header names in lower case; query parameters as they are. In ordered routes `:method`, `:scheme` and `:authority` are names of headers, and
   * `:destination` is the address that the client of a TCP or TLS connection dialed.
   */
  readonly name: string;
  readonly value: string;
}

/** All conditions must match. */
export interface RouteMatch {
  readonly path?: PathMatch;
  readonly method?: string;
  readonly headers: readonly ValueMatch[];
  readonly query: readonly ValueMatch[];
  /** The conditions below occur only in ordered routes. The path is compared without regard to case. */
  readonly ignorePathCase?: true;
  /** Headers of which none may match. */
  readonly withoutHeaders?: readonly ValueMatch[];
  /** Clients of which the request must be from one. Empty or absent: any client. */
  readonly clients?: readonly pb.ClientMatch[];
  /**
   * A further condition could not be read; the rule is closed. The match precedes others of its path, and without a path all except exact
   * ones: the condition may give it that rank.
   */
  readonly unreadable?: true;
}

/** Names are in lower case. */
export type HeaderPair = pb.HeaderPair;

/** `kind`: `full` replaces the whole path, `prefix` the path prefix of the rule's only match, `string-prefix` likewise without
 * regard to slashes. */
export type PathChange = pb.PathChange;
export const pathChangeKinds: readonly string[] = ['full', 'prefix', 'string-prefix'];

export type BackendTarget =
  | { readonly kind: 'service'; readonly service: ServiceKey; readonly port: number }
  /** Requests get 500, as the Gateway API specifies. `reason` is for logs. */
  | { readonly kind: 'invalid'; readonly reason: string };

/** A filter as the control plane sends it. src/waypoint/filters has a file for each kind. */
export type RouteFilter = NonNullable<pb.RouteFilter['filter']>;

export interface RouteBackend {
  readonly target: BackendTarget;
  readonly weight: number;
  readonly filters: readonly RouteFilter[];
}

export type RouteRetry = pb.RouteRetry;

export interface SessionPersistence {
  readonly kind: 'cookie' | 'header';
  readonly name: string;
  /** A session cookie ends with the client's session, a permanent cookie after this time. */
  readonly absoluteTimeoutMs?: number;
  readonly idleTimeoutMs?: number;
  readonly permanent: boolean;
}

export type RouteIdleTimeouts = pb.IdleTimeouts;

export interface RouteRule extends Pick<pb.RouteRule, 'requestTimeoutMs' | 'backendRequestTimeoutMs'> {
  readonly name?: string;
  /** At least one must match. Empty: the rule matches all requests. */
  readonly matches: readonly RouteMatch[];
  readonly filters: readonly RouteFilter[];
  readonly backends: readonly RouteBackend[];
  /** Override the waypoint's own timeouts; 0: no timeout. */
  readonly idleTimeouts?: RouteIdleTimeouts;
  readonly retry?: RouteRetry;
  /** In place of `retry`. */
  readonly retryPolicy?: pb.RetryPolicy;
  readonly sessionPersistence?: SessionPersistence;
  /** The requests need no decision of a service (ExternalAuthorizationFilter.routes_may_disable). */
  readonly withoutExternalAuthorization?: true;
}

export interface Route {
  readonly key: RouteKey;
  readonly kind: 'http' | 'grpc' | 'tls' | 'tcp';
  readonly namespace: string;
  readonly name: string;
  readonly createdMs: number;
  /**
   * Services whose requests the route handles, only on `port` if that is set. For a Service in another namespace than the route, only
   * requests of clients in the route's namespace (GEP-1294, consumer routes).
   */
  readonly parents: readonly { readonly service: ServiceKey; readonly port?: number }[];
  /** The rules match in the order written (Istio). Absent: the most specific match wins (Gateway API). */
  readonly ordered?: true;
  /** Namespaces whose clients the route is for. Empty or absent: as `parents` says. */
  readonly clientNamespaces?: readonly string[];
  readonly rules: readonly RouteRule[];
}
