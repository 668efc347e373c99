/** The policies of Istio's security kinds that the pods of a namespace, and the Services of its waypoints, have. Pure. */
import { selects, type Labels } from '../../../src/model/labels.js';
import type { IstioObject } from '../../objects/objects.js';
import type { Registry } from '../../registry/registry.js';
import { hasEffect } from './authorization.js';
import { mtlsLevels, mtlsOf, type MtlsLevels } from './mtls.js';
import { resourceNameOf, scopeOf, type SecurityPolicy } from './security-scope.js';

export interface NamespaceSecurity {
  /**
   * Keys of the policies that a pod references.
   * @param isEnrolling whether its namespace is in its first enrollment: its clients may not be in the mesh yet
   */
  podPolicies(labels: Labels, isEnrolling: boolean): string[];
  /** The PeerAuthentications that concern its pods. */
  readonly mtls: MtlsLevels;
  /** Policies that may target a waypoint of the namespace. */
  readonly ofWaypoints: readonly SecurityPolicy[];
}

export function namespaceSecurity(namespace: string, registry: Registry): NamespaceSecurity {
  const { AuthorizationPolicy, RequestAuthentication } = registry.indexes;
  const root = registry.rootNamespace;
  const policies: readonly SecurityPolicy[] = [...new Set([namespace, root])].flatMap((one) => [
    ...AuthorizationPolicy.in(one),
    ...RequestAuthentication.in(one),
  ]);
  const scoped = policies.map((object) => ({ object, scope: scopeOf(object) }));
  // Those of the root namespace select pods of all namespaces.
  const selecting = scoped
    .flatMap(({ object, scope: { selector } }) =>
      selector && hasEffect(object) ? [{ key: resourceNameOf(object).key, selector }] : [],
    )
    // The order in which objects arrived must not show.
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  const mtls = mtlsLevels(namespace, registry);
  return {
    mtls,
    podPolicies: (labels, isEnrolling) => [
      ...selecting.filter(({ selector }) => selects(selector, labels)).map(({ key }): string => key),
      ...(isEnrolling ? [] : mtlsOf(mtls, labels)).map(
        (object: IstioObject<'PeerAuthentication'>): string => resourceNameOf(object).key,
      ),
    ],
    ofWaypoints: scoped.flatMap(({ object, scope: { targets } }) =>
      targets && targets.gateways.length + targets.classes.length > 0 ? [object] : [],
    ),
  };
}
