/** The objects that the control plane knows, with their indexes and the lookups that compilation and status need. */
import { certificateNames, type CertificatePolicy } from '../waypoint/client-certificates.js';
import { labelsOf, namespaceOf, selects, type Labels } from '../../src/model/labels.js';
import { exportLabel } from '../../src/model/ownership.js';
import { uncapturedBecause } from '../compile/enrollment.js';
import { nodeAccepts } from '../compile/workload.js';
import {
  admits,
  gatewayNameLabel,
  isWaypoint,
  isWaypointPod,
  waypointOf,
  type WaypointName,
} from '../compile/waypoints.js';
import { slotsOf } from '../dialects/istio/virtual-service-slots.js';
import { inForceFor } from '../dialects/istio/virtual-service-hosts.js';
import type { PolicyObject, TargetKind } from '../compile/traffic-policy-targets.js';
import { keysOfSplit, keysOfTarget } from '../dialects/smi/index-keys.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import {
  isRoute,
  type AccessPolicyObject,
  type AuthenticationPolicyObject,
  type ConfigMapObject,
  type EndpointSliceObject,
  type ExternalServiceObject,
  type GatewayClassObject,
  type GatewayObject,
  type IstioObject,
  type MeshObject,
  type MeshSettingsObject,
  type NamespaceObject,
  type NodeObject,
  type PodObject,
  type RouteObject,
  type ServiceObject,
  type SmiObject,
  type WorkloadObject,
  type ServedObject,
} from '../objects/objects.js';
import { ClaimIndex, type Claims } from './claims.js';
import { AccountIndex } from './account-index.js';
import { HostIndex, KeyIndex, NamespaceIndex, RouteIndex, TargetIndex } from './indexes.js';
import { KeySets } from './key-sets.js';
import { ResolvedNames } from './resolved-names.js';

/** One object before and after a change: `before` is undefined for a new object, `now` for a deleted one. */
export interface ObjectChange<T extends MeshObject = MeshObject> {
  readonly key: ObjectKey;
  readonly kind: T['kind'];
  readonly namespace: string;
  readonly name: string;
  readonly before: T | undefined;
  readonly now: T | undefined;
}

/** Cluster-scoped objects are indexed under the namespace of a manifest without one. */
const clusterWide = namespaceOf({ metadata: {} });

/** Kinds of policies with targets. */
const policyKinds: ReadonlySet<string> = new Set<PolicyObject['kind']>([
  'TrafficPolicy',
  'AuthenticationPolicy',
  'XBackendTrafficPolicy',
  'BackendTLSPolicy',
]);

