/** A node's report as writes to the API server: conditions of pods that are bound to that node. Pure. */
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import type { PodObject } from '../objects/objects.js';
import { podCondition } from './conditions.js';
import type { Write } from '../kubernetes/apply-queue.js';

/**
 * A node may report its own pods alone, whatever its report names: pods are looked up by `spec.nodeName`, which is compared with the node
 * of the caller's token. A caller that is no node (a waypoint) has no pods.
 * @param node the caller
 */
export function* podWrites(
  pods: Iterable<PodObject>,
  node: string,
  report: Pick<NodeReport, 'pods'>,
): Generator<{ readonly pod: PodObject; readonly write: Write }> {
  const said = new Map(report.pods.map((state) => [state.podUid, state]));
  for (const pod of pods) {
    if (pod.spec.nodeName !== node) continue;
    const { uid } = pod.metadata;
    const write = podCondition(pod, uid === undefined ? undefined : said.get(uid));
    if (write) yield { pod, write };
  }
}
