/**
 * Compiles Kubernetes objects to the resources that nodes and waypoints are sent. The same objects, in any order, give the same resources,
 * whether they come from files or from the Kubernetes API. A change recompiles only the objects that depend on it (control/dependencies.ts).
 */
import { mayRequestCertificate, NodeIdentities } from '../certificates/authorize.js';
import { boundedText, type Remark } from '../dialects/remarks.js';
import { rulesOfService } from '../dialects/istio/destination-rule/in-force.js';
import { endpointOwners } from '../dialects/istio/entry-addresses.js';
import { namespaceSecurity } from '../dialects/istio/pod-policies.js';
import { outboundOf } from '../dialects/istio/sidecar-bounds.js';
import { requestTokens } from '../dialects/istio/request-tokens.js';
import { selectingEntries } from '../dialects/istio/service-entry-compile.js';
import { affectedBy } from '../dependencies.js';
import type { CompileContext, Compiled } from '../kinds/kind.js';
import { kinds } from '../kinds/kinds.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { Workload as CompiledWorkload } from '../../src/model/workload.js';
import type { MeshObject, RouteObject, ServiceObject } from '../objects/objects.js';
import type { Problem } from '../registry/claims.js';
import { Registry } from '../registry/registry.js';
import { inAuditMode } from './audit.js';
import { CrowdedPorts } from './crowded-ports.js';
import { isEnrolled } from './enrollment.js';
import { Observable } from './observable.js';
import { rootNamespace } from './policies.js';
import { authenticationOf, namespaceGuards } from './token-guard.js';
import { resourceId, type CompiledResource, type ResourceChanges } from './resource.js';
import { compileRoute, type CompiledRoute } from '../dialects/gateway/routes.js';
import type { CompileSettings, Removal } from './settings.js';
import { CompileBudget } from './compile-budget.js';
import { RecompileQueue } from './turns.js';

const byName = (a: MeshObject, b: MeshObject): number => (a.metadata.name < b.metadata.name ? -1 : 1);
const nothing: Compiled = { resources: [] };
const noRemarks: readonly Remark[] = [];

/** Computes a value once for each key. */
function perChange<K, V>(compute: (key: K) => V): (key: K) => V {
  const known = new Map<K, { readonly value: V }>();
  return (key) => {
    let found = known.get(key);
    if (!found) known.set(key, (found = { value: compute(key) }));
    return found.value;
  };
}

/** The registry and its compiled form. Sole owner of the compiled resources, problems and placements. */
export class Compiler extends Registry {
  #settings: CompileSettings;
  /** Ownership conflicts, by object. */
  readonly #problems = new Map<ObjectKey, Problem>();
  readonly #remarks = new Map<ObjectKey, readonly Remark[]>();
  /** Resources of each object. */
  readonly #resources = new Map<ObjectKey, readonly CompiledResource[]>();
  readonly #identities = new NodeIdentities();
  /** What waypoints may report. */
  readonly observable = new Observable();
  /** Namespace → number of its enrolled pods. */
  readonly #enrolledPods = new Map<string, number>();
  #enrolledNamespaces: ReadonlySet<string> = new Set();
  readonly #crowded = new CrowdedPorts();
  readonly #later = new RecompileQueue();
  /** The version of the trusted roots that was sent last. */
  #rootsVersion: string | undefined;

  /** @param budget the time of each namespace */
  constructor(
    settings: CompileSettings,
    private readonly budget: Pick<CompileBudget, 'has' | 'spend'> = new CompileBudget(),
  ) {
    super(settings.rootNamespace ?? rootNamespace, (object) => kinds[object.kind].claims?.(object));
    this.#settings = settings;
  }