/** Sole owner of the objects and their indexes. */
export class Registry {
  readonly #objects = new Map<ObjectKey, MeshObject>();
  readonly indexes = {
    Namespace: new NamespaceIndex<NamespaceObject>(),
    Node: new NamespaceIndex<NodeObject>(),
    MeshSettings: new NamespaceIndex<MeshSettingsObject>(),
    Pod: new NamespaceIndex<PodObject>(),
    Workload: new NamespaceIndex<WorkloadObject>(),
    EndpointSlice: new NamespaceIndex<EndpointSliceObject>(),
    ExternalService: new NamespaceIndex<ExternalServiceObject>(),
    Service: new NamespaceIndex<ServiceObject>(),
    AccessPolicy: new NamespaceIndex<AccessPolicyObject>(),
    GatewayClass: new NamespaceIndex<GatewayClassObject>(),
    Gateway: new NamespaceIndex<GatewayObject>(),
    ConfigMap: new NamespaceIndex<ConfigMapObject>(),
    VirtualService: new NamespaceIndex<IstioObject<'VirtualService'>>(),
    DestinationRule: new NamespaceIndex<IstioObject<'DestinationRule'>>(),
    ServiceEntry: new NamespaceIndex<IstioObject<'ServiceEntry'>>(),
    WorkloadEntry: new NamespaceIndex<IstioObject<'WorkloadEntry'>>(),
    WorkloadGroup: new NamespaceIndex<IstioObject<'WorkloadGroup'>>(),
    Sidecar: new NamespaceIndex<IstioObject<'Sidecar'>>(),
    AuthorizationPolicy: new NamespaceIndex<IstioObject<'AuthorizationPolicy'>>(),
    PeerAuthentication: new NamespaceIndex<IstioObject<'PeerAuthentication'>>(),
    RequestAuthentication: new NamespaceIndex<IstioObject<'RequestAuthentication'>>(),
    Telemetry: new NamespaceIndex<IstioObject<'Telemetry'>>(),
    HTTPRouteGroup: new NamespaceIndex<SmiObject<'HTTPRouteGroup'>>(),
    SmiTCPRoute: new NamespaceIndex<SmiObject<'SmiTCPRoute'>>(),
  } as const;
  readonly #hosts = {
    VirtualService: new HostIndex<IstioObject<'VirtualService'>>(),
    DestinationRule: new HostIndex<IstioObject<'DestinationRule'>>(),
    ServiceEntry: new HostIndex<IstioObject<'ServiceEntry'>>(),
  } as const;
  readonly #smi = {
    TrafficSplit: new KeyIndex<SmiObject<'TrafficSplit'>>(keysOfSplit),
    TrafficTarget: new KeyIndex<SmiObject<'TrafficTarget'>>(keysOfTarget),
  } as const;
  readonly #virtualServices = new KeyIndex<IstioObject<'VirtualService'>>(slotsOf);
  readonly #certificates = new KeyIndex<CertificatePolicy>((policy) =>
    certificateNames(policy).length > 0 ? [namespaceOf(policy)] : [],
  );
  readonly #accounts = new AccountIndex();
  readonly #routes = new RouteIndex();
  readonly #policies = new TargetIndex<PolicyObject>();
  readonly claims: ClaimIndex;
  readonly names = new ResolvedNames();
  /** Keys of issuers of tokens. */
  readonly keySets = new KeySets();
  readonly authenticationPolicies = new NamespaceIndex<AuthenticationPolicyObject>();

  /**
   * @param rootNamespace the namespace whose policies, ExternalServices and Workloads count for the whole mesh
   * @param claimsOf addresses and host names that an object claims
   */
  constructor(
    public rootNamespace: string,
    claimsOf: (object: MeshObject) => Claims | undefined,
  ) {
    this.claims = new ClaimIndex({
      claimsOf,
      isExported: (namespace) => this.isExported(namespace),
      isAccepted: (workload) => this.isAccepted(workload),
    });
  }

  /**
   * Stores new objects, and deletes those whose value is undefined. Only the compiler calls it: its resources must follow every change.
   */
  protected update(changed: ReadonlyMap<ObjectKey, MeshObject | undefined>): ObjectChange[] {
    const changes: ObjectChange[] = [];
    for (const [key, now] of changed) {
      const before = this.#objects.get(key);
      if (before) this.#remove(key, before);
      this.claims.set(key, before, now);
      if (now) this.#add(key, now);
      const either = now ?? before;
      if (!either) continue;
      const { kind } = either;
      changes.push({ key, kind, namespace: namespaceOf(either), name: either.metadata.name, before, now });
    }
    return changes;
  }

  get size(): number {
    return this.#objects.size;
  }
  keys(): Iterable<ObjectKey> {
    return this.#objects.keys();
  }
  objects(): Iterable<MeshObject> {
    return this.#objects.values();
  }
  object(key: ObjectKey): MeshObject | undefined {
    return this.#objects.get(key);
  }
  *ofKind<K extends MeshObject['kind']>(kind: K): Iterable<Extract<MeshObject, { kind: K }>> {
    for (const object of this.#objects.values())
      if (object.kind === kind) yield object as Extract<MeshObject, { kind: K }>;
  }

  namespace(name: string): NamespaceObject | undefined {
    return this.indexes.Namespace.get(clusterWide, name);
  }
  node(name: string): NodeObject | undefined {
    return this.indexes.Node.get(clusterWide, name);
  }
  /** The MeshSettings in force: of several objects the first by namespace and name. */
  get meshSettings(): MeshSettingsObject | undefined {
    const [first] = [...this.indexes.MeshSettings.all()].sort((a, b) =>
      objectKey(a) < objectKey(b) ? -1 : 1,
    );
    return first;
  }
  gateway({ namespace, name }: WaypointName): GatewayObject | undefined {
    return this.indexes.Gateway.get(namespace, name);
  }
  gatewayClass(name: string): GatewayClassObject | undefined {
    return this.indexes.GatewayClass.get(clusterWide, name);
  }
  service(namespace: string, name: string): ServiceObject | undefined {
    return this.indexes.Service.get(namespace, name);
  }
  /** A Service, a ServiceEntry or an ExternalService. */
  servedObject(kind: ServedObject['kind'], namespace: string, name: string): ServedObject | undefined {
    return this.indexes[kind].get(namespace, name);
  }
  services(namespace: string): readonly ServiceObject[] {
    return this.indexes.Service.in(namespace);
  }

  /** Namespaces in which there are pods or Workloads. */
  namespaces(): Iterable<string> {
    return new Set([...this.indexes.Pod.namespaces(), ...this.indexes.Workload.namespaces()]);
  }

  /** The objects that policies of a namespace can select: its Workloads, and its pods that are in the mesh, except waypoints. */
  selectable(namespace: string): readonly (PodObject | WorkloadObject)[] {
    const of = this.namespace(namespace);
    const pods = this.indexes.Pod.in(namespace).filter(
      (pod) => uncapturedBecause(pod, of) === undefined && !this.isWaypointPod(pod),
    );
    return [...pods, ...this.indexes.Workload.in(namespace)];
  }

  /** Whether ExternalServices and Workloads of the namespace count in all namespaces. */
  isExported(namespace: string): boolean {
    return namespace === this.rootNamespace || labelsOf(this.namespace(namespace))[exportLabel] === 'enabled';
  }
  /** Whether the node that a Workload names accepts it. */
  isAccepted(workload: WorkloadObject): boolean {
    return nodeAccepts(this.node(workload.spec.node), namespaceOf(workload));
  }

  /** Whether the Gateway exists and its class is Weft's. */
  isWaypoint({ namespace, name }: WaypointName): boolean {
    return this.#gateway(namespace, name)?.ours ?? false;
  }
  /** Whether a pod is a waypoint's own. */
  isWaypointPod(pod: PodObject): boolean {
    return isWaypointPod(pod, this.#gateway(namespaceOf(pod), labelsOf(pod)[gatewayNameLabel] ?? ''));
  }
  #gateway(namespace: string, name: string): { readonly ours: boolean } | undefined {
    const gateway = this.indexes.Gateway.get(namespace, name);
    return gateway && { ours: isWaypoint(gateway, this.gatewayClass(gateway.spec.gatewayClassName)) };
  }

  /** The waypoint that the labels of the object or of its namespace name; undefined if they name none. */
  waypointOf(service: ServedObject): WaypointName | undefined {
    const namespace = namespaceOf(service);
    return waypointOf(
      service,
      this.namespace(namespace),
      service.kind === 'Service' && this.isWaypoint({ namespace, name: service.metadata.name }),
    );
  }
  /** Whether a waypoint's Gateway admits Services of this namespace. */
  admits(waypoint: WaypointName, namespace: string): boolean {
    return admits(waypoint, this.gateway(waypoint), namespace, this.namespace(namespace));
  }
  /** Objects whose compiled form depends on whether this Gateway is a waypoint. */
  waypointDependents(namespace: string, name: string): readonly MeshObject[] {
    const service = this.service(namespace, name);
    const pods = this.indexes.Pod.in(namespace).filter(
      (pod) =>
        labelsOf(pod)[gatewayNameLabel] === name ||
        // A Service that is a waypoint's own is not reached through another waypoint, whose policies about tokens are not for its pods.
        (this.hasAuthentication && service && selects(service.spec.selector, labelsOf(pod))),
    );
    const workloads = this.indexes.Workload.in(namespace).filter(
      (one) => this.hasAuthentication && service && selects(service.spec.selector, labelsOf(one)),
    );
    return [...(service ? [service] : []), ...pods, ...workloads];
  }

  /** Routes whose compiled form depends on a Service. */
  routesOf(namespace: string, name: string): readonly RouteObject[] {
    return this.#routes.of(`${namespace}/${name}`);
  }
  /**
   * Routes of one namespace whose parent is one Service: these may conflict. The same array is returned until its content changes.
   * @param service `<namespace>/<name>`
   */
  routesAttached(service: string, routeNamespace: string): readonly RouteObject[] {
    return this.#routes.attached(service, routeNamespace);
  }
  /** As `routesAttached`, in the form of compileRoute's lookup. */
  routesTo(routeNamespace: string, namespace: string, name: string): readonly RouteObject[] {
    return this.#routes.attached(`${namespace}/${name}`, routeNamespace);
  }

  /** Policies of a namespace that target an object of this namespace. */
  policiesTargeting(kind: TargetKind, namespace: string, name: string): readonly PolicyObject[] {
    return this.#policies.of(kind, namespace, name);
  }

  /** Whether there is an AuthenticationPolicy or a RequestAuthentication. */
  get hasAuthentication(): boolean {
    return !this.authenticationPolicies.isEmpty || !this.indexes.RequestAuthentication.isEmpty;
  }

  /** BackendTLSPolicies whose certificates are in a ConfigMap of their namespace. */
  policiesNaming(namespace: string, configMap: string): readonly PolicyObject[] {
    return this.#policies.naming(namespace, configMap);
  }
  configMap(namespace: string, name: string): ConfigMapObject | undefined {
    return this.indexes.ConfigMap.get(namespace, name);
  }

  /**
   * Objects of all namespaces that name this complete host, the oldest first. Wildcards are hosts of their own. The same array is returned
   * until its content changes.
   */
  virtualServicesOf(host: string): readonly IstioObject<'VirtualService'>[] {
    return this.#hosts.VirtualService.of(host);
  }
  /** VirtualServices that refer to something, the oldest first. @param slot of control/dialects/istio/virtual-service-slots.ts */
  virtualServicesNaming(slot: string): readonly IstioObject<'VirtualService'>[] {
    return this.#virtualServices.of(slot);
  }
  /** As `portsOfRoutes`: the VirtualService that yields to routes of its namespace. */
  yieldingTo(namespace: string, service: ServiceObject): string | undefined {
    const found = inForceFor(service, namespace, this);
    return found && `VirtualService ${namespace}/${found.metadata.name}`;
  }
  /** Service accounts by the labels of their pods. */
  accountsWith(labels: Labels, namespace: string | undefined): ReturnType<AccountIndex['with']> {
    return this.#accounts.with(labels, namespace);
  }
  /** ServiceEntries that name this host, the oldest first. @param namespace absent: those of all namespaces */
  serviceEntriesOf(host: string, namespace?: string): readonly IstioObject<'ServiceEntry'>[] {
    return this.#hosts.ServiceEntry.of(host, namespace);
  }
  /** The policies of a namespace that name client certificates, the oldest first. */
  policiesWithCertificates(namespace: string): readonly CertificatePolicy[] {
    return this.#certificates.of(namespace);
  }

  get hasDestinationRules(): boolean {
    return !this.#hosts.DestinationRule.isEmpty;
  }
  destinationRulesOf(host: string, namespace?: string): readonly IstioObject<'DestinationRule'>[] {
    return this.#hosts.DestinationRule.of(host, namespace);
  }

  /** SMI's objects by what they name (control/dialects/smi/index-keys.ts), the oldest first. */
  trafficSplitsOf(key: string): readonly SmiObject<'TrafficSplit'>[] {
    return this.#smi.TrafficSplit.of(key);
  }
  trafficTargetsOf(key: string): readonly SmiObject<'TrafficTarget'>[] {
    return this.#smi.TrafficTarget.of(key);
  }

  #add(key: ObjectKey, object: MeshObject): void {
    this.#objects.set(key, object);
    this.#indexOf(object)?.set(object);
    this.#hostsOf(object)?.set(object);
    if (object.kind === 'VirtualService') this.#virtualServices.set(object);
    else if (object.kind === 'AuthenticationPolicy') this.authenticationPolicies.set(object);
    else if (object.kind === 'BackendTLSPolicy' || object.kind === 'DestinationRule')
      this.#certificates.set(object);
    else if (object.kind === 'Pod' || object.kind === 'Workload') this.#accounts.set(object);
  }
  #remove(key: ObjectKey, object: MeshObject): void {
    this.#objects.delete(key);
    this.#indexOf(object)?.delete(object);
    this.#hostsOf(object)?.delete(object);
    if (object.kind === 'VirtualService') this.#virtualServices.delete(object);
    else if (object.kind === 'AuthenticationPolicy') this.authenticationPolicies.delete(object);
    else if (object.kind === 'BackendTLSPolicy' || object.kind === 'DestinationRule')
      this.#certificates.delete(object);
    else if (object.kind === 'Pod' || object.kind === 'Workload') this.#accounts.delete(object);
  }
  #hostsOf({ kind }: MeshObject): Index | undefined {
    type Indexes = Partial<Record<MeshObject['kind'], Index>>;
    return (this.#hosts as Indexes)[kind] ?? (this.#smi as Indexes)[kind];
  }
  #indexOf(object: MeshObject): Index | undefined {
    if (policyKinds.has(object.kind)) return this.#policies as Index;
    return isRoute(object)
      ? (this.#routes as Index)
      : (this.indexes as Partial<Record<MeshObject['kind'], Index>>)[object.kind];
  }
}

/** An index accepts only objects of its own kind. */
interface Index {
  set(object: MeshObject): void;
  delete(object: MeshObject): void;
}
