/**
 * The first enrollment of a namespace, at most one minute. Nodes enroll its pods one after the other. Strict mode at the first node would
 * refuse the pods of the other nodes, and a pod that is not enrolled yet does not accept tunnels. The namespace is therefore permissive until
 * its nodes have reported all pods. The condition `weft.dev/Enrolled` of the Namespace records this state. Policies are in force from the
 * start.
 *
 * A namespace without the condition, or with any other value of it, follows its labels: an unknown state opens nothing. Only the control
 * plane writes the condition: permission to write namespaces does not include `namespaces/status`. Pure.
 */
import { firstEnrollmentOf, isStrict } from '../../src/model/object-settings.js';
import { isEnrolled, uncapturedBecause } from './enrollment.js';
import { labelsOf, namespaceOf } from '../../src/model/labels.js';
import {
  capturedCondition,
  enrolledCondition,
  type Condition,
  type MeshSettingsObject,
  type NamespaceObject,
  type PodObject,
} from '../objects/objects.js';

/** Strict mode is delayed at most this long, even if a node does not report (docs/limits.md). */
export const enrollMsMax = 60_000;
/** Time from the last pod's report to strict mode, in which pending plaintext requests finish. */
export const settleMs = 3_000;
const enrolling = 'Enrolling';
/** Limit of nodes that the condition's message names. */
const nodesShownMax = 5;

const conditionOf = ({ status }: NamespaceObject): Condition | undefined =>
  status?.conditions?.find(({ type }) => type === enrolledCondition);

/** Whether the namespace is in its first enrollment: it is permissive, and a pod is dialed by tunnel once its node has reported it. */
export function isEnrolling(namespace: NamespaceObject | undefined): boolean {
  if (!namespace || !isEnrolled(namespace)) return false;
  const condition = conditionOf(namespace);
  return condition?.status === 'False' && condition.reason === enrolling;
}

export const isCaptured = ({ status }: PodObject): boolean =>
  status?.conditions?.some((one) => one.type === capturedCondition && one.status === 'True') ?? false;

export interface EnrollmentLookup {
  readonly namespaces: Iterable<NamespaceObject>;
  readonly pods: Iterable<PodObject>;
  readonly settings: Iterable<MeshSettingsObject>;
}

/**
 * Whether the first enrollment of a namespace may begin. It may not if the namespace was in the mesh before: one that has the condition, or
 * a captured pod, stays as strict as it is. In a strict mesh only the very first namespaces have a first enrollment.
 */
export function mayBeginEnrolling(namespace: NamespaceObject, registry: EnrollmentLookup): boolean {
  if (!isEnrolled(namespace) || conditionOf(namespace)) return false;
  if (firstEnrollmentOf(namespace.metadata.annotations ?? {}) === 'closed') return false;
  const { name } = namespace.metadata;
  const meshIsStrict = [...registry.settings].some(({ spec }) => spec.mode === 'strict');
  for (const pod of registry.pods)
    if ((meshIsStrict || namespaceOf(pod) === name) && isCaptured(pod)) return false;
  if (meshIsStrict)
    for (const other of registry.namespaces) if (conditionOf(other)?.status === 'True') return false;
  return true;
}

/** The condition of a namespace whose first enrollment begins. */
export const enrollingCondition = (): Condition => ({
  type: enrolledCondition,
  status: 'False',
  reason: enrolling,
  message: `permissive until the nodes have reported all pods, for at most ${enrollMsMax / 1000} s`,
});

/** Pods that may still send plaintext: they run, belong in the mesh, and no node has reported them as captured. */
export function unreported(
  pods: Iterable<PodObject>,
  namespaceNamed: (name: string) => NamespaceObject | undefined,
): PodObject[] {
  return [...pods].filter((pod) => {
    const { phase, podIPs = [] } = pod.status ?? {};
    return (
      !isCaptured(pod) &&
      uncapturedBecause(pod, namespaceNamed(namespaceOf(pod))) === undefined &&
      pod.metadata.deletionTimestamp === undefined &&
      phase !== 'Failed' &&
      phase !== 'Succeeded' &&
      podIPs.length > 0
    );
  });
}

/**
 * Pods created before the first enrollment began. Strict mode does not wait for younger ones: a new pod is enrolled before its first process
 * starts, and a steady stream of new pods could delay strict mode indefinitely.
 */
export const startedBefore = (pods: readonly PodObject[], sinceMs: number): PodObject[] =>
  pods.filter(({ metadata }) => !(Date.parse(metadata.creationTimestamp ?? '') > sinceMs));

export interface EnrollmentProgress {
  /** Unreported pods of the whole mesh: a client may be in any namespace. */
  readonly unreported: readonly PodObject[];
  /** Time since the last pod was reported; undefined while pods are unreported. */
  readonly settledMs: number | undefined;
  /** Time since the first enrollment began, by the clock that shows more. */
  readonly elapsedMs: number;
}

/** The condition that the namespace should have; undefined: none. */
export function enrolledConditionNow(
  namespace: NamespaceObject,
  progress: EnrollmentProgress,
): Condition | undefined {
  if (!isEnrolled(namespace)) return undefined;
  const now = conditionOf(namespace);
  const condition = (status: 'True' | 'False', reason: string, message: string): Condition => ({
    type: enrolledCondition,
    status,
    reason,
    message,
  });
  const mode = isStrict(labelsOf(namespace)) ? 'strict mode is in force' : 'it is permissive';
  if (!isEnrolling(namespace)) {
    // The reason records how the first enrollment ended, for as long as the condition exists.
    const reason = now?.reason ?? 'Enrolled';
    return condition('True', reason, `in the mesh: ${mode}`);
  }
  if (progress.elapsedMs >= enrollMsMax) return condition('True', 'DeadlineExceeded', `in the mesh: ${mode}`);
  if (progress.settledMs !== undefined && progress.settledMs >= settleMs)
    return condition('True', 'Enrolled', `in the mesh: ${mode}`);
  return condition('False', enrolling, waitingText(namespace, progress.unreported));
}

function waitingText(namespace: NamespaceObject, pods: readonly PodObject[]): string {
  const nodes = new Map<string, number>();
  for (const { spec } of pods) nodes.set(spec.nodeName, (nodes.get(spec.nodeName) ?? 0) + 1);
  const shown = [...nodes].sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, nodesShownMax);
  const where = shown.map(([node, count]) => `${count} on ${node}`).join(', ');
  const more = nodes.size > shown.length ? ` and ${nodes.size - shown.length} more nodes` : '';
  const what = isStrict(labelsOf(namespace)) ? 'strict mode is pending: it' : 'it';
  return pods.length === 0
    ? `${what} begins in a moment: all pods are enrolled`
    : `${what} waits for ${pods.length} pods (${where}${more}), for ${enrollMsMax / 1000} s at most; until then plaintext is accepted`;
}
