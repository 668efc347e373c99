/**
 * The first minute of a namespace in the mesh. Nodes enroll its pods one after the other: strict mode at the first of them would refuse
 * the pods of the others, and a tunnel to a pod that is not enrolled yet finds nobody. So the namespace is permissive until its nodes have
 * reported all pods, which the condition `weft.dev/Enrolled` of the Namespace says. Policies are in force from the first.
 *
 * A namespace without the condition, or with one that says anything else, is as its labels say: what is not known opens nothing. The
 * condition is the control plane's alone: `namespaces/status` is not for who may write namespaces. Pure.
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

/** Strict mode waits no longer than this, whatever a node does not report (docs/limits.md). */
export const enrollMsMax = 60_000;
/** Time from the last pod's report to strict mode: requests in plaintext that are under way are answered by then. */
export const settleMs = 3_000;
const enrolling = 'Enrolling';
/** In the message of the condition. */
const nodesShownMax = 5;

const conditionOf = ({ status }: NamespaceObject): Condition | undefined =>
  status?.conditions?.find(({ type }) => type === enrolledCondition);

/** Whether it is in its first minute: permissive, and its pods are dialed by tunnel once their node has reported them. */
export function isEnrolling(namespace: NamespaceObject | undefined): boolean {
  if (!namespace || !isEnrolled(namespace)) return false;
  const condition = conditionOf(namespace);
  return condition?.status === 'False' && condition.reason === enrolling;
}

export const isCaptured = ({ status }: PodObject): boolean =>
  status?.conditions?.some((one) => one.type === capturedCondition && one.status === 'True') ?? false;

export interface Registry {
  readonly namespaces: Iterable<NamespaceObject>;
  readonly pods: Iterable<PodObject>;
  readonly settings: Iterable<MeshSettingsObject>;
}

/**
 * Whether the first minute of a namespace may begin. Only where nobody was in the mesh: a namespace that has the condition, or of which
 * a pod is captured, stays as strict as it is. Where the whole mesh is strict, only before the first namespace of all.
 */
export function mayBeginEnrolling(namespace: NamespaceObject, registry: Registry): boolean {
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

/** Condition of a namespace whose first minute begins. */
export const enrollingCondition = (): Condition => ({
  type: enrolledCondition,
  status: 'False',
  reason: enrolling,
  message: `waits for the nodes to report its pods: permissive until then, for ${enrollMsMax / 1000} s at most`,
});

/** Pods that may still be clients in plaintext: they run, are meant to be in the mesh, and no node has reported them as captured. */
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

/** A pod that is younger than the first minute is not waited for: it is enrolled before its first process, and there may always be a next one. */
export const startedBefore = (pods: readonly PodObject[], sinceMs: number): PodObject[] =>
  pods.filter(({ metadata }) => !(Date.parse(metadata.creationTimestamp ?? '') > sinceMs));

export interface EnrollmentProgress {
  /** Of the whole mesh: a client may be anywhere. */
  readonly unreported: readonly PodObject[];
  /** For how long nothing was unreported; undefined where something is. */
  readonly settledMs: number | undefined;
  /** Since the first minute began, by whichever clock has more. */
  readonly elapsedMs: number;
}

/** The condition as it should be; undefined: none. */
export function enrolledConditionNow(
  namespace: NamespaceObject,
  progress: EnrollmentProgress,
): Condition | undefined {
  if (!isEnrolled(namespace)) return undefined;
  const now = conditionOf(namespace);
  const said = (status: 'True' | 'False', reason: string, message: string): Condition => ({
    type: enrolledCondition,
    status,
    reason,
    message,
  });
  const mode = isStrict(labelsOf(namespace)) ? 'strict mode is in force' : 'it is permissive';
  if (!isEnrolling(namespace)) {
    // What was waited for is told for as long as the condition is there.
    const reason = now?.reason ?? 'Enrolled';
    return said('True', reason, `in the mesh: ${mode}`);
  }
  if (progress.elapsedMs >= enrollMsMax) return said('True', 'DeadlineExceeded', `in the mesh: ${mode}`);
  if (progress.settledMs !== undefined && progress.settledMs >= settleMs)
    return said('True', 'Enrolled', `in the mesh: ${mode}`);
  return said('False', enrolling, waitingText(namespace, progress.unreported));
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
    : `${what} waits for ${pods.length} pods (${where}${more}), for ${enrollMsMax / 1000} s at most; until then plaintext is taken`;
}
