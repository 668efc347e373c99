/** Which pods belong in the mesh, by their labels and those of their namespace. Pure. */
import { labelsOf } from '../../src/model/labels.js';
import type { UncapturedReason } from '../../src/model/node-pod.js';
import { meshModeOf } from '../../src/model/object-settings.js';
import type { NamespaceObject, PodObject } from '../objects/objects.js';

/** Whether pods of the namespace without a label of their own are in the mesh. */
export const isEnrolled = (namespace: NamespaceObject | undefined): boolean =>
  meshModeOf(labelsOf(namespace)) === 'enabled';

/**
 * Why a pod is not in the mesh; undefined if it is. The pod's own label takes precedence over its namespace's. A pod with host network is
 * never in the mesh.
 */
export function uncapturedBecause(
  pod: PodObject,
  namespace: NamespaceObject | undefined,
): UncapturedReason | undefined {
  if (pod.spec.hostNetwork) return 'host-network';
  const own = meshModeOf(labelsOf(pod));
  if (own !== undefined) return own === 'enabled' ? undefined : 'disabled-by-label';
  return isEnrolled(namespace) ? undefined : 'namespace-not-enrolled';
}
