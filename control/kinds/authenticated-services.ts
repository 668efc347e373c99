/** Services whose settings about tokens depend on their pods. Pure. */
import { labelsOf, selects } from '../../src/model/labels.js';
import { isGuarded } from '../compile/token-guard.js';
import type { PodObject, ServiceObject, WorkloadObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';

/**
 * The Services of a namespace that select one of these pods, and whose policies about tokens depend on ports or labels of their pods.
 * @param pods a pod before and after a change
 */
export function authenticatedServices(
  namespace: string,
  pods: readonly (PodObject | WorkloadObject | undefined)[],
  registry: Registry,
): readonly ServiceObject[] {
  if (!registry.hasAuthentication) return [];
  const hasSelectors = [...new Set([namespace, registry.rootNamespace])].some((one) =>
    registry.indexes.RequestAuthentication.in(one).some(({ spec }) => spec.selector !== undefined),
  );
  return registry
    .services(namespace)
    .filter(
      (service) =>
        pods.some((pod) => pod && selects(service.spec.selector, labelsOf(pod))) &&
        (hasSelectors ||
          ((service.spec.ports ?? []).some(({ targetPort }) => typeof targetPort === 'string') &&
            isGuarded(service, registry))),
    );
}
