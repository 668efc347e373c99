/** The status of pods: the condition `weft.dev/captured`, from the report of the pod's node. Pure. */
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import { capturedCondition, type PodObject } from '../objects/objects.js';
import { rfc3339 } from './conditions.js';
import type { StatusUpdate } from './status.js';

/** The API server refuses longer messages, and the write would be retried without end. */
const whyCharsMax = 1_024;

/** A node's clock may be wrong, and its report may hold any number. */
const pastMs = (ms: number): number => (ms >= 0 && ms <= Date.now() ? ms : Date.now());

export interface PodCapture {
  readonly captured: boolean;
  readonly sinceMs: number;
  readonly why: string;
}

/** @param state as the pod's agent reports it; undefined: the agent does not name the pod. Undefined where the pod has this condition. */
export function podStatus(pod: PodObject, state: PodCapture | undefined): StatusUpdate | undefined {
  const present = pod.status?.conditions?.find(({ type }) => type === capturedCondition);
  if (!state && present?.status !== 'True') return undefined;
  const wanted = state?.captured
    ? { status: 'True', reason: 'Captured', message: `by the agent of node ${pod.spec.nodeName}` }
    : state
      ? { status: 'False', reason: 'Waiting', message: state.why.slice(0, whyCharsMax) }
      : { status: 'False', reason: 'NotInMesh', message: `node ${pod.spec.nodeName} holds it no more` };
  if (
    present?.status === wanted.status &&
    present.reason === wanted.reason &&
    present.message === wanted.message
  )
    return undefined;
  const sinceMs = state?.captured ? pastMs(state.sinceMs) : Date.now();
  return {
    // A pod of the same name that is made later is another one.
    boundTo: ['uid'],
    status: {
      conditions: [{ type: capturedCondition, ...wanted, lastTransitionTime: rfc3339(sinceMs) }],
    },
  };
}

/**
 * A node may report its own pods alone, whatever its report names: pods are looked up by `spec.nodeName`, which is compared with the node
 * of the caller's token. A caller that is no node (a waypoint) has no pods.
 * @param node the caller
 */
export function* podStatuses(
  pods: Iterable<PodObject>,
  node: string,
  report: Pick<NodeReport, 'pods'>,
): Generator<{ readonly pod: PodObject; readonly update: StatusUpdate }> {
  const reported = new Map(report.pods.map((state) => [state.podUid, state]));
  for (const pod of pods) {
    if (pod.spec.nodeName !== node) continue;
    const { uid } = pod.metadata;
    const update = podStatus(pod, uid === undefined ? undefined : reported.get(uid));
    if (update) yield { pod, update };
  }
}
