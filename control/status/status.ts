/** Types of the status functions. Each kind has its own file in this folder; `writer.ts` calls the functions. */
import type { Remark } from '../dialects/remarks.js';
import {
  istioKinds,
  smiKinds,
  type Condition,
  type ConfigMapObject,
  type GatewayObject,
  type MeshObject,
  type Meta,
  type RouteObject,
  type ServiceObject,
  type ServedObject,
} from '../objects/objects.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { Capabilities } from '../../src/discovery/capabilities.js';
import type { CompiledRoute } from '../dialects/gateway/routes.js';
import type { TargetLookup } from '../compile/traffic-policy-targets.js';
import type { AuditLookup } from '../compile/audit.js';
import type { WaypointName } from '../compile/waypoints.js';
import type { Registry } from '../registry/registry.js';

/** What status functions look up in the registry. */
export interface MeshLookup extends AuditLookup {
  /** The waypoint that the labels of an object or of its namespace name. */
  readonly waypointOf: (service: ServedObject) => WaypointName | undefined;
  /** Whether a Gateway of this name and of Weft's class exists. */
  readonly isWaypoint: (name: WaypointName) => boolean;
  /** Whether the waypoint serves Services of this namespace. */
  readonly admits: (waypoint: WaypointName, namespace: string) => boolean;
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  readonly servedObject: TargetLookup['servedObject'];
  readonly services: (namespace: string) => readonly ServiceObject[];
  /** Whether tokens of requests to a Service are validated. */
  readonly validatesTokens: (service: ServiceObject) => boolean;
  /** A port that is closed because its tokens have too many issuers, one of them the object's. */
  readonly crowdedPort: (object: MeshObject) => ServicePolicy | undefined;
  /** Objects that policies select: pods, and Workloads. */
  readonly selectable: (namespace: string) => readonly { readonly metadata: Meta }[];
  /** Namespaces with selectable objects. */
  readonly namespaces: () => Iterable<string>;
  readonly policiesWithCertificates: Registry['policiesWithCertificates'];
}

/** Why the objects of a Gateway differ from what it specifies. The reasons are the Gateway API's. */
export interface WaypointProblem {
  readonly reason: 'Invalid' | 'InvalidParameters' | 'Pending';
  readonly message: string;
}
/** Health of a Gateway's waypoint: the state of its Deployment, if it exists, and why its objects could not be applied. */
export interface WaypointHealth {
  readonly problem?: WaypointProblem;
  readonly replicas?: { readonly wanted: number; readonly available: number };
  /** Conditions of the Deployment. */
  readonly conditions?: readonly Condition[];
}

/** Input of the status functions besides the object. */
export interface StatusLookup {
  readonly mesh: MeshLookup &
    TargetLookup & {
      /** The current compiled form of a route. */
      readonly route: (route: RouteObject) => CompiledRoute;
      /** A ConfigMap with certificates. */
      readonly configMap: (namespace: string, name: string) => ConfigMapObject | undefined;
      /** The ownership conflict of an object. */
      readonly problemOf: (
        object: MeshObject,
      ) => { readonly reason: string; readonly message: string } | undefined;
      /** VirtualServices that name a complete host. */
      readonly virtualServicesOf: Registry['virtualServicesOf'];
      readonly serviceEntriesOf: Registry['serviceEntriesOf'];
      /** What of an object in force is not carried out. */
      readonly remarksOf: (object: MeshObject) => readonly Remark[];
    };
  /** Health of a Gateway's waypoint; undefined: this control plane does not create waypoints. */
  readonly waypointHealth?: (gateway: GatewayObject) => WaypointHealth | undefined;
  /** Versions of a waypoint's replicas that lack features. Only those connected to this replica of the control plane are known. */
  readonly olderVersions?: ((waypoint: WaypointName) => readonly Capabilities[]) | undefined;
  /** RFC 3339; the transition time of conditions that change. */
  readonly timestamp: string;
}

/** The wanted status of an object. It is applied as a whole by Weft's field manager. */
export interface StatusUpdate {
  readonly status: object;
  /** Fields of the object's metadata that the write carries: the API server refuses the write if they differ. */
  readonly boundTo?: readonly ('uid' | 'resourceVersion')[];
}

/** Undefined: the object has this status, or its status is not Weft's to write. Pure. */
export type StatusOf<O extends MeshObject = MeshObject> = (
  object: O,
  lookup: StatusLookup,
) => StatusUpdate | undefined;

/** Kinds that have the condition `Accepted`: Weft's own, and those of other meshes. */
export type OwnObject = Extract<MeshObject, { kind: (typeof ownKinds)[number] }>;
export const ownKinds = [
  'AccessPolicy',
  'TrafficPolicy',
  'AuthenticationPolicy',
  'MeshSettings',
  'ExternalService',
  'Workload',
  ...istioKinds,
  ...smiKinds,
] as const;
export const isOwn = (object: MeshObject): object is OwnObject =>
  (ownKinds as readonly string[]).includes(object.kind);
