/** The Services to which a route refers. Pure. */
import type { HttpRouteRule, RouteFilterObject, RouteObject } from '../../objects/objects.js';
import { isServiceParent, refNamespace } from './route-parents.js';

/** Services (`<namespace>/<name>`) on which a route's compiled form depends, and the subset that are its parents. */
export function servicesOf(object: RouteObject): {
  readonly all: ReadonlySet<string>;
  readonly parents: ReadonlySet<string>;
} {
  const name = (ref: { readonly namespace?: string; readonly name: string }): string =>
    `${refNamespace(ref, object)}/${ref.name}`;
  const parents = new Set((object.spec.parentRefs ?? []).filter(isServiceParent).map(name));
  const all = new Set(parents);
  const mirrored = (filters: readonly RouteFilterObject[] | undefined): void => {
    for (const { requestMirror, externalAuth } of filters ?? [])
      for (const filter of [requestMirror, externalAuth]) if (filter) all.add(name(filter.backendRef));
  };
  const rules: readonly Pick<HttpRouteRule, 'filters' | 'backendRefs'>[] = object.spec.rules ?? [];
  for (const rule of rules) {
    mirrored(rule.filters);
    for (const ref of rule.backendRefs ?? []) {
      all.add(name(ref));
      mirrored(ref.filters);
    }
  }
  return { all, parents };
}
