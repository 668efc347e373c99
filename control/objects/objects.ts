/** Kubernetes objects as far as Weft reads them. Checked against their schemas before they get here. */
import type { AllowedRoutes } from '../../src/kubernetes/allowed-routes.js';

export type Labels = Readonly<Record<string, string>>;

export interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly generation?: number;
  /** Of kinds whose status others write too: what was read before it is written. */
  readonly resourceVersion?: string;
  /** Of two that claim one thing, and of two routes, the older one comes first. */
  readonly creationTimestamp?: string;
  /** Set once the object is being deleted. */
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
/** Of Weft's own kinds: whether an object is in force. */
export const acceptedType = 'Accepted';
/** Of what only a waypoint carries out: whether one does. */
export { enforcedType } from '../../src/model/condition-types.js';
/** Of a Service: whether the waypoint that its labels name serves it. */
export const waypointBoundType = 'weft.dev/WaypointBound';
export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly observedGeneration?: number;
  readonly lastTransitionTime?: string;
  readonly reason?: string;
  readonly message?: string;
}

/** Of a pod: whether it is held in the mesh; the control plane writes it, by what the node's agent says. */
export const capturedCondition = 'weft.dev/captured';
/** Of a Namespace: whether its first minute in the mesh is over (first-enrollment.ts). */
export { enrolledCondition } from '../../src/model/condition-types.js';

