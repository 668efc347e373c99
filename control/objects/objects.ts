/** Kubernetes objects, with the fields that Weft reads. They have been validated against their schemas. */
import type { EndpointSliceObject, NamespaceObject, NodeObject, PodObject, ServiceObject } from './core.js';
import type { GatewayClassObject, GatewayObject } from './gateway-api.js';
import type {
  BackendTlsPolicyObject,
  BackendTrafficPolicyObject,
  ConfigMapObject,
} from './backend-policies.js';
import type { IstioObject } from './istio.js';
import type { RouteObject } from './routes.js';
import type { SmiObject } from './smi.js';
import type { AuthenticationPolicyObject } from './authentication-policy.js';
import type { TrafficPolicyObject } from './traffic-policy.js';
import type {
  AccessPolicyObject,
  ExternalServiceObject,
  MeshSettingsObject,
  WorkloadObject,
} from './weft.js';

export * from './authentication-policy.js';
export * from './backend-policies.js';
export * from './core.js';
export * from './gateway-api.js';
export * from './istio.js';
export * from './metadata.js';
export * from './routes.js';
export * from './smi.js';
export * from './traffic-policy.js';
export * from './weft.js';

export const routeKinds = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'] as const;
export const isRoute = (object: MeshObject): object is RouteObject =>
  (routeKinds as readonly string[]).includes(object.kind);

/** Objects whose hosts a waypoint can serve: Services of the cluster, and names of what is outside of it. */
export type ServedObject = ServiceObject | ExternalServiceObject | IstioObject<'ServiceEntry'>;

export type MeshObject =
  | NamespaceObject
  | NodeObject
  | PodObject
  | ServiceObject
  | EndpointSliceObject
  | AccessPolicyObject
  | TrafficPolicyObject
  | AuthenticationPolicyObject
  | BackendTrafficPolicyObject
  | BackendTlsPolicyObject
  | ConfigMapObject
  | MeshSettingsObject
  | ExternalServiceObject
  | WorkloadObject
  | GatewayClassObject
  | GatewayObject
  | RouteObject
  | IstioObject
  | SmiObject;
