/** What labels and annotations ask for. Pure; what cannot be read is left out and named, it never costs the object. */
import type { UncapturedReason } from '../../src/model/node-pod.js';
import { meshModeOf } from '../../src/model/object-settings.js';
import type { Labels, NamespaceObject, PodObject } from '../objects/objects.js';

export type { Labels } from '../objects/objects.js';
export const labelsOf = (object: { metadata: { labels?: Labels } } | undefined): Labels =>
  object?.metadata.labels ?? {};
export const namespaceOf = (object: { metadata: { namespace?: string } }): string =>
  object.metadata.namespace ?? 'default';

/** Pods that say nothing themselves are in the mesh. */
export const isEnrolled = (namespace: NamespaceObject | undefined): boolean =>
  meshModeOf(labelsOf(namespace)) === 'enabled';

/** Undefined: it is to be held. A pod's own label wins over its namespace's; never host network. */
export function uncapturedBecause(
  pod: PodObject,
  namespace: NamespaceObject | undefined,
): UncapturedReason | undefined {
  if (pod.spec.hostNetwork) return 'host-network';
  const own = meshModeOf(labelsOf(pod));
  if (own !== undefined) return own === 'enabled' ? undefined : 'disabled-by-label';
  return isEnrolled(namespace) ? undefined : 'namespace-not-enrolled';
}

export function selects(selector: Labels | undefined, labels: Labels): boolean {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
}
