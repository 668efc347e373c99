/** Routes of the Gateway API, with the fields that Weft reads. */
import type { Condition, Meta } from './metadata.js';

export interface ParentRef {
  readonly group?: string;
  readonly kind?: string;
  readonly namespace?: string;
  readonly name: string;
  readonly sectionName?: string;
  readonly port?: number;
}
export interface BackendRef {
  readonly group?: string;
  readonly kind?: string;
  readonly namespace?: string;
  readonly name: string;
  readonly port?: number;
}
export interface RouteBackendRef extends BackendRef {
  readonly weight?: number;
  readonly filters?: readonly RouteFilterObject[];
}
export interface PathModifier {
  readonly type: 'ReplaceFullPath' | 'ReplacePrefixMatch';
  readonly replaceFullPath?: string;
  readonly replacePrefixMatch?: string;
}
interface HeaderModifier {
  readonly set?: readonly { readonly name: string; readonly value: string }[];
  readonly add?: readonly { readonly name: string; readonly value: string }[];
  readonly remove?: readonly string[];
}
export interface RouteFilterObject {
  readonly type: string;
  readonly requestHeaderModifier?: HeaderModifier;
  readonly responseHeaderModifier?: HeaderModifier;
  readonly requestRedirect?: {
    readonly scheme?: string;
    readonly hostname?: string;
    readonly port?: number;
    readonly path?: PathModifier;
    readonly statusCode?: number;
  };
  readonly urlRewrite?: { readonly hostname?: string; readonly path?: PathModifier };
  readonly requestMirror?: {
    readonly backendRef: BackendRef;
    readonly percent?: number;
    readonly fraction?: { readonly numerator: number; readonly denominator?: number };
  };
  readonly cors?: {
    readonly allowOrigins?: readonly string[];
    readonly allowMethods?: readonly string[];
    readonly allowHeaders?: readonly string[];
    readonly exposeHeaders?: readonly string[];
    readonly allowCredentials?: boolean;
    readonly maxAge?: number;
  };
  readonly externalAuth?: {
    readonly protocol: 'HTTP' | 'GRPC';
    readonly backendRef: BackendRef;
    readonly grpc?: { readonly allowedHeaders?: readonly string[] };
    readonly http?: {
      readonly path?: string;
      readonly allowedHeaders?: readonly string[];
      readonly allowedResponseHeaders?: readonly string[];
    };
    readonly forwardBody?: { readonly maxSize?: number };
  };
  readonly extensionRef?: { readonly group: string; readonly kind: string; readonly name: string };
}
export interface NamedMatch {
  readonly type?: 'Exact' | 'RegularExpression';
  readonly name: string;
  readonly value: string;
}
/**
 * A match of a closed rule of which a condition cannot be read, perhaps one of the path (dialects/gateway/closed-rules.ts). No object has this field
 * as written.
 */
interface ReadMatch {
  readonly unreadable?: 'path' | 'other';
}
export interface HttpRouteMatch extends ReadMatch {
  readonly path?: {
    readonly type?: 'Exact' | 'PathPrefix' | 'RegularExpression';
    readonly value?: string;
  };
  readonly headers?: readonly NamedMatch[];
  readonly queryParams?: readonly NamedMatch[];
  readonly method?: string;
}
export interface GrpcRouteMatch extends ReadMatch {
  readonly method?: {
    readonly type?: 'Exact' | 'RegularExpression';
    readonly service?: string;
    readonly method?: string;
  };
  readonly headers?: readonly NamedMatch[];
}
export interface SessionPersistenceObject {
  /** `sessionName`, `idleTimeout` and `cookieConfig` are the fields of Gateway API versions before v1.6. */
  readonly sessionName?: string;
  readonly type?: 'Cookie' | 'Header';
  readonly absoluteTimeout?: string;
  readonly idleTimeout?: string;
  readonly cookie?: { readonly name?: string; readonly lifetimeType?: 'Permanent' | 'Session' };
  readonly cookieConfig?: { readonly lifetimeType?: 'Permanent' | 'Session' };
  readonly header?: { readonly name?: string };
}
/** The closed form of a rule that cannot be read (dialects/gateway/closed-rules.ts). */
export interface ClosedRule {
  readonly name?: string;
  /** Why the rule cannot be read. No rule has this field as written. */
  readonly invalid: string;
  readonly matches: readonly object[];
}
interface PlainRouteRule {
  readonly invalid?: string;
  readonly name?: string;
  readonly backendRefs?: readonly RouteBackendRef[];
}
export interface GrpcRouteRule extends PlainRouteRule {
  readonly matches?: readonly GrpcRouteMatch[];
  readonly filters?: readonly RouteFilterObject[];
  readonly sessionPersistence?: SessionPersistenceObject;
}
export interface HttpRouteRule extends PlainRouteRule {
  readonly matches?: readonly HttpRouteMatch[];
  readonly filters?: readonly RouteFilterObject[];
  readonly timeouts?: { readonly request?: string; readonly backendRequest?: string };
  readonly retry?: {
    readonly codes?: readonly number[];
    readonly attempts?: number;
    readonly backoff?: string;
  };
  readonly sessionPersistence?: SessionPersistenceObject;
}
/** The status that one controller reports for a route at one parent. */
export interface ParentStatus {
  readonly parentRef: ParentRef;
  readonly controllerName: string;
  readonly conditions?: readonly Condition[];
}
interface RouteOf<Kind extends string, Rule> {
  /** The version in which the route was read: older clusters serve some of these kinds in older versions. */
  readonly apiVersion?: string;
  readonly kind: Kind;
  readonly metadata: Meta;
  /** Set on the closed form of an unreadable route: why it cannot be read (compile/closed.ts). */
  readonly invalid?: string;
  readonly spec: { readonly parentRefs?: readonly ParentRef[]; readonly rules?: readonly Rule[] };
  readonly status?: { readonly parents?: readonly ParentStatus[] };
}
export type HttpRouteObject = RouteOf<'HTTPRoute', HttpRouteRule>;
export type GrpcRouteObject = RouteOf<'GRPCRoute', GrpcRouteRule>;
export type TlsRouteObject = RouteOf<'TLSRoute', PlainRouteRule>;
export type TcpRouteObject = RouteOf<'TCPRoute', PlainRouteRule>;
export type RouteObject = HttpRouteObject | GrpcRouteObject | TlsRouteObject | TcpRouteObject;
