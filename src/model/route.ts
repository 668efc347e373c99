/**
 * What a waypoint knows of routing: Gateway API routes attached to Services, compiled by the control plane. Plain,
 * structured-cloneable data; src/waypoint/routes makes functions of it.
 */
import type { Brand } from '../base/brand.js';
import type * as pb from '../discovery/gen/weft.js';
import type { ServiceKey } from './workload.js';

/** `<Kind>/<namespace>/<name>` */
export type RouteKey = Brand<string, 'RouteKey'>;

export type PathMatch =
  | { readonly kind: 'exact'; readonly value: string }
  /** Whole segments: `/a` holds for `/a` and `/a/b`, not for `/ab`. Without a trailing slash, `/` apart. */
  | { readonly kind: 'prefix'; readonly value: string }
  /** RE2-like syntax without backreferences, held against the whole path. */
  | { readonly kind: 'regex'; readonly value: string }
  /** A gRPC method of whatever service: `/Method`. */
  | { readonly kind: 'suffix'; readonly value: string };

export interface ValueMatch {
  readonly kind: 'exact' | 'regex';
  /** Header names in lower case; query parameters as they are. */
  readonly name: string;
  readonly value: string;
}

/** All of it has to hold. */
export interface RouteMatch {
  readonly path?: PathMatch;
  readonly method?: string;
  readonly headers: readonly ValueMatch[];
  readonly query: readonly ValueMatch[];
}

/** Names are in lower case. */
export type HeaderPair = pb.HeaderPair;

export type PathChange =
  | { readonly kind: 'full'; readonly value: string }
  /** In place of the prefix that the rule's one match has. */
  | { readonly kind: 'prefix'; readonly value: string };

export type BackendTarget =
  | { readonly kind: 'service'; readonly service: ServiceKey; readonly port: number }
  /** Answered by 500, as the specification says; `reason` for logs. */
  | { readonly kind: 'invalid'; readonly reason: string };

export type RouteFilter =
  | ({ readonly kind: 'request-headers' | 'response-headers' } & pb.HeaderFilter)
  | {
      readonly kind: 'redirect';
      readonly scheme?: string;
      readonly hostname?: string;
      readonly port?: number;
      readonly path?: PathChange;
      readonly statusCode: number;
    }
  | { readonly kind: 'rewrite'; readonly hostname?: string; readonly path?: PathChange }
  | {
      readonly kind: 'mirror';
      readonly backend: BackendTarget;
      readonly numerator: number;
      readonly denominator: number;
    }
  | ({ readonly kind: 'cors' } & pb.CorsFilter);

export interface RouteBackend {
  readonly target: BackendTarget;
  readonly weight: number;
  readonly filters: readonly RouteFilter[];
}

export type RouteRetry = pb.RouteRetry;

export interface SessionPersistence {
  readonly kind: 'cookie' | 'header';
  readonly name: string;
  /** Session cookies end with the client; permanent ones with the time. */
  readonly absoluteTimeoutMs?: number;
  readonly idleTimeoutMs?: number;
  readonly permanent: boolean;
}

export type RouteIdleTimeouts = pb.IdleTimeouts;

export interface RouteRule extends Pick<pb.RouteRule, 'requestTimeoutMs' | 'backendRequestTimeoutMs'> {
  readonly name?: string;
  /** One has to hold; none: all requests. */
  readonly matches: readonly RouteMatch[];
  readonly filters: readonly RouteFilter[];
  readonly backends: readonly RouteBackend[];
  /** In place of the waypoint's own; 0: none. */
  readonly idleTimeouts?: RouteIdleTimeouts;
  readonly retry?: RouteRetry;
  readonly sessionPersistence?: SessionPersistence;
}

export interface Route {
  readonly key: RouteKey;
  readonly kind: 'http' | 'grpc' | 'tls' | 'tcp';
  readonly namespace: string;
  readonly name: string;
  readonly createdMs: number;
  /**
   * Services whose requests it routes, by port where one is named. A Service of another namespace than the route's: the
   * requests of clients of the route's namespace alone (GEP-1294, consumer routes).
   */
  readonly parents: readonly { readonly service: ServiceKey; readonly port?: number }[];
  readonly rules: readonly RouteRule[];
}
