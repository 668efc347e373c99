/** Which pods are to be in the mesh, by labels. Pure. */
import { labelsOf } from '../../src/model/labels.js';
import type { UncapturedReason } from '../../src/model/node-pod.js';
import { meshModeOf } from '../../src/model/object-settings.js';
import type { NamespaceObject, PodObject } from '../objects/objects.js';

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