  get removal(): Removal | undefined {
    return this.#settings.removal;
  }
  /** The ownership conflict that keeps an object from being in force as written; undefined if there is none. */
  problemOf(object: MeshObject): Problem | undefined {
    return this.#problems.get(objectKey(object));
  }
  /** What of an object in force is not carried out, or differs. */
  remarksOf(object: MeshObject): readonly Remark[] {
    return this.#remarks.get(objectKey(object)) ?? noRemarks;
  }
  problems(): ReadonlyMap<ObjectKey, Problem> {
    return this.#problems;
  }
  get enrolledNamespaces(): ReadonlySet<string> {
    return this.#enrolledNamespaces;
  }
  /** Compiles a route as it is now, with the problems that its status reports. */
  route(object: RouteObject): CompiledRoute {
    return compileRoute(object, this);
  }
  /** A Pod and a Workload of this name, as compiled. */
  workloadsNamed(namespace: string, name: string): readonly CompiledWorkload[] {
    const { Pod, Workload } = this.indexes;
    return [Pod.get(namespace, name), Workload.get(namespace, name)].flatMap((object) =>
      ((object && this.#resources.get(objectKey(object))) ?? []).flatMap((one) =>
        one.kind === 'workload' ? [one.value] : [],
      ),
    );
  }
  /** Whether tokens of requests to a Service are validated, once it has a waypoint. */
  validatesTokens(service: ServiceObject): boolean {
    const waypoint = this.waypointOf(service);
    return (
      authenticationOf(service, this).size > 0 ||
      (waypoint !== undefined && requestTokens(service, waypoint, this).length > 0)
    );
  }

  /** How many ports of Services are closed because their tokens have too many issuers. */
  get crowdedPorts(): number {
    return this.#crowded.size;
  }
  /** A port that is closed because its tokens have too many issuers, one of them the object's; undefined: there is none. */
  crowdedPort(object: MeshObject): ServicePolicy | undefined {
    return this.#crowded.of(object);
  }

  /** Whether a caller may request a certificate for an identity. */
  mayRequestCertificate(caller: string, identity: string): boolean {
    return mayRequestCertificate(caller, identity, {
      trustDomain: this.#settings.trustDomain,
      rootNamespace: this.rootNamespace,
      identities: this.#identities,
      isWaypoint: (name) => this.isWaypoint(name),
    });
  }

  /** Replaces the settings and recompiles every object. */
  configure(settings: CompileSettings): ResourceChanges {
    this.#settings = settings;
    this.rootNamespace = settings.rootNamespace ?? rootNamespace;
    this.claims.reconsiderAll();
    this.#later.clear();
    return this.#compile(this.objects());
  }

  /**
   * Applies changes to the registry and recompiles what depends on them.
   * @param changed objects by key; undefined: deleted
   * @param isSpread leave to `continue` what may follow in later turns
   */
  apply(changed: ReadonlyMap<ObjectKey, MeshObject | undefined>, isSpread = false): ResourceChanges {
    const changes = this.update(changed);
    const { everything, objects, later, claims } = affectedBy(changes, this);
    for (const object of claims) this.claims.reconsider(objectKey(object), object);
    for (const object of this.claims.takeContested()) objects.set(objectKey(object), object);
    const deleted = changes.filter(({ now }) => now === undefined).map(({ key }) => key);
    for (const [key, object] of later) {
      if (isSpread && !objects.has(key)) this.#later.add(namespaceOf(object), key);
      else objects.set(key, object);
    }
    if (everything) this.#later.clear();
    for (const key of [...deleted, ...objects.keys()]) this.#later.delete(key);
    return this.#compile(everything ? this.objects() : objects.values(), deleted, isSpread);
  }

  /** Number of objects that `continue` has yet to recompile. */
  get waiting(): number {
    return this.#later.size;
  }

  /** Recompiles waiting objects, at least one, until `isOver` returns true. */
  continue(isOver: () => boolean): ResourceChanges {
    return this.#compile(this.#takeWaiting(isOver));
  }

  *#takeWaiting(isOver: () => boolean): Iterable<MeshObject> {
    do {
      const key = this.#later.take();
      const object = key === undefined ? undefined : this.object(key);
      const fromMs = performance.now();
      // The caller compiles the object before it asks for the next one.
      if (object) yield object;
      this.#later.spent(performance.now() - fromMs);
    } while (this.waiting > 0 && !isOver());
  }

