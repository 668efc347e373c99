/** What is recompiled when an AuthorizationPolicy or a RequestAuthentication changes. Pure. */
import type { Recompile } from '../../kinds/kind.js';
import type { ObjectChange, Registry } from '../../registry/registry.js';
import { scopeOf, type SecurityPolicy } from './security-scope.js';

/** The policies that target a ServiceEntry of their namespace. */
export const policiesOfEntry = (
  namespace: string,
  name: string,
  { indexes }: Pick<Registry, 'indexes'>,
): readonly SecurityPolicy[] =>
  [...indexes.AuthorizationPolicy.in(namespace), ...indexes.RequestAuthentication.in(namespace)].filter(
    (policy) => policy.invalid === undefined && scopeOf(policy).targets?.serviceEntries.includes(name),
  );

export function securityDependents(
  { before, now, namespace }: ObjectChange<SecurityPolicy>,
  registry: Registry,
  recompile: Recompile,
): void {
  const isRoot = namespace === registry.rootNamespace;
  const scopes = [before, now].flatMap((one) => (one ? [scopeOf(one)] : []));
  const selectors = scopes.flatMap(({ selector }) => (selector ? [selector] : []));
  // Policies of the root namespace select pods of all namespaces.
  if (selectors.length > 0)
    for (const one of isRoot ? registry.namespaces() : [namespace])
      for (const selector of selectors) recompile.selected(one, selector);
  for (const { targets } of scopes) {
    for (const name of targets?.gateways ?? []) recompile.servicesThrough({ namespace, name });
    if (!isRoot || !targets || targets.classes.length === 0) continue;
    const { Service, ServiceEntry, ExternalService } = registry.indexes;
    for (const index of [Service, ServiceEntry, ExternalService]) recompile.objects(index.all());
  }
}