export interface NamespaceObject {
  readonly kind: 'Namespace';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
}
export interface NodeObject {
  readonly kind: 'Node';
  readonly metadata: Meta;
  readonly status?: { readonly addresses?: readonly { readonly type: string; readonly address: string }[] };
}
/** What a kubelet connects to: a probe, or a hook. */
export interface Handler {
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string };
  readonly httpGet?: { readonly port: number | string; readonly host?: string };
  readonly grpc?: { readonly port: number };
}
export interface Container {
  readonly name?: string;
  /** Of an init container: `Always` makes it a sidecar. */
  readonly restartPolicy?: string;
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort: number;
    readonly protocol?: string;
  }[];
  readonly livenessProbe?: Handler;
  readonly readinessProbe?: Handler;
  readonly startupProbe?: Handler;
  readonly lifecycle?: { readonly postStart?: Handler; readonly preStop?: Handler };
}
export interface PodObject {
  readonly kind: 'Pod';
  readonly metadata: Meta;
  readonly spec: {
    readonly nodeName: string;
    readonly serviceAccountName?: string;
    readonly hostNetwork?: boolean;
    readonly containers?: readonly Container[];
    readonly initContainers?: readonly Container[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly Condition[];
  };
}
export interface ServiceObject {
  readonly kind: 'Service';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly type?: string;
    readonly selector?: Readonly<Record<string, string>>;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly ports?: readonly {
      readonly name?: string;
      readonly port: number;
      readonly targetPort?: number | string;
      readonly appProtocol?: string;
      readonly protocol?: string;
    }[];
    readonly internalTrafficPolicy?: string;
    readonly trafficDistribution?: string;
    readonly sessionAffinity?: string;
    readonly publishNotReadyAddresses?: boolean;
  };
}
interface PolicySource {
  readonly identities?: readonly string[];
  readonly notIdentities?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly notNamespaces?: readonly string[];
  readonly serviceAccounts?: readonly string[];
  readonly notServiceAccounts?: readonly string[];
  readonly cidrs?: readonly string[];
  readonly notCidrs?: readonly string[];
}
export interface PolicyTarget {
  readonly ports?: readonly number[];
  readonly notPorts?: readonly number[];
  readonly cidrs?: readonly string[];
  readonly notCidrs?: readonly string[];
  /** These only a waypoint can judge. */
  readonly methods?: readonly string[];
  readonly notMethods?: readonly string[];
  readonly paths?: readonly string[];
  readonly notPaths?: readonly string[];
  readonly hosts?: readonly string[];
  readonly notHosts?: readonly string[];
  readonly headers?: readonly {
    readonly name: string;
    readonly values?: readonly string[];
    readonly notValues?: readonly string[];
  }[];
}
export interface AccessPolicyObject {
  readonly kind: 'AccessPolicy';
  readonly metadata: Meta;
  /** Why it stands for one that cannot be read (closed.ts). */
  readonly invalid?: string;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly action: 'ALLOW' | 'DENY';
    readonly mode?: 'enforce' | 'audit';
    readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> };
    /** Services of its namespace, in place of `selector`: their requests are judged at their waypoint. */
    readonly targetRefs?: readonly { readonly group: string; readonly kind: string; readonly name: string }[];
    readonly rules: readonly {
      readonly from?: readonly PolicySource[];
      readonly to?: readonly PolicyTarget[];
    }[];
  };
}
export interface MeshSettingsObject {
  readonly kind: 'MeshSettings';
  readonly metadata: Meta;
  /** Why it stands for one that cannot be read (closed.ts). */
  readonly invalid?: string;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly mode?: 'permissive' | 'strict';
    readonly outboundUnknown?: 'allow' | 'refuse';
    readonly agentDown?: 'refuse' | 'plaintext';
    readonly cutPreexisting?: boolean;
    readonly sameNode?: 'kernel' | 'encrypted';
    readonly splice?: boolean;
    /** For Services that say nothing themselves. */
    readonly trafficDistribution?: string;
    readonly unsplicedPorts?: readonly number[];
    readonly excludeOutboundPorts?: readonly number[];
    readonly excludeOutboundCidrs?: readonly string[];
    readonly excludeInboundPorts?: readonly number[];
  };
}
interface ExternalPort {
  readonly name?: string;
  readonly port: number;
  readonly targetPort?: number;
  readonly appProtocol?: string;
}
/** Addresses outside of the mesh under a name: known, balanced, logged by it. */
export interface ExternalServiceObject {
  readonly kind: 'ExternalService';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    /** `<name>.<namespace>.external` where absent. */
    readonly host?: string;
    readonly addresses: readonly string[];
    readonly ports: readonly ExternalPort[];
    /** Where connections go; the addresses themselves where absent. */
    readonly endpoints?: readonly { readonly address: string }[];
  };
}
/** What runs on a machine outside of the cluster that has an agent of its own. */
export interface WorkloadObject {
  readonly kind: 'Workload';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    /** As its agent is called (--node). */
    readonly node: string;
    readonly addresses: readonly string[];
    readonly serviceAccount?: string;
    /** Its network namespace on that machine: a name below /run/netns, or a path. */
    readonly netns: string;
    readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
  };
}
/** Endpoints that nobody but their author knows: those of Services without a selector. */
export interface EndpointSliceObject {
  readonly kind: 'EndpointSlice';
  readonly metadata: Meta;
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly ready: boolean;
    readonly nodeName?: string;
  }[];
  readonly ports: readonly { readonly name?: string; readonly port: number }[];
}
export interface GatewayClassObject {
  readonly kind: 'GatewayClass';
  readonly metadata: Meta;
  readonly spec: { readonly controllerName: string };
  readonly status?: { readonly conditions?: readonly Condition[] };
}
/** Of its listeners what its status repeats, and whose Services it admits: a waypoint takes tunnels, whatever they say. */
export interface GatewayObject {
  readonly kind: 'Gateway';
  readonly metadata: Meta;
  readonly spec: {
    readonly gatewayClassName: string;
    /** For what is made for it. */
    readonly infrastructure?: {
      readonly labels?: Readonly<Record<string, string>>;
      readonly annotations?: Readonly<Record<string, string>>;
      readonly parametersRef?: { readonly group: string; readonly kind: string; readonly name: string };
    };
    readonly listeners?: readonly {
      readonly name: string;
      readonly port: number;
      readonly protocol: string;
      readonly allowedRoutes?: AllowedRoutes;
    }[];
  };
  readonly status?: {
    readonly addresses?: readonly { readonly type?: string; readonly value?: string }[];
    readonly conditions?: readonly Condition[];
    readonly listeners?: readonly { readonly name: string; readonly conditions?: readonly Condition[] }[];
  };
}
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
  readonly extensionRef?: { readonly group: string; readonly kind: string; readonly name: string };
}
export interface NamedMatch {
  readonly type?: 'Exact' | 'RegularExpression';
  readonly name: string;
  readonly value: string;
}
export interface HttpRouteMatch {
  readonly path?: {
    readonly type?: 'Exact' | 'PathPrefix' | 'RegularExpression';
    readonly value?: string;
  };
  readonly headers?: readonly NamedMatch[];
  readonly queryParams?: readonly NamedMatch[];
  readonly method?: string;
}
export interface GrpcRouteMatch {
  readonly method?: {
    readonly type?: 'Exact' | 'RegularExpression';
    readonly service?: string;
    readonly method?: string;
  };
  readonly headers?: readonly NamedMatch[];
}
export interface SessionPersistenceObject {
  /** Before v1.6 of the Gateway API, in place of the names below; so are idleTimeout and cookieConfig. */
  readonly sessionName?: string;
  readonly type?: 'Cookie' | 'Header';
  readonly absoluteTimeout?: string;
  readonly idleTimeout?: string;
  readonly cookie?: { readonly name?: string; readonly lifetimeType?: 'Permanent' | 'Session' };
  readonly cookieConfig?: { readonly lifetimeType?: 'Permanent' | 'Session' };
  readonly header?: { readonly name?: string };
}
interface PlainRouteRule {
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
/** What one controller says of a route at one parent. */
export interface ParentStatus {
  readonly parentRef: ParentRef;
  readonly controllerName: string;
  readonly conditions?: readonly Condition[];
}
interface RouteOf<Kind extends string, Rule> {
  /** That it was read in: older clusters have some of these kinds in others. */
  readonly apiVersion?: string;
  readonly kind: Kind;
  readonly metadata: Meta;
  /** Why it stands for one that cannot be read (closed.ts). */
  readonly invalid?: string;
  readonly spec: { readonly parentRefs?: readonly ParentRef[]; readonly rules?: readonly Rule[] };
  readonly status?: { readonly parents?: readonly ParentStatus[] };
}
export type HttpRouteObject = RouteOf<'HTTPRoute', HttpRouteRule>;
export type GrpcRouteObject = RouteOf<'GRPCRoute', GrpcRouteRule>;
export type TlsRouteObject = RouteOf<'TLSRoute', PlainRouteRule>;
export type TcpRouteObject = RouteOf<'TCPRoute', PlainRouteRule>;
export type RouteObject = HttpRouteObject | GrpcRouteObject | TlsRouteObject | TcpRouteObject;
export const routeKinds = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'] as const;
export const isRoute = (object: MeshObject): object is RouteObject =>
  (routeKinds as readonly string[]).includes(object.kind);

export const gatewayGroup = 'gateway.networking.k8s.io';
/** Kinds of a group that a cluster may have or not. */
export const gatewayKinds = ['GatewayClass', 'Gateway', ...routeKinds] as const;

export type MeshObject =
  | NamespaceObject
  | NodeObject
  | PodObject
  | ServiceObject
  | EndpointSliceObject
  | AccessPolicyObject
  | MeshSettingsObject
  | ExternalServiceObject
  | WorkloadObject
  | GatewayClassObject
  | GatewayObject
  | RouteObject;
