/**
 * An entry of the table of kinds (kinds.ts): everything that the control plane does with one kind of object. A new kind is its type in
 * control/objects, one file in this folder, and one line in the table.
 */
import type { CompileSettings } from '../compile/settings.js';
import type { CompiledResource } from '../compile/resource.js';
import type { WaypointName } from '../compile/waypoints.js';
import type {
  AccessPolicyObject,
  MeshObject,
  MeshSettingsObject,
  ServiceObject,
} from '../objects/objects.js';
import type { Claims, Problem } from '../registry/claims.js';
import type { ObjectChange, Registry } from '../registry/registry.js';
import type { StatusLookup, StatusUpdate } from '../status/status.js';

/** Where the API server has the objects of a kind. */
export interface KindAddress {
  /** Empty: the core group. */
  readonly group: string;
  /** Newest first: the first version that is served counts. */
  readonly versions: readonly [string, ...string[]];
  readonly plural: string;
  /** Objects of the kind have no namespace. */
  readonly clusterWide?: true;
  /** A cluster may lack this kind. */
  readonly optional?: true;
}

/** What has to be compiled again after a change, besides the changed objects. */
export interface Recompile {
  objects(objects: Iterable<MeshObject>): void;
  /** Every object. */
  everything(): void;
  /** Services whose labels, or whose namespace's labels, name this waypoint. */
  servicesThrough(waypoint: WaypointName): void;
  /** The object, if it gains or loses what it claims: whether its claims count may have changed. */
  claimsOf(object: MeshObject): void;
}

/** What the compiled form of an object depends on besides the object. */
export interface CompileContext {
  readonly settings: CompileSettings;
  readonly registry: Registry;
  /** Of the MeshSettings in force; empty where there are none. */
  readonly mesh: MeshSettingsObject['spec'];
  /** Services and policies of a namespace, sorted by name. Computed once per change. */
  readonly sorted: (namespace: string) => {
    readonly services: readonly ServiceObject[];
    readonly policies: readonly AccessPolicyObject[];
  };
}

/** Where an identity runs: the node's agent may request a certificate for it. */
export interface Placement {
  readonly node: string;
  readonly identity: string;
}

export interface Compiled {
  readonly resources: readonly CompiledResource[];
  /** Of what nodes enroll. */
  readonly placement?: Placement;
  /** The ownership conflict that keeps the object from being in force as it is written. */
  readonly problem?: Problem;
}

/** Members are methods, so that an entry is assignable to `Kind<MeshObject>`. */
export interface Kind<T extends MeshObject = MeshObject> {
  readonly address: KindAddress;
  /** Where its schema is: `core.yaml` or `gateway.yaml` of control/source/schemas, or a CRD of the chart. */
  readonly schema: 'core' | 'gateway' | 'crd';
  /** Fields of an object of the API server that are kept: those that are read. Undefined where the object does not concern the mesh. */
  pickFields(raw: unknown): T | undefined;
  /** Addresses and host names that the object claims; absent: none. */
  claims?(object: T): Claims | undefined;
  /** What depends on an object of this kind; absent: nothing. The registry has all objects of the change already. */
  dependents?(change: ObjectChange<T>, registry: Registry, recompile: Recompile): void;
  /** Absent: nodes are sent nothing of it. Pure. */
  compile?(object: T, context: CompileContext): Compiled;
  /** As `StatusOf` (control/status). Absent: others write its status, or something else than the object decides it. */
  status?(object: T, lookup: StatusLookup): StatusUpdate | undefined;
}
