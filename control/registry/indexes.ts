/** Indexes of the registry's objects. */
import { namespaceOf } from '../../src/model/labels.js';
import { hostsOf } from '../dialects/istio/hosts.js';
import { servicesOf } from '../dialects/gateway/route-references.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import { backendKind, isTargeting, type PolicyObject } from '../compile/traffic-policy-targets.js';
import type { MeshObject, RouteObject } from '../objects/objects.js';
import { byAge } from '../objects/age.js';

/** Objects of a kind by namespace and name. Cluster-scoped ones share a namespace. */
export class NamespaceIndex<T extends MeshObject> {
  readonly #all = new Map<string, Map<string, T>>();
  set(object: T): void {
    const namespace = namespaceOf(object);
    let of = this.#all.get(namespace);
    if (!of) this.#all.set(namespace, (of = new Map()));
    of.set(object.metadata.name, object);
  }
  delete(object: T): void {
    const of = this.#all.get(namespaceOf(object));
    of?.delete(object.metadata.name);
    if (of?.size === 0) this.#all.delete(namespaceOf(object));
  }
  get(namespace: string, name: string): T | undefined {
    return this.#all.get(namespace)?.get(name);
  }
  in(namespace: string): readonly T[] {
    return [...(this.#all.get(namespace)?.values() ?? [])];
  }
  get isEmpty(): boolean {
    return this.#all.size === 0;
  }
  namespaces(): Iterable<string> {
    return this.#all.keys();
  }
  *all(): Iterable<T> {
    for (const of of this.#all.values()) yield* of.values();
  }
}

/** Objects by keys that are made of their content. */
export class KeyIndex<T extends MeshObject> {
  readonly #all = new Map<string, Map<ObjectKey, T>>();
  /** Sorted when they are first needed. A list stays the same array until its content changes. */
  readonly #lists = new Map<string, readonly T[]>();
  /** @param keysOf of an object that may be a closed form, with any content */
  constructor(private readonly keysOf: (object: T) => Iterable<string>) {}
  set(object: T): void {
    for (const key of this.keysOf(object)) {
      let of = this.#all.get(key);
      if (!of) this.#all.set(key, (of = new Map()));
      of.set(objectKey(object), object);
      this.#lists.delete(key);
    }
  }
  delete(object: T): void {
    for (const key of this.keysOf(object)) {
      const of = this.#all.get(key);
      of?.delete(objectKey(object));
      if (of?.size === 0) this.#all.delete(key);
      this.#lists.delete(key);
    }
  }
  get isEmpty(): boolean {
    return this.#all.size === 0;
  }
  /** The oldest first. */
  of(key: string): readonly T[] {
    const known = this.#lists.get(key);
    if (known) return known;
    const of = this.#all.get(key);
    if (!of) return [];
    const list = [...of.values()].sort(byAge);
    this.#lists.set(key, list);
    return list;
  }
}

/** Objects by the hosts that they are about: of all namespaces, and of each. */
export class HostIndex<T extends MeshObject> extends KeyIndex<T> {
  constructor() {
    super(hostKeys);
  }
  /** The oldest first. @param namespace absent: those of all namespaces */
  override of(host: string, namespace?: string): readonly T[] {
    return super.of(hostKey(host, namespace));
  }
}
/** A host of a closed form may be any text, with spaces: the first space ends the namespace, of which `*` is no name. */
const hostKey = (host: string, namespace = '*'): string => `${namespace} ${host}`;
/** One namespace may have many objects for a host: what is found for another does not cost more by that. */
const hostKeys = (object: MeshObject): ReadonlySet<string> =>
  new Set(hostsOf(object).flatMap((host) => [hostKey(host), hostKey(host, namespaceOf(object))]));

/** Routes by the Services (`<namespace>/<name>`) on which they depend, and by the Services that are their parents. */
export class RouteIndex {
  readonly #all = new Map<string, Map<ObjectKey, RouteObject>>();
  /** A list stays the same array until its content changes: route-parents.ts uses it as a cache key. */
  readonly #lists = new Map<string, readonly RouteObject[]>();
  set(route: RouteObject): void {
    for (const slot of slotsOf(route)) {
      let of = this.#all.get(slot);
      if (!of) this.#all.set(slot, (of = new Map()));
      of.set(objectKey(route), route);
      this.#lists.delete(slot);
    }
  }
  delete(route: RouteObject): void {
    for (const slot of slotsOf(route)) {
      const of = this.#all.get(slot);
      of?.delete(objectKey(route));
      if (of?.size === 0) this.#all.delete(slot);
      this.#lists.delete(slot);
    }
  }
  of(service: string): readonly RouteObject[] {
    let list = this.#lists.get(service);
    if (!list) {
      list = [...(this.#all.get(service)?.values() ?? [])];
      if (list.length > 0) this.#lists.set(service, list);
    }
    return list;
  }
  /** Routes of one namespace whose parent is one Service. Such routes may conflict. */
  attached(service: string, routeNamespace: string): readonly RouteObject[] {
    return this.of(attachedSlot(service, routeNamespace));
  }
}
const attachedSlot = (service: string, routeNamespace: string): string => `${routeNamespace} at ${service}`;
function slotsOf(route: RouteObject): string[] {
  const { all, parents } = servicesOf(route);
  return [...all, ...[...parents].map((service) => attachedSlot(service, namespaceOf(route)))];
}

/** Policies by the objects of their namespace that they target. */
export class TargetIndex<T extends PolicyObject> {
  readonly #all = new Map<string, Map<ObjectKey, T>>();
  /** A list stays the same array until its content changes: traffic-policy-targets.ts uses it as a cache key. */
  readonly #lists = new Map<string, readonly T[]>();
  set(policy: T): void {
    for (const slot of targetSlots(policy)) {
      let of = this.#all.get(slot);
      if (!of) this.#all.set(slot, (of = new Map()));
      of.set(objectKey(policy), policy);
      this.#lists.delete(slot);
    }
  }
  delete(policy: T): void {
    for (const slot of targetSlots(policy)) {
      const of = this.#all.get(slot);
      of?.delete(objectKey(policy));
      if (of?.size === 0) this.#all.delete(slot);
      this.#lists.delete(slot);
    }
  }
  /** Policies that name a ConfigMap of their namespace. */
  naming(namespace: string, configMap: string): readonly T[] {
    return this.of('ConfigMap', namespace, configMap);
  }
  of(kind: string, namespace: string, name: string): readonly T[] {
    const slot = `${kind} ${namespace}/${name}`;
    let list = this.#lists.get(slot);
    if (!list) {
      list = [...(this.#all.get(slot)?.values() ?? [])];
      if (list.length > 0) this.#lists.set(slot, list);
    }
    return list;
  }
}
/** What a policy about backends targets, Gateways of a TrafficPolicy, and ConfigMaps of a BackendTLSPolicy. */
function targetSlots(policy: PolicyObject): ReadonlySet<string> {
  const targets = policy.spec.targetRefs.filter(
    (ref) => backendKind(policy, ref) !== undefined || (ref.kind === 'Gateway' && isTargeting(policy)),
  );
  const configMaps =
    policy.kind === 'BackendTLSPolicy' ? (policy.spec.validation.caCertificateRefs ?? []) : [];
  return new Set([
    ...targets.map(({ kind, name }) => `${kind} ${namespaceOf(policy)}/${name}`),
    ...configMaps.map(({ name }) => `ConfigMap ${namespaceOf(policy)}/${name}`),
  ]);
}
