/** What is recompiled when an AuthorizationPolicy or a RequestAuthentication changes. Pure. */
import type { Recompile } from '../../kinds/kind.js';
import type { ObjectChange, Registry } from '../../registry/registry.js';
import type { IstioObject } from '../../objects/objects.js';
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

/** The same for a RequestAuthentication, which is a setting of Services, too. */
export function requestDependents(
  change: ObjectChange<IstioObject<'RequestAuthentication'>>,
  registry: Registry,
  recompile: Recompile,
): void {
  const { before, now, namespace } = change;
  // Otherwise only keys have changed: the policies of pods name none.
  if (before !== now) securityDependents(change, registry, recompile);
  const isRoot = namespace === registry.rootNamespace;
  for (const { targets } of [before, now].flatMap((one) => (one ? [scopeOf(one)] : []))) {
    for (const name of targets?.gateways ?? []) recompile.servicesThrough({ namespace, name });
    // The pods of a target reference the policy of its Service.
    if (before !== now)
      for (const name of targets?.services ?? [])
        recompile.selected(namespace, registry.service(namespace, name)?.spec.selector);
    if ((!targets || targets.services.length > 0) && recompile.once(`tokens of ${namespace}`))
      recompile.objects(isRoot ? registry.indexes.Service.all() : registry.services(namespace));
    if (isRoot && targets && targets.classes.length > 0 && recompile.once('tokens of classes'))
      recompile.objects(registry.indexes.Service.all());
  }
}
