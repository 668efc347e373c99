/**
 * An entry of the table of kinds (kinds.ts): everything that the control plane does with one kind of object. A new kind is its type in
 * control/objects, one file in this folder, and one line in the table.
 */
import type { EndpointOwners } from '../dialects/istio/entry-addresses.js';
import type { RulesInForce } from '../dialects/istio/destination-rule/in-force.js';
import type { Remark } from '../dialects/remarks.js';
import type { CompileSettings } from '../compile/settings.js';
import type { NamespaceGuards } from '../compile/token-guard.js';
import type { CompiledResource } from '../compile/resource.js';
import type { OutboundBounds } from '../dialects/istio/sidecar-bounds.js';
import type { NamespaceSecurity } from '../dialects/istio/pod-policies.js';
import type { WaypointName } from '../compile/waypoints.js';
import type { Labels } from '../../src/model/labels.js';
import type {
  AccessPolicyObject,
  IstioObject,
  MeshObject,
  MeshSettingsObject,
  ServiceObject,
} from '../objects/objects.js';
import type { Claims, Problem } from '../registry/claims.js';
import type { ObjectChange, Registry } from '../registry/registry.js';
import type { StatusLookup, StatusUpdate } from '../status/status.js';

/** The API group, versions and resource name of a kind. */
export interface KindAddress {
  /** The kind's name in the API, if another kind of the table has the same. */
  readonly kind?: string;
  /** Empty: the core group. */
  readonly group: string;
  /** Newest first: the first version that is served is used. */
  readonly versions: readonly [string, ...string[]];
  readonly plural: string;
  /** Objects of the kind have no namespace. */
  readonly clusterWide?: true;
  /** A cluster may not serve this kind. */
  readonly optional?: true;
}

/** Collects what must be recompiled after a change, besides the changed objects. */
export interface Recompile {
  objects(objects: Iterable<MeshObject>): void;
  /**
   * Objects that may be recompiled in a later turn of the event loop (compile/turns.ts): any number of large ones may refer to what has changed.
   * Until then their former resources stay. Not for an object that takes effect where nothing else restricts.
   */
  later(objects: Iterable<MeshObject>): void;
  /** The pods and Workloads of a namespace that a selector selects. */
  selected(namespace: string, selector: Labels | undefined): void;
  /** Every object. */
  everything(): void;
  /** Services, ServiceEntries and ExternalServices whose labels, or whose namespace's labels, name this waypoint. */
  servicesThrough(waypoint: WaypointName): void;
  /** True at the first call with this key: a batch may contain thousands of changes with the same dependents. */
  once(key: string): boolean;
  /** The object, if the change makes it gain or lose what it claims. */
  claimsOf(object: MeshObject): void;
}

/** The inputs of compilation besides the object. */
export interface CompileContext {
  readonly settings: CompileSettings;
  readonly registry: Registry;
  /** The spec of the MeshSettings in force; empty if there are none. */
  readonly mesh: MeshSettingsObject['spec'];
  /** Services and policies of a namespace, sorted by name. Computed once per change. */
  readonly sorted: (namespace: string) => {
    readonly services: readonly ServiceObject[];
    readonly policies: readonly AccessPolicyObject[];
  };
  /** The ServiceEntries of a namespace that may select workloads. Computed once per change. */
  readonly selectingEntries: (namespace: string) => readonly IstioObject<'ServiceEntry'>[];
  /** What Sidecars restrict of the workloads of a namespace, by their labels. Found once per change. */
  readonly outbound: (namespace: string) => (labels: Labels) => OutboundBounds | undefined;
  /** Which host of a ServiceEntry is meant at the address of an endpoint. Computed once per change and namespace. */
  readonly endpointOwners: (namespace: string) => EndpointOwners;
  /** The DestinationRules in force for a Service. Computed once per change. */
  readonly rulesOf: (service: ServiceObject) => RulesInForce | undefined;
  /** Policies of the pods of a namespace whose requests need tokens. Computed once per change. */
  readonly guards: (namespace: string) => NamespaceGuards;
  /** Policies of Istio's security kinds for the pods and waypoints of a namespace. Computed once per change. */
  readonly security: (namespace: string) => NamespaceSecurity;
}

/** A node on which an identity runs, so that its agent may request a certificate for the identity. */
export interface Placement {
  readonly node: string;
  readonly identity: string;
}

export interface Compiled {
  readonly resources: readonly CompiledResource[];
  /** Set for pods and Workloads. */
  readonly placement?: Placement;
  /** The ownership conflict that keeps the object from being in force as written. */
  readonly problem?: Problem;
  /** What of an object in force is not carried out, or differs from what its own mesh does. Absent: nothing. */
  readonly remarks?: readonly Remark[];
}

/** The members are methods, so that an entry is assignable to `Kind<MeshObject>`. */
export interface Kind<T extends MeshObject = MeshObject> {
  readonly address: KindAddress;
  /** Where its schema is: `core.yaml` or `gateway.yaml` of control/source/schemas, a CRD of the chart, or a published CRD. */
  readonly schema: 'core' | 'gateway' | 'crd' | 'istio' | 'smi';
  /** The fields to keep of an object of the API server. Undefined if the object does not concern the mesh. */
  pickFields(raw: unknown): T | undefined;
  /** Addresses and host names that the object claims; absent: none. */
  claims?(object: T): Claims | undefined;
  /** Collects what depends on an object of this kind; absent: nothing does. The registry already contains all changes of the batch. */
  dependents?(change: ObjectChange<T>, registry: Registry, recompile: Recompile): void;
  /**
   * The closed form of an object that cannot be read; absent: compile/closed.ts decides.
   * @param object may have any content; only its kind and its metadata are relied on
   */
  closed?(object: T, why: string): T;
  /** Compiles an object to resources; absent: none. Error: the field that cannot be read. Pure. */
  compile?(object: T, context: CompileContext): Compiled;
  /**
   * The resources of an object until its turn to be compiled comes, of its former ones and closed ones; absent: objects of the kind never wait
   * after a change of their own. It must cost little, and open nothing that the object closes. Pure.
   */
  interim?(
    object: T,
    context: CompileContext,
    former: readonly CompiledResource[],
  ): readonly CompiledResource[];
  /** As `StatusOf` (control/status). Absent: another component writes the status. */
  status?(object: T, lookup: StatusLookup): StatusUpdate | undefined;
}
