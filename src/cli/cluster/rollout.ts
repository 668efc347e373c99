/** Progress of an installation: ready replicas of the control plane and agents, and the failures that block them. Pure. */
import type { Finding } from '../../findings/finding.js';
import { podFailure, refusalFailure, type Failure, type PodItem } from './pod-failure.js';

export interface DeploymentItem {
  readonly metadata: { readonly name: string; readonly generation?: number };
  readonly spec: {
    readonly replicas?: number;
    readonly template?: { readonly spec: { readonly containers: readonly { readonly image: string }[] } };
  };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly readyReplicas?: number;
    readonly availableReplicas?: number;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message?: string;
    }[];
  };
}
export interface DaemonSetItem {
  readonly metadata: { readonly name: string; readonly generation?: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly desiredNumberScheduled?: number;
    readonly currentNumberScheduled?: number;
    readonly updatedNumberScheduled?: number;
    readonly numberAvailable?: number;
  };
}
export interface EventItem {
  readonly metadata: { readonly uid?: string; readonly resourceVersion?: string };
  readonly involvedObject?: { readonly kind?: string; readonly name?: string };
  readonly reason?: string;
  readonly message?: string;
  readonly type?: string;
}
/** Objects in the namespace of the Weft installation. */
export interface RolloutObjects {
  readonly deployment?: DeploymentItem;
  readonly daemonSet?: DaemonSetItem;
  /** Absent with the chart's value `relay: typescript`. */
  readonly carrierSet?: DaemonSetItem;
  readonly pods: readonly PodItem[];
  /** Events since the installation began. */
  readonly events: readonly EventItem[];
  readonly namespace: string;
}

export interface Progress {
  readonly ready: number;
  readonly wanted: number;
}
export interface Rollout {
  readonly control?: Progress;
  readonly agents?: Progress;
  readonly carriers?: Progress;
  /** One failure per subject, keyed by subject. */
  readonly failures: ReadonlyMap<string, Failure>;
  /** All replicas run the latest generation of their objects. */
  readonly done: boolean;
}

const isCurrent = ({
  metadata,
  status,
}: {
  readonly metadata: { readonly generation?: number };
  readonly status?: { readonly observedGeneration?: number };
}): boolean => (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0);

const jobLabels = ['batch.kubernetes.io/job-name', 'job-name'] as const;
const ownApps: ReadonlySet<string> = new Set(['weft-control', 'weft-agent', 'weft-carrier']);
/** True for pods of the control plane, agents, carriers, and upgrade jobs. False for waypoints. */
const isOwn = (pod: PodItem): boolean => ownApps.has(pod.metadata.labels?.['app'] ?? '') || isHook(pod);
const isHook = ({ metadata: { labels = {} } }: PodItem): boolean =>
  jobLabels.some((label) => labels[label]?.startsWith('weft-') === true);

function progressOf(daemonSet: DaemonSetItem): Progress {
  const {
    desiredNumberScheduled = 0,
    updatedNumberScheduled = 0,
    numberAvailable = 0,
  } = daemonSet.status ?? {};
  const ready = Math.min(updatedNumberScheduled, numberAvailable, desiredNumberScheduled);
  return { ready: isCurrent(daemonSet) ? ready : 0, wanted: desiredNumberScheduled };
}

export function rolloutOf(objects: RolloutObjects): Rollout {
  const { deployment, daemonSet, carrierSet, pods, events, namespace } = objects;
  const failures = new Map<string, Failure>();
  const add = (failure: Failure | undefined): void => {
    if (failure && !failures.has(failure.subject)) failures.set(failure.subject, failure);
  };
  for (const pod of pods) if (isOwn(pod)) add(podFailure(pod));
  const control = deployment && {
    ready: isCurrent(deployment)
      ? Math.min(deployment.status?.updatedReplicas ?? 0, deployment.status?.availableReplicas ?? 0)
      : 0,
    wanted: deployment.spec.replicas ?? 1,
  };
  const refused = deployment?.status?.conditions?.find(
    ({ type, status }) => type === 'ReplicaFailure' && status === 'True',
  );
  if (deployment && refused)
    add(refusalFailure(`Deployment ${deployment.metadata.name}`, refused.message ?? '', namespace));
  const agents = daemonSet && progressOf(daemonSet);
  const carriers = carrierSet && progressOf(carrierSet);
  // DaemonSets and Jobs have no condition for refused pods, so the FailedCreate events are read.
  for (const { involvedObject, reason, message = '' } of events) {
    const { kind = '', name = '' } = involvedObject ?? {};
    if (reason !== 'FailedCreate' || !name.startsWith('weft-')) continue;
    const progress = name === carrierSet?.metadata.name ? carriers : agents;
    if (kind === 'DaemonSet' && progress && progress.ready < progress.wanted)
      add(refusalFailure(`${kind} ${name}`, message, namespace));
    if (kind === 'Job') add(refusalFailure(`${kind} ${name}`, message, namespace));
  }
  const isThere = (progress: Progress | undefined): boolean =>
    progress !== undefined && progress.ready >= progress.wanted;
  const done =
    deployment !== undefined &&
    daemonSet !== undefined &&
    isCurrent(deployment) &&
    isCurrent(daemonSet) &&
    isThere(control) &&
    isThere(agents) &&
    (carrierSet === undefined || (isCurrent(carrierSet) && isThere(carriers))) &&
    failures.size === 0;
  return {
    ...(control ? { control } : {}),
    ...(agents ? { agents } : {}),
    ...(carriers ? { carriers } : {}),
    failures,
    done,
  };
}