  /** All resources as they are now. */
  *all(): Iterable<CompiledResource> {
    for (const resources of this.#resources.values()) yield* resources;
    for (const namespace of this.#enrolledNamespaces) yield { kind: 'namespace', value: namespace };
    yield this.#trust();
  }

  /** @param isSpread objects of namespaces that have used up their time wait for `continue` */
  #compile(
    objects: Iterable<MeshObject>,
    deleted: readonly ObjectKey[] = [],
    isSpread = false,
  ): ResourceChanges {
    const updated = new Map<string, CompiledResource>();
    const removed = new Map<string, CompiledResource>();
    const replaceResources = (key: ObjectKey, resources: readonly CompiledResource[]): void => {
      const kept = new Set(resources);
      const former = new Set(this.#resources.get(key));
      this.observable.replace(former, resources);
      for (const one of former) {
        if (kept.has(one)) continue;
        this.#count(one, -1);
        const id = resourceId(one);
        // Another object of this change may have produced the same resource already: then it has moved and is not removed.
        if (!updated.has(id)) removed.set(id, one);
      }
      for (const one of resources) {
        if (former.has(one)) continue;
        this.#count(one, 1);
        const id = resourceId(one);
        updated.set(id, one);
        removed.delete(id);
      }
      if (resources.length > 0) this.#resources.set(key, resources);
      else this.#resources.delete(key);
    };
    const replace = (
      key: ObjectKey,
      { resources, placement, problem, remarks = noRemarks }: Compiled,
    ): void => {
      this.#identities.set(key, placement);
      if (problem) this.#problems.set(key, { ...problem, message: boundedText(problem.message) });
      else this.#problems.delete(key);
      if (remarks.length === 0) this.#remarks.delete(key);
      else this.#remarks.set(key, remarks);
      replaceResources(key, resources);
    };
    const context = this.#context();
    for (const key of deleted) replace(key, nothing);
    for (const object of objects) {
      const key = objectKey(object);
      const kind = kinds[object.kind];
      const namespace = namespaceOf(object);
      if (kind.interim && isSpread && !this.budget.has(namespace)) {
        replaceResources(key, kind.interim(object, context, this.#resources.get(key) ?? []));
        this.#later.add(namespace, key);
        continue;
      }
      const fromMs = kind.interim && performance.now();
      const compiled = kind.compile?.(object, context) ?? nothing;
      replace(key, { ...compiled, resources: inAuditMode(compiled.resources, this) });
      if (fromMs !== undefined) this.budget.spend(namespace, performance.now() - fromMs);
    }
    const before = this.#enrolledNamespaces;
    this.#enrolledNamespaces = this.#findEnrolled();
    for (const namespace of this.#enrolledNamespaces) {
      if (!before.has(namespace))
        updated.set(`namespace ${namespace}`, { kind: 'namespace', value: namespace });
    }
    for (const namespace of before) {
      if (!this.#enrolledNamespaces.has(namespace))
        removed.set(`namespace ${namespace}`, { kind: 'namespace', value: namespace });
    }
    const { rootsVersion } = this.#settings;
    if (this.#rootsVersion !== rootsVersion) updated.set('trust', this.#trust());
    this.#rootsVersion = rootsVersion;
    return { updated: [...updated.values()], removed: [...removed.values()] };
  }

  #context(): CompileContext {
    return {
      settings: this.#settings,
      registry: this,
      mesh: this.meshSettings?.spec ?? {},
      sorted: perChange((namespace) => ({
        services: [...this.indexes.Service.in(namespace)].sort(byName),
        policies: [...this.indexes.AccessPolicy.in(namespace)].sort(byName),
      })),
      rulesOf: perChange((service) => rulesOfService(service, this)),
      security: perChange((namespace) => namespaceSecurity(namespace, this)),
      outbound: perChange((namespace) => outboundOf(namespace, this)),
      endpointOwners: perChange((namespace) => endpointOwners(namespace, this)),
      guards: perChange((namespace) => namespaceGuards(namespace, this)),
      selectingEntries: perChange((namespace) => selectingEntries(namespace, this)),
    };
  }

  #trust(): CompiledResource {
    return { kind: 'trust', value: this.#settings.rootsVersion };
  }

  /** Namespaces with enrolled pods, and those whose next pod will be enrolled. */
  #findEnrolled(): Set<string> {
    const names = new Set(this.#enrolledPods.keys());
    if (this.removal !== undefined) return names;
    for (const namespace of this.indexes.Namespace.all())
      if (isEnrolled(namespace)) names.add(namespace.metadata.name);
    return names;
  }

  #count(resource: CompiledResource, by: 1 | -1): void {
    if (resource.kind === 'servicePolicy') this.#crowded[by > 0 ? 'add' : 'delete'](resource.value);
    if (resource.kind !== 'nodePod') return;
    const { namespace } = resource.value;
    const count = (this.#enrolledPods.get(namespace) ?? 0) + by;
    if (count > 0) this.#enrolledPods.set(namespace, count);
    else this.#enrolledPods.delete(namespace);
  }
}

/** Compiles all objects at once. */
export function compile(objects: readonly MeshObject[], settings: CompileSettings): Compiler {
  const compiler = new Compiler(settings);
  compiler.apply(new Map(objects.map((object) => [objectKey(object), object])));
  return compiler;
}
