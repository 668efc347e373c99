/** What a kind's status function takes and returns. One file of this folder per kind; `writer.ts` calls them. */
import type {
  Condition,
  GatewayObject,
  MeshObject,
  Meta,
  RouteObject,
  ServiceObject,
} from '../objects/objects.js';
import type { CompiledRoute } from '../compile/routes.js';
import type { WaypointName } from '../compile/waypoints.js';

/** What status functions look up in the registry. */
export interface MeshLookup {
  /** The waypoint that the labels of a Service or of its namespace name. */
  readonly waypointOf: (service: ServiceObject) => WaypointName | undefined;
  /** Whether there is a Gateway of this name and of Weft's class. */
  readonly isWaypoint: (name: WaypointName) => boolean;
  /** Whether the waypoint serves Services of this namespace. */
  readonly admits: (waypoint: WaypointName, namespace: string) => boolean;
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  readonly services: (namespace: string) => readonly ServiceObject[];
  /** Objects that policies select: pods, and Workloads. */
  readonly selectable: (namespace: string) => readonly { readonly metadata: Meta }[];
  /** Namespaces with selectable objects. */
  readonly namespaces: () => Iterable<string>;
  /** The namespace whose policies apply to the whole mesh. */
  readonly rootNamespace: string;
}

/** Why the objects of a Gateway are not as it asks. Reasons are the Gateway API's. */
export interface WaypointProblem {
  readonly reason: 'Invalid' | 'InvalidParameters' | 'Pending';
  readonly message: string;
}
/** State of what runs for a Gateway: its Deployment, if there is one, and why it could not be made as asked. */
export interface WaypointHealth {
  readonly problem?: WaypointProblem;
  readonly replicas?: { readonly wanted: number; readonly available: number };
  /** The Deployment's. */
  readonly conditions?: readonly Condition[];
}

/** What the status function of any kind may ask. */
export interface StatusLookup {
  readonly mesh: MeshLookup & {
    /** The route as it is compiled now. */
    readonly route: (route: RouteObject) => CompiledRoute;
    /** The ownership conflict of an object. */
    readonly problemOf: (
      object: MeshObject,
    ) => { readonly reason: string; readonly message: string } | undefined;
  };
  /** State of the objects that run for a Gateway; undefined: they are not made by this control plane. */
  readonly waypointHealth?: (gateway: GatewayObject) => WaypointHealth | undefined;
  /** RFC 3339; the transition time of conditions that change. */
  readonly timestamp: string;
}

/** The status that an object should have. It is applied as a whole by our own field manager. */
export interface StatusUpdate {
  readonly status: object;
  /** Fields of the object's metadata that the write is bound to: the API server refuses it once they differ. */
  readonly boundTo?: readonly ('uid' | 'resourceVersion')[];
}

/** Undefined: the object has this status, or its status is not Weft's to write. Pure. */
export type StatusOf<O extends MeshObject = MeshObject> = (
  object: O,
  lookup: StatusLookup,
) => StatusUpdate | undefined;

/** Weft's own kinds, which have the condition `Accepted`. */
export type OwnObject = Extract<MeshObject, { kind: (typeof ownKinds)[number] }>;
export const ownKinds = ['AccessPolicy', 'MeshSettings', 'ExternalService', 'Workload'] as const;
export const isOwn = (object: MeshObject): object is OwnObject =>
  (ownKinds as readonly string[]).includes(object.kind);
