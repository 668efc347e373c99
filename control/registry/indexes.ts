/** Indexes of the registry's objects. */
import { namespaceOf } from '../compile/enrollment.js';
import type { MeshObject, RouteObject } from '../objects/objects.js';
import { servicesOf } from '../compile/routes.js';

/** Kind, namespace and name of an object: unique at any time. */
export type ObjectKey = string;
export const objectKey = (object: MeshObject): ObjectKey =>
  `${object.kind} ${namespaceOf(object)}/${object.metadata.name}`;

export interface Index {
  set(object: MeshObject): void;
  delete(object: MeshObject): void;
}

/** Objects of a kind by namespace and name. Cluster-scoped ones share a namespace. */
export class ByNamespace<T extends MeshObject> implements Index {
  readonly #all = new Map<string, Map<string, T>>();
  set(object: MeshObject): void {
    const namespace = namespaceOf(object);
    let of = this.#all.get(namespace);
    if (!of) this.#all.set(namespace, (of = new Map()));
    of.set(object.metadata.name, object as T);
  }
  delete(object: MeshObject): void {
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
  namespaces(): Iterable<string> {
    return this.#all.keys();
  }
  *all(): Iterable<T> {
    for (const of of this.#all.values()) yield* of.values();
  }
}
/** Routes by the Services (`<namespace>/<name>`) on which they depend, and by those to which they are attached. */
export class RoutesByService {
  readonly #all = new Map<string, Map<ObjectKey, RouteObject>>();
  /** The same list until it changes: what follows from it is kept by it (route-parents.ts). */
  readonly #lists = new Map<string, readonly RouteObject[]>();
  set(route: RouteObject): void {
    for (const place of placesOf(route)) {
      let of = this.#all.get(place);
      if (!of) this.#all.set(place, (of = new Map()));
      of.set(objectKey(route), route);
      this.#lists.delete(place);
    }
  }
  delete(route: RouteObject): void {
    for (const place of placesOf(route)) {
      const of = this.#all.get(place);
      of?.delete(objectKey(route));
      if (of?.size === 0) this.#all.delete(place);
      this.#lists.delete(place);
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
  /** Routes of one namespace attached to one Service: these may conflict. */
  attached(service: string, routeNamespace: string): readonly RouteObject[] {
    return this.of(attachedPlace(service, routeNamespace));
  }
}
const attachedPlace = (service: string, routeNamespace: string): string => `${routeNamespace} at ${service}`;
function placesOf(route: RouteObject): string[] {
  const { all, parents } = servicesOf(route);
  return [...all, ...[...parents].map((service) => attachedPlace(service, namespaceOf(route)))];
}
