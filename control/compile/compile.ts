/**
 * From Kubernetes objects to what nodes are told: the same objects, in any order, give the same result; the file registry and
 * the Kubernetes watch both come through here. A change compiles anew what depends on it, and nothing else.
 */
import { spiffeIdOf, type TrustDomain } from '../../src/model/identity.js';
import { refusedWaypoint } from '../../src/model/refused-waypoint.js';
import { exportLabel, workloadNamespacesAnnotation } from '../../src/model/ownership.js';
import { isStrict } from '../../src/model/object-settings.js';
import { ClaimIndex, hostOf, type Problem } from '../registry/claims.js';
import {
  compileExternalService,
  compileSlice,
  externalProblem,
  nodeTakes,
  podOfWorkload,
  serviceNameLabel,
  workloadProblem,
} from './external.js';
import { isEnrolling } from './first-enrollment.js';
import { isEnrolled, labelsOf, namespaceOf, selects, uncapturedBecause, type Labels } from './enrollment.js';
import {
  isRoute,
  type AccessPolicyObject,
  type EndpointSliceObject,
  type ExternalServiceObject,
  type GatewayClassObject,
  type GatewayObject,
  type MeshObject,
  type MeshSettingsObject,
  type NamespaceObject,
  type NodeObject,
  type PodObject,
  type RouteObject,
  type ServiceObject,
  type WorkloadObject,
} from '../objects/objects.js';
import { ByNamespace, objectKey, RoutesByService, type Index, type ObjectKey } from '../registry/indexes.js';
import { compilePod, type CompiledPod } from './pod.js';
import { compilePolicy, rootNamespace, strictPolicy } from './policies.js';
import type { RouteSurroundings } from './route-parents.js';
import { compileRoute, servicesOf, type CompiledRoute } from './routes.js';
import { compileService } from './service.js';
import { idOf, toldOf, type Changes, type Told } from './resource.js';
import {
  admits,
  consentOf,
  gatewayNameLabel,
  hbonePort,
  isWaypoint,
  isWaypointPod,
  waypointOf,
  waypointOfCaller,
  waypointReference,
  type WaypointName,
} from './waypoints.js';

/**
 * The stages of an uninstall: no policy is in force; then nobody is dialed by tunnel either; then nobody is in the mesh, whatever labels
 * say. In one step a node that lets its pods go first would speak plaintext to one that still asks for identities, and be dialed by
 * tunnel by one that has not heard of it.
 */
export type Removal = 'open' | 'untunneled' | 'release';

export interface CompileSettings {
  readonly trustDomain: TrustDomain;
  readonly rootsVersion: string;
  /** Whose policies, ExternalServices and Workloads count for the whole mesh; that of `policies.ts` where absent. */
  readonly rootNamespace?: string;
  /** Before it is uninstalled (control/removal.ts). */
  readonly removal?: Removal;
}

export { objectKey, type ObjectKey } from '../registry/indexes.js';
export { nameOf, type Changes, type Told } from './resource.js';

/** As a manifest without a namespace has it. */
const clusterWide = namespaceOf({ metadata: {} });
const byName = (a: MeshObject, b: MeshObject): number => (a.metadata.name < b.metadata.name ? -1 : 1);

