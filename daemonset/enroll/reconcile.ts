/**
 * Intent against what is there: which pods to take into the mesh, which to let go. Level-triggered: it looks at the
 * whole of both each time, so a lost event or a crash half way is repaired by the next turn.
 */
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { LocalPod } from '../messages.js';

export interface Intent {
  readonly pod: NodePod;
  /** Undefined where the namespace is not there (yet). */
  readonly cookie: bigint | undefined;
}

export interface Steps {
  readonly enrol: readonly LocalPod[];
  /** Same pod, same namespace, other settings. */
  readonly change: readonly LocalPod[];
  readonly release: readonly LocalPod[];
  /** Hooks of pods that nobody wants any more, of a former life of the agent. */
  readonly orphans: readonly bigint[];
  readonly waiting: readonly { readonly uid: WorkloadUid; readonly why: string }[];
}

/** Decides only. `attached`: cookies whose inbound hook is in the kernel. */
export function reconcile(
  intents: readonly Intent[],
  current: ReadonlyMap<WorkloadUid, LocalPod>,
  attached: readonly bigint[],
): Steps {
  const enrol: LocalPod[] = [];
  const change: LocalPod[] = [];
  const release: LocalPod[] = [];
  const waiting: { uid: WorkloadUid; why: string }[] = [];
  const wanted = new Map<WorkloadUid, Intent>(intents.map((intent) => [intent.pod.uid, intent]));
  const keptCookies = new Set<bigint>();

  for (const [uid, held] of current) {
    const cookie = wanted.get(uid)?.cookie;
    // A pod that came back with another namespace is another pod: the old one is let go first.
    if (cookie !== held.place.cookie) release.push(held);
  }
  for (const { pod, cookie } of intents) {
    if (cookie === undefined) {
      const why =
        pod.netns === ''
          ? 'no process of the pod is in a network namespace of its own yet'
          : `network namespace ${pod.netns} is not there`;
      waiting.push({ uid: pod.uid, why });
      continue;
    }
    const local: LocalPod = { pod, place: { cookie, netns: pod.netns } };
    const held = current.get(pod.uid);
    keptCookies.add(cookie);
    if (!held && pod.addresses.length === 0) {
      waiting.push({ uid: pod.uid, why: 'the pod has no address yet' });
      continue;
    }
    if (!held || held.place.cookie !== cookie) enrol.push(local);
    else if (!sameSettings(held.pod, pod)) change.push(local);
  }
  const releasing = new Set(release.map(({ place }) => place.cookie));
  return {
    enrol,
    change,
    release,
    orphans: attached.filter((cookie) => !keptCookies.has(cookie) && !releasing.has(cookie)),
    waiting,
  };
}

function sameSettings(a: NodePod, b: NodePod): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
