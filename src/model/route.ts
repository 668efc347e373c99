/**
 * What a waypoint knows of routing: Gateway API routes attached to Services, compiled by the control plane. Plain,
 * structured-cloneable data; src/waypoint/routes makes functions of it.
 */
import type { Brand } from '../base/brand.js';
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

export interface HeaderPair {
  /** In lower case. */
  readonly name: string;
  readonly value: string;
}

export type PathChange =
  | { readonly kind: 'full'; readonly value: string }
  /** In place of the prefix that the rule's one match has. */
  | { readonly kind: 'prefix'; readonly value: string };

export type BackendTarget =
  | { readonly kind: 'service'; readonly service: ServiceKey; readonly port: number }
  /** Answered by 500, as the specification says; `reason` for logs. */
  | { readonly kind: 'invalid'; readonly reason: string };

export type RouteFilter =
  | {
      readonly kind: 'request-headers' | 'response-headers';
      readonly set: readonly HeaderPair[];
      readonly add: readonly HeaderPair[];
      readonly remove: readonly string[];
    }
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
  | {
      readonly kind: 'cors';
      /** `*`, or scheme://host[:port], whose host may begin with `*.`. */
      readonly allowOrigins: readonly string[];
      readonly allowMethods: readonly string[];
      readonly allowHeaders: readonly string[];
      readonly exposeHeaders: readonly string[];
      readonly allowCredentials: boolean;
      readonly maxAgeS: number;
    };

export interface RouteBackend {
  readonly target: BackendTarget;
  readonly weight: number;
  readonly filters: readonly RouteFilter[];
}

export interface RouteRetry {
  readonly codes: readonly number[];
  /** Further ones after the first. */
  readonly attempts?: number;
  readonly backoffMs?: number;
}

export interface SessionPersistence {
  readonly kind: 'cookie' | 'header';
  readonly name: string;
  /** Session cookies end with the client; permanent ones with the time. */
  readonly absoluteTimeoutMs?: number;
  readonly idleTimeoutMs?: number;
  readonly permanent: boolean;
}

export interface RouteIdleTimeouts {
  /** Without a byte of the request's body while no response has begun. */
  readonly bodyIdleMs?: number;
  /** Without a byte in either direction. */
  readonly streamIdleMs?: number;
}

export interface RouteRule {
  readonly name?: string;
  /** One has to hold; none: all requests. */
  readonly matches: readonly RouteMatch[];
  readonly filters: readonly RouteFilter[];
  readonly backends: readonly RouteBackend[];
  /** 0: none. */
  readonly requestTimeoutMs?: number;
  readonly backendRequestTimeoutMs?: number;
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
