/** The status of pods: the condition `weft.dev/captured`, from the report of the pod's node. Pure. */
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import { capturedCondition, type PodObject } from '../objects/objects.js';
import { rfc3339 } from './conditions.js';
import type { StatusUpdate } from './status.js';

/** The API server refuses longer messages, and the write would be retried without end. */
const whyCharsMax = 1_024;

/** The reported time if it is in the past, else the current time: a node's clock may be wrong, and its report may contain any number. */
const pastMs = (ms: number): number => (ms >= 0 && ms <= Date.now() ? ms : Date.now());

export interface PodCapture {
  readonly captured: boolean;
  readonly sinceMs: number;
  readonly why: string;
}

/**
 * The captured condition of a pod. Undefined if the pod has this condition already.
 * @param state the report of the pod's agent; undefined: the report does not name the pod
 */
export function podStatus(pod: PodObject, state: PodCapture | undefined): StatusUpdate | undefined {
  const present = pod.status?.conditions?.find(({ type }) => type === capturedCondition);
  if (!state && present?.status !== 'True') return undefined;
  const wanted = state?.captured
    ? { status: 'True', reason: 'Captured', message: `by the agent of node ${pod.spec.nodeName}` }
    : state
      ? { status: 'False', reason: 'Waiting', message: state.why.slice(0, whyCharsMax) }
      : { status: 'False', reason: 'NotInMesh', message: `no longer enrolled on node ${pod.spec.nodeName}` };
  if (
    present?.status === wanted.status &&
    present.reason === wanted.reason &&
    present.message === wanted.message
  )
    return undefined;
  const sinceMs = state?.captured ? pastMs(state.sinceMs) : Date.now();
  return {
    // The UID keeps the write from a later pod of the same name.
    boundTo: ['uid'],
    status: {
      conditions: [{ type: capturedCondition, ...wanted, lastTransitionTime: rfc3339(sinceMs) }],
    },
  };
}

/**
 * The status updates of a node's report. A node can report only its own pods, whatever its report names: `spec.nodeName` is compared with the
 * node of the caller's token. A caller that is not a node (a waypoint) has no pods.
 * @param node the authenticated caller
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