/** Sole owner of what is known of the objects, and of what was made of them. */
export class Compiler {
  #settings: CompileSettings;
  readonly #objects = new Map<ObjectKey, MeshObject>();
  readonly #indexes = {
    Namespace: new ByNamespace<NamespaceObject>(),
    Node: new ByNamespace<NodeObject>(),
    MeshSettings: new ByNamespace<MeshSettingsObject>(),
    Pod: new ByNamespace<PodObject>(),
    Workload: new ByNamespace<WorkloadObject>(),
    EndpointSlice: new ByNamespace<EndpointSliceObject>(),
    ExternalService: new ByNamespace<ExternalServiceObject>(),
    Service: new ByNamespace<ServiceObject>(),
    AccessPolicy: new ByNamespace<AccessPolicyObject>(),
    GatewayClass: new ByNamespace<GatewayClassObject>(),
    Gateway: new ByNamespace<GatewayObject>(),
  };
  readonly #routes = new RoutesByService();
  readonly #claims = new ClaimIndex({
    isExported: (namespace) => this.#isExported(namespace),
    isTaken: (workload) => this.#isTaken(workload),
  });
  /** Ownership conflicts, by object. */
  readonly #problems = new Map<ObjectKey, Problem>();
  /** What each object makes nodes be told. */
  readonly #told = new Map<ObjectKey, readonly Told[]>();
  /** node → identity → pods that have it there. */
  readonly #identities = new Map<string, Map<string, number>>();
  readonly #heldPods = new Map<string, number>();
  #enrolledNamespaces: ReadonlySet<string> = new Set();

  constructor(settings: CompileSettings) {
    this.#settings = settings;
  }

  get removal(): Removal | undefined {
    return this.#settings.removal;
  }
  get size(): number {
    return this.#objects.size;
  }
  get rootNamespace(): string {
    return this.#settings.rootNamespace ?? rootNamespace;
  }

  /** Keys of all objects that are known: for a source that tells the whole each time. */
  keys(): Iterable<ObjectKey> {
    return this.#objects.keys();
  }
  object(key: ObjectKey): MeshObject | undefined {
    return this.#objects.get(key);
  }

  *ofKind<K extends MeshObject['kind']>(kind: K): Iterable<Extract<MeshObject, { kind: K }>> {
    for (const object of this.#objects.values())
      if (object.kind === kind) yield object as Extract<MeshObject, { kind: K }>;
  }
  /** The ownership conflict that keeps an object from being in force as it is written; undefined where there is none. */
  problemOf(object: MeshObject): Problem | undefined {
    return this.#problems.get(objectKey(object));
  }
  problems(): ReadonlyMap<ObjectKey, Problem> {
    return this.#problems;
  }
  get enrolledNamespaces(): ReadonlySet<string> {
    return this.#enrolledNamespaces;
  }

  /** Whether some pod with this identity runs on the node; of a waypoint: whether it is its own, while its Gateway is there. */
  mayAsk(caller: string, identity: string): boolean {
    const waypoint = waypointOfCaller(caller);
    if (!waypoint) return (this.#identities.get(caller)?.get(identity) ?? 0) > 0;
    const { namespace, name: serviceAccount } = waypoint;
    const { trustDomain } = this.#settings;
    return this.isWaypoint(waypoint) && identity === spiffeIdOf({ trustDomain, namespace, serviceAccount });
  }

  /** Whether there is such a Gateway, and its class is Weft's. */
  isWaypoint({ namespace, name }: WaypointName): boolean {
    return this.#gateway(namespace, name)?.ours ?? false;
  }

  /** What a Service's labels and its namespace's name; undefined where its requests go through none. */
  waypointOf(service: ServiceObject): WaypointName | undefined {
    const namespace = namespaceOf(service);
    return waypointOf(
      service,
      this.#indexes.Namespace.get(clusterWide, namespace),
      this.isWaypoint({ namespace, name: service.metadata.name }),
    );
  }

  /** Whether a waypoint serves Services of this namespace: its Gateway decides. */
  admits(waypoint: WaypointName, namespace: string): boolean {
    const gateway = this.#indexes.Gateway.get(waypoint.namespace, waypoint.name);
    return admits(waypoint, gateway, namespace, this.#indexes.Namespace.get(clusterWide, namespace));
  }

  namespace(name: string): NamespaceObject | undefined {
    return this.#indexes.Namespace.get(clusterWide, name);
  }

  service(namespace: string, name: string): ServiceObject | undefined {
    return this.#indexes.Service.get(namespace, name);
  }

  services(namespace: string): readonly ServiceObject[] {
    return this.#indexes.Service.in(namespace);
  }

  /** Pods that are in the mesh, waypoints not, and what stands for one on another machine. */
  selectable(namespace: string): readonly (PodObject | WorkloadObject)[] {
    const of = this.#indexes.Namespace.get(clusterWide, namespace);
    const pods = this.#indexes.Pod.in(namespace).filter(
      (pod) =>
        uncapturedBecause(pod, of) === undefined &&
        !isWaypointPod(pod, this.#gateway(namespace, labelsOf(pod)[gatewayNameLabel] ?? '')),
    );
    return [...pods, ...this.#indexes.Workload.in(namespace)];
  }

  /** In which there are pods, or what stands for one. */
  namespaces(): Iterable<string> {
    return new Set([...this.#indexes.Pod.namespaces(), ...this.#indexes.Workload.namespaces()]);
  }

  gatewayClass(name: string): GatewayClassObject | undefined {
    return this.#indexes.GatewayClass.get(clusterWide, name);
  }

  /** A route as it is now, with what is to be said of it. */
  route(object: RouteObject): CompiledRoute {
    return compileRoute(object, this.#aroundRoutes);
  }
  readonly #aroundRoutes: RouteSurroundings = {
    service: (namespace, name) => this.#indexes.Service.get(namespace, name),
    routesTo: (routeNamespace, namespace, name) =>
      this.#routes.attached(`${namespace}/${name}`, routeNamespace),
  };

  #gateway(namespace: string, name: string): { readonly ours: boolean } | undefined {
    const gateway = this.#indexes.Gateway.get(namespace, name);
    return gateway && { ours: isWaypoint(gateway, this.gatewayClass(gateway.spec.gatewayClassName)) };
  }

  /** Objects whose compiled form depends on whether this Gateway is a waypoint. */
  #ofGateway(namespace: string, name: string): readonly MeshObject[] {
    const service = this.#indexes.Service.get(namespace, name);
    const pods = this.#indexes.Pod.in(namespace).filter((pod) => labelsOf(pod)[gatewayNameLabel] === name);
    return [...(service ? [service] : []), ...pods];
  }

  /** Services that name one of these waypoints (`<namespace>/<name>`), by their own labels or their namespace's. */
  *#servicesThrough(waypoints: ReadonlySet<string>): Iterable<ServiceObject> {
    for (const service of this.#indexes.Service.all()) {
      const waypoint = this.waypointOf(service);
      if (waypoint && waypoints.has(`${waypoint.namespace}/${waypoint.name}`)) yield service;
    }
  }

  /** Other settings: everything is compiled anew. */
  configure(settings: CompileSettings): Changes {
    this.#settings = settings;
    this.#claims.reconsiderAll();
    return this.#compile(this.#objects.values());
  }

  /** An object, or undefined where it is gone, by key. */
  apply(changed: ReadonlyMap<ObjectKey, MeshObject | undefined>): Changes {
    const dirty = new Map<ObjectKey, MeshObject>();
    const touch = (objects: Iterable<MeshObject>): void => {
      for (const object of objects) dirty.set(objectKey(object), object);
    };
    let all = false;
    /** Gateways (`<namespace>/<name>`) that may admit others than before. */
    const consents = new Set<string>();
    const gone: MeshObject[] = [];
    for (const [key, object] of changed) {
      const before = this.#objects.get(key);
      if (before) this.#forget(before);
      this.#claims.set(key, before, object);
      if (object) this.#keep(object);
      else if (before) gone.push(before);
      const either = object ?? before;
      if (!either) continue;
      if (object) dirty.set(key, object);
      else dirty.delete(key);
      switch (either.kind) {
        case 'MeshSettings':
          all = true;
          break;
        case 'Namespace':
          // The strict mode of the mesh waits for all namespaces.
          touch(this.#indexes.MeshSettings.all());
          touch(this.#indexes.Pod.in(either.metadata.name));
          touch(this.#indexes.Workload.in(either.metadata.name));
          touch(this.#indexes.Service.in(either.metadata.name));
          if (labelsOf(before)[exportLabel] !== labelsOf(object)[exportLabel])
            for (const kind of ['ExternalService', 'Workload'] as const)
              for (const one of this.#indexes[kind].in(either.metadata.name))
                this.#claims.reconsider(objectKey(one), one);
          break;
        case 'Gateway':
          touch(this.#ofGateway(namespaceOf(either), either.metadata.name));
          if (
            consentOf(before as GatewayObject | undefined) !== consentOf(object as GatewayObject | undefined)
          )
            consents.add(`${namespaceOf(either)}/${either.metadata.name}`);
          break;
        case 'GatewayClass':
          for (const gateway of this.#indexes.Gateway.all())
            if (gateway.spec.gatewayClassName === either.metadata.name)
              touch(this.#ofGateway(namespaceOf(gateway), gateway.metadata.name));
          break;
        case 'HTTPRoute':
        case 'GRPCRoute':
        case 'TLSRoute':
        case 'TCPRoute':
          for (const one of [before, object])
            if (one && isRoute(one))
              for (const name of servicesOf(one).parents)
                touch(
                  // Those of one type go together.
                  this.#routes.attached(name, namespaceOf(one)).filter(({ kind }) => kind !== one.kind),
                );
          break;
        case 'Node':
          // Of a node its labels matter and which Workloads it takes, and they change once in its life.
          if (JSON.stringify(meaningOfNode(before)) === JSON.stringify(meaningOfNode(object))) break;
          for (const pod of this.#indexes.Pod.all())
            if (pod.spec.nodeName === either.metadata.name) touch([pod]);
          for (const one of this.#indexes.Workload.all())
            if (one.spec.node === either.metadata.name) {
              touch([one]);
              this.#claims.reconsider(objectKey(one), one);
            }
          break;
        case 'Service':
        case 'AccessPolicy': {
          const selectors = [before, object].map((one) => one && selectorOf(one));
          const namespace = namespaceOf(either);
          for (const pod of [...this.#indexes.Pod.in(namespace), ...this.#indexes.Workload.in(namespace)]) {
            if (selectors.some((selector) => selects(selector, labelsOf(pod)))) touch([pod]);
          }
          if (either.kind === 'Service') {
            const { name } = either.metadata;
            touch(this.#routes.of(`${namespace}/${name}`));
            touch(
              this.#indexes.EndpointSlice.in(namespace).filter(
                (slice) => labelsOf(slice)[serviceNameLabel] === name,
              ),
            );
          }
          break;
        }
        case 'Pod':
        case 'Workload':
        case 'EndpointSlice':
        case 'ExternalService':
          break;
      }
    }
    if (consents.size > 0) touch(this.#servicesThrough(consents));
    touch(this.#claims.takeContested());
    // Objects that went and came within one change may have been touched while they were away.
    for (const key of dirty.keys()) if (!this.#objects.has(key)) dirty.delete(key);
    return this.#compile(all ? this.#objects.values() : dirty.values(), gone);
  }

  /** All that nodes are told now. */
  *all(): Iterable<Told> {
    for (const told of this.#told.values()) yield* told;
    for (const namespace of this.#enrolledNamespaces) yield { kind: 'namespace', value: namespace };
    yield this.#trust();
  }

  #keep(object: MeshObject): void {
    this.#objects.set(objectKey(object), object);
    if (isRoute(object)) this.#routes.set(object);
    else this.#indexOf(object.kind)?.set(object);
  }

  #forget(object: MeshObject): void {
    this.#objects.delete(objectKey(object));
    if (isRoute(object)) this.#routes.delete(object);
    else this.#indexOf(object.kind)?.delete(object);
  }

  #indexOf(kind: MeshObject['kind']): Index | undefined {
    return (this.#indexes as Partial<Record<MeshObject['kind'], Index>>)[kind];
  }

  #compile(objects: Iterable<MeshObject>, gone: readonly MeshObject[] = []): Changes {
    const told = new Map<string, Told>();
    const withdrawn = new Map<string, Told>();
    const emit = (key: ObjectKey, now: readonly Told[]): void => {
      for (const one of this.#told.get(key) ?? []) {
        this.#count(one, -1);
        const id = idOf(one);
        // Told by another object of this change already: it has moved.
        if (!told.has(id)) withdrawn.set(id, one);
      }
      for (const one of now) {
        this.#count(one, 1);
        const id = idOf(one);
        told.set(id, one);
        withdrawn.delete(id);
      }
      if (now.length > 0) this.#told.set(key, now);
      else this.#told.delete(key);
    };
    const mesh = this.#meshSettings();
    const ofNamespace = new Map<
      string,
      { services: readonly ServiceObject[]; policies: readonly AccessPolicyObject[] }
    >();
    const surroundings = (namespace: string) => {
      let found = ofNamespace.get(namespace);
      if (!found) {
        const services = [...this.#indexes.Service.in(namespace)].sort(byName);
        found = { services, policies: [...this.#indexes.AccessPolicy.in(namespace)].sort(byName) };
        ofNamespace.set(namespace, found);
      }
      return found;
    };
    for (const object of gone) {
      const key = objectKey(object);
      if (this.#objects.has(key)) continue;
      if (isHeld(object)) this.#admit(key, undefined);
      this.#problems.delete(key);
      emit(key, []);
    }
    for (const object of objects) {
      const key = objectKey(object);
      if (!isHeld(object)) {
        emit(key, this.#compileOther(object, mesh));
        continue;
      }
      const namespace = namespaceOf(object);
      if (object.kind === 'Workload') {
        const problem = workloadProblem(key, object, this.#isTaken(object), this.#claims);
        this.#note(key, problem);
        if (problem) {
          // It has no resources, and no machine may ask for its identity.
          this.#admit(key, undefined);
          emit(key, []);
          continue;
        }
      }
      const asPod = object.kind === 'Pod' ? object : podOfWorkload(object);
      const pod = compilePod(asPod, {
        kind: object.kind,
        ...this.#settings,
        open: this.removal !== undefined,
        untunneled: this.removal === 'untunneled' || this.removal === 'release',
        enrolNone: this.removal === 'release',
        mesh,
        namespace: this.#indexes.Namespace.get(clusterWide, namespace),
        node: this.#indexes.Node.get(clusterWide, asPod.spec.nodeName),
        isWaypoint:
          object.kind === 'Pod' &&
          isWaypointPod(object, this.#gateway(namespace, labelsOf(object)[gatewayNameLabel] ?? '')),
        ...surroundings(namespace),
      });
      this.#admit(key, pod);
      const isScoped = object.kind === 'Workload' && !this.#isExported(namespace);
      emit(key, pod ? toldOf(pod, isScoped) : []);
    }
    const before = this.#enrolledNamespaces;
    this.#enrolledNamespaces = this.#enrolled();
    for (const namespace of this.#enrolledNamespaces) {
      if (!before.has(namespace)) told.set(`namespace ${namespace}`, { kind: 'namespace', value: namespace });
    }
    for (const namespace of before) {
      if (!this.#enrolledNamespaces.has(namespace))
        withdrawn.set(`namespace ${namespace}`, { kind: 'namespace', value: namespace });
    }
    const { rootsVersion } = this.#settings;
    if (this.#toldRoots !== rootsVersion) told.set('trust', this.#trust());
    this.#toldRoots = rootsVersion;
    return { told: [...told.values()], withdrawn: [...withdrawn.values()] };
  }
  #toldRoots: string | undefined;
  #trust(): Told {
    return { kind: 'trust', value: this.#settings.rootsVersion };
  }

  #compileOther(
    object: Exclude<MeshObject, PodObject | WorkloadObject>,
    mesh: MeshSettingsObject['spec'],
  ): Told[] {
    const open = this.removal !== undefined;
    switch (object.kind) {
      case 'Service': {
        // What a waypoint enforces is policy, and a pod that goes past it is refused: both end in one step.
        const waypoint = open ? undefined : this.waypointOf(object);
        const reference =
          waypoint &&
          (this.admits(waypoint, namespaceOf(object))
            ? waypointReference(waypoint)
            : refusedWaypoint(waypoint, hbonePort));
        const service = compileService(object, mesh, reference);
        const key = objectKey(object);
        const addresses = service.addresses.filter(({ ip }) => !this.#claims.addressLostTo(key, ip));
        return [{ kind: 'service', value: { ...service, addresses } }];
      }
      case 'AccessPolicy':
        return open ? [] : [{ kind: 'policy', value: compilePolicy(object, this.rootNamespace) }];
      case 'Namespace':
        return !open && isStrict(labelsOf(object)) && !isEnrolling(object)
          ? [{ kind: 'policy', value: strictPolicy(object.metadata.name, 'namespace', 'namespace') }]
          : [];
      case 'MeshSettings':
        return !open && object.spec === mesh && mesh.mode === 'strict' && !this.#isFirstInstall()
          ? [{ kind: 'policy', value: strictPolicy(this.rootNamespace, 'mesh', 'global') }]
          : [];
      case 'ExternalService': {
        const key = objectKey(object);
        this.#note(key, externalProblem(key, object, this.#claims));
        if (this.#claims.hostLostTo(key, hostOf(object))) return [];
        const { service, endpoints } = compileExternalService(object, this.#settings.trustDomain, {
          isExported: this.#isExported(namespaceOf(object)),
          has: (ip) => !this.#claims.addressLostTo(key, ip),
        });
        return [
          { kind: 'service', value: service },
          ...endpoints.map((value) => ({ kind: 'workload', value }) as const),
        ];
      }
      case 'EndpointSlice': {
        const name = labelsOf(object)[serviceNameLabel];
        const service = name === undefined ? undefined : this.#indexes.Service.get(namespaceOf(object), name);
        const endpoints = compileSlice(object, service, this.#settings.trustDomain);
        return endpoints.map((value) => ({ kind: 'workload', value }) as const);
      }
      case 'HTTPRoute':
      case 'GRPCRoute':
      case 'TLSRoute':
      case 'TCPRoute': {
        const { route } = this.route(object);
        return route ? [{ kind: 'route', value: route }] : [];
      }
      case 'Node':
      case 'GatewayClass':
      case 'Gateway':
        return [];
    }
  }

  /** No namespace is past its first minute in the mesh: only then the strict mode of the mesh waits. */
  #isFirstInstall(): boolean {
    const enrolled = [...this.#indexes.Namespace.all()].filter(isEnrolled);
    return enrolled.length > 0 && enrolled.every(isEnrolling);
  }

  #note(key: ObjectKey, problem: Problem | undefined): void {
    if (problem) this.#problems.set(key, problem);
    else this.#problems.delete(key);
  }

  #isExported(namespace: string): boolean {
    return (
      namespace === (this.#settings.rootNamespace ?? rootNamespace) ||
      labelsOf(this.#indexes.Namespace.get(clusterWide, namespace))[exportLabel] === 'enabled'
    );
  }

  #isTaken(workload: WorkloadObject): boolean {
    const node = this.#indexes.Node.get(clusterWide, workload.spec.node);
    return nodeTakes(node, namespaceOf(workload));
  }

  /** Those with pods in the mesh, and those whose next pod will be. */
  #enrolled(): Set<string> {
    const names = new Set(this.#heldPods.keys());
    if (this.removal !== undefined) return names;
    for (const namespace of this.#indexes.Namespace.all())
      if (isEnrolled(namespace)) names.add(namespace.metadata.name);
    return names;
  }

  /** The first by namespace and name, where there are several. */
  #meshSettings(): MeshSettingsObject['spec'] {
    const [first] = [...this.#indexes.MeshSettings.all()].sort((a, b) =>
      objectKey(a) < objectKey(b) ? -1 : 1,
    );
    return first?.spec ?? {};
  }

  readonly #admitted = new Map<ObjectKey, { readonly node: string; readonly identity: string }>();
  #admit(key: ObjectKey, pod: CompiledPod | undefined): void {
    const before = this.#admitted.get(key);
    if (before?.node === pod?.node && before?.identity === pod?.identity) return;
    if (before) {
      const of = this.#identities.get(before.node);
      add(of, before.identity, -1);
      if (of?.size === 0) this.#identities.delete(before.node);
    }
    if (!pod) return void this.#admitted.delete(key);
    this.#admitted.set(key, { node: pod.node, identity: pod.identity });
    let of = this.#identities.get(pod.node);
    if (!of) this.#identities.set(pod.node, (of = new Map()));
    add(of, pod.identity, 1);
  }

  #count(told: Told, by: 1 | -1): void {
    if (told.kind === 'nodePod') add(this.#heldPods, told.value.namespace, by);
  }
}

/** What an agent holds: pods, and what stands for one on another machine. */
const isHeld = (object: MeshObject): object is PodObject | WorkloadObject =>
  object.kind === 'Pod' || object.kind === 'Workload';

const meaningOfNode = (node: MeshObject | undefined): unknown =>
  node && [labelsOf(node), node.metadata.annotations?.[workloadNamespacesAnnotation]];

const selectorOf = (object: ServiceObject | AccessPolicyObject | MeshObject): Labels | undefined =>
  object.kind === 'Service'
    ? object.spec.selector
    : object.kind === 'AccessPolicy'
      ? object.spec.selector?.matchLabels
      : undefined;

function add(counts: Map<string, number> | undefined, name: string, by: number): void {
  if (!counts) return;
  const now = (counts.get(name) ?? 0) + by;
  if (now > 0) counts.set(name, now);
  else counts.delete(name);
}

/** Everything at once. */
export function compile(objects: readonly MeshObject[], settings: CompileSettings): Compiler {
  const compiler = new Compiler(settings);
  compiler.apply(new Map(objects.map((object) => [objectKey(object), object])));
  return compiler;
}