/** One line per pod that is neither ready nor failing, with the kubelet's last warning about it, such as a missing volume. */
export function pendingReasons(objects: RolloutObjects): string[] {
  const reasons: string[] = [];
  for (const pod of objects.pods) {
    if (!isOwn(pod) || podFailure(pod) || pod.metadata.deletionTimestamp !== undefined) continue;
    const { name } = pod.metadata;
    if (pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')) continue;
    const warning = objects.events.findLast(
      ({ involvedObject, type }) =>
        type === 'Warning' && involvedObject?.kind === 'Pod' && involvedObject.name === name,
    );
    const where = pod.spec.nodeName === undefined ? '' : ` on ${pod.spec.nodeName}`;
    reasons.push(
      `pod ${name}${where} is not ready${warning ? `: ${warning.reason}: ${(warning.message ?? '').slice(0, 600)}` : ''}`,
    );
  }
  return reasons;
}

/**
 * Failures of the revision that is being installed. An upgrade runs a hook job, which pulls its image first, before it changes
 * anything else. While the job runs, the other pods belong to the previous revision. Their failures are ignored, because this
 * installation may fix them.
 */
export function failuresNow(objects: RolloutObjects): ReadonlyMap<string, Failure> {
  const hooks = objects.pods.filter(isHook);
  const isUnderWay = hooks.some(
    ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined &&
      !['Succeeded', 'Failed'].includes(status?.phase ?? 'Pending'),
  );
  if (!isUnderWay) return rolloutOf(objects).failures;
  const { events, namespace } = objects;
  return rolloutOf({ pods: hooks, events, namespace }).failures;
}

/** A failure that lasts this long ends the installation. The kubelet tries to pull an image twice in this time. */
export const settleMs = 20_000;

/**
 * Finds the failures that last long enough to end the installation. The caller supplies the clock.
 * Each installation has its own instance.
 */
export class FailureClock {
  /** Start of each failure in ms, by code and subject. */
  readonly #since = new Map<string, number>();

  /** Failures that have lasted for `settleMs` and need an action, in the order of the map. */
  settled(failures: ReadonlyMap<string, Failure>, nowMs: number): Failure[] {
    const keyOf = ({ subject, code }: Failure): string => `${code} ${subject}`;
    const present = new Set([...failures.values()].map(keyOf));
    for (const key of this.#since.keys()) if (!present.has(key)) this.#since.delete(key);
    return [...failures.values()].filter((failure) => {
      const since = this.#since.get(keyOf(failure)) ?? nowMs;
      this.#since.set(keyOf(failure), since);
      return failure.mayPass !== true && nowMs - since >= settleMs;
    });
  }
}

/** For `weft check`: findings about the control plane and about pods that could not be created. Agent pods are left to agentFindings. */
export function rolloutFindings(objects: RolloutObjects): Finding[] {
  const { deployment, namespace } = objects;
  const findings: Finding[] = [];
  if (deployment) {
    const ready = deployment.status?.readyReplicas ?? 0;
    const wanted = deployment.spec.replicas ?? 1;
    findings.push(
      ready > 0
        ? {
            level: ready < wanted ? 'warn' : 'ok',
            what: `control plane: ${ready} of ${wanted} replicas are ready`,
            ...(ready < wanted
              ? { help: `kubectl -n ${namespace} describe pods -l app=weft-control shows the reason` }
              : {}),
          }
        : {
            level: 'fail',
            what: 'no replica of the control plane is ready',
            help: `nodes keep their last configuration. For the reason: kubectl -n ${namespace} describe pods -l app=weft-control`,
          },
    );
  }
  const agentSubjects = new Set(
    objects.pods
      .filter(({ metadata }) => metadata.labels?.['app'] === 'weft-agent')
      .flatMap((pod) => podFailure(pod)?.subject ?? []),
  );
  for (const { subject, why, help } of rolloutOf(objects).failures.values())
    if (!agentSubjects.has(subject)) findings.push({ level: 'fail', what: `${subject}: ${why}`, help });
  return findings;
}
