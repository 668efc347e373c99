/**
 * Intent against what is there: which pods to enroll in the mesh, which to release. Level-triggered: it looks at the
 * whole of both each time, so a lost event or a crash half way is repaired by the next turn.
 */
import type { IpAddress } from '../../src/model/address.js';
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { LocalPod } from '../worker-ipc.js';
import type { Observation } from '../pod/netns.js';
import { isWorkload } from './rules.js';

/** `refused`: not looked at, or not to be had, since this machine does not take the pod there. */
export type Seen = Observation | { readonly kind: 'refused'; readonly why: string };

export interface Intent {
  readonly pod: NodePod;
  readonly seen: Seen;
}

/** The kernel's side: pods' inbound hooks, by network namespace cookie, also those of a former life of the agent. */
export interface Hooks {
  readonly attached: readonly bigint[];
  /** Whether the network namespace of an attached hook lives. */
  readonly namespaceOf: (cookie: bigint) => 'alive' | 'dead' | 'unknown';
  /** Known to be gone, but for this agent's own listeners in it: asked of a namespace whose name is not there. */
  readonly isDeserted: (cookie: bigint) => boolean;
  /** {@link ownerKey} of the pod that it was attached for; undefined where a build attached it that did not say. */
  readonly ownerOf: (cookie: bigint) => string | undefined;
  readonly ownerKey: (pod: Pick<NodePod, 'uid' | 'podUid'>) => string;
  /** Of an owner's key: whether it is of a pod of Kubernetes. */
  readonly isOfKubernetes: (key: string) => boolean;
}

export interface Steps {
  readonly enroll: readonly LocalPod[];
  /** Same pod, same namespace, other settings. */
  readonly change: readonly LocalPod[];
  readonly release: readonly LocalPod[];
  /** Hooks of a former life whose namespace is gone, or whose pod nobody wants any more. */
  readonly orphans: readonly bigint[];
  /**
   * Hooks of a former life that may be of a wanted pod which was not found, or of one whose object is gone and whose processes run:
   * they stay, and refuse.
   */
  readonly kept: readonly bigint[];
  /** Wanted pods that are not (wholly) in the mesh, or whose namespace could not be looked at; `unknown`: that is why. */
  readonly waiting: readonly Waiting[];
}

export interface Waiting {
  readonly uid: WorkloadUid;
  readonly why: string;
  /** `refused`: it is not to be had, and nobody waits for it; `unknown`: it could not be looked at; else it may come. */
  readonly state: 'coming' | 'unknown' | 'refused';
}

export type Uncaptured = ReadonlyMap<WorkloadUid, Pick<UncapturedPod, 'uid' | 'podUid'>>;

/**
 * Decides only.
 * @param uncaptured pods that the control plane says are not to be in the mesh, which is more than not to speak of them
 */
export function decideSteps(
  intents: readonly Intent[],
  current: ReadonlyMap<WorkloadUid, LocalPod>,
  hooks: Hooks,
  uncaptured: Uncaptured = new Map(),
): Steps {
  const wanted = new Map<WorkloadUid, Intent>(intents.map((intent) => [intent.pod.uid, intent]));
  const winners = winnersOf(intents, current, hooks);
  const attached = new Set(hooks.attached);
  const enroll: LocalPod[] = [];
  const change: LocalPod[] = [];
  const release: LocalPod[] = [];
  const waiting: Waiting[] = [];

  for (const [uid, local] of current)
    if (isGone(local, wanted.get(uid), hooks, uncaptured)) release.push(local);
  const taken = addressesTaken(intents, winners, current, new Set(release));
  for (const intent of intents) {
    const { pod, seen } = intent;
    const { uid } = pod;
    if (seen.kind !== 'present') {
      waiting.push({ uid, why: seen.why, state: seen.kind === 'absent' ? 'coming' : seen.kind });
      continue;
    }
    const winner = winners.get(seen.cookie)?.pod.uid;
    if (winner !== uid) {
      waiting.push({ uid, why: `its network namespace belongs to ${String(winner)}`, state: 'refused' });
      continue;
    }
    const before = current.get(uid);
    const ip = isWorkload(uid) ? pod.addresses.find((one) => (taken.get(one) ?? uid) !== uid) : undefined;
    if (!before && ip !== undefined) {
      waiting.push({ uid, why: `its address ${ip} belongs to ${String(taken.get(ip))}`, state: 'refused' });
      continue;
    }
    if (!before && pod.addresses.length === 0) {
      waiting.push({ uid, why: 'the pod has no address yet', state: 'coming' });
      continue;
    }
    const local: LocalPod = { pod, netns: { cookie: seen.cookie, path: pod.netns } };
    // Without its hook it is in the mesh by name only.
    if (before?.netns.cookie !== seen.cookie || !attached.has(seen.cookie)) enroll.push(local);
    else if (!sameSettings(before.pod, pod)) change.push(local);
  }

  const known = new Set<bigint>([
    ...winners.keys(),
    ...[...current.values()].map(({ netns }) => netns.cookie),
  ]);
  const unfound = intents.filter(({ pod, seen }) => seen.kind !== 'present' && !current.has(pod.uid));
  const unfoundKeys = new Set(unfound.map(({ pod }) => hooks.ownerKey(pod)));
  // A key is a hash, and a node may have many such pods: asked for each second, made only where a hook is left over.
  let unmeantKeys: ReadonlySet<string> | undefined;
  const isUnmeant = (owner: string): boolean =>
    (unmeantKeys ??= new Set([...uncaptured.values()].map((one) => hooks.ownerKey(one)))).has(owner);
  const orphans: bigint[] = [];
  const kept: bigint[] = [];
  for (const cookie of hooks.attached) {
    if (known.has(cookie)) continue;
    const owner = hooks.ownerOf(cookie);
    const maybeWanted = owner === undefined ? unfound.length > 0 : unfoundKeys.has(owner);
    const isLeft = owner !== undefined && hooks.isOfKubernetes(owner) && !isUnmeant(owner);
    if (maybeWanted && hooks.namespaceOf(cookie) !== 'dead') kept.push(cookie);
    else if (isLeft && !hasEnded(cookie, hooks)) kept.push(cookie);
    else orphans.push(cookie);
  }
  return { enroll, change, release, orphans, kept, waiting };
}

const hasEnded = (cookie: bigint, hooks: Hooks): boolean =>
  hooks.namespaceOf(cookie) === 'dead' || hooks.isDeserted(cookie);

/** Whether a pod that is held is known to be gone or unwanted. What is not known of it changes nothing. */
function isGone(local: LocalPod, intent: Intent | undefined, hooks: Hooks, uncaptured: Uncaptured): boolean {
  if (!intent) {
    const { uid, podUid } = local.pod;
    // Without Kubernetes the manifests are all there is.
    if (podUid === '' || uncaptured.get(uid)?.podUid === podUid) return true;
    // A forced deletion removes the object and leaves the processes: while they run, they stay captured, and refused.
    return hasEnded(local.netns.cookie, hooks);
  }
  const { seen, pod } = intent;
  // A pod that came back with another namespace is another pod: the old one is released first.
  if (seen.kind === 'present') return seen.cookie !== local.netns.cookie;
  if (pod.podUid !== local.pod.podUid) return true;
  // A name that is gone is no namespace that is gone: processes may still be in it.
  return seen.kind === 'absent' && hooks.isDeserted(local.netns.cookie);
}

/**
 * One network namespace belongs to one pod: who holds it keeps it, also from a former life of the agent; then a Pod comes before
 * a Workload, then the lower uid.
 */
function winnersOf(
  intents: readonly Intent[],
  current: ReadonlyMap<WorkloadUid, LocalPod>,
  hooks: Hooks,
): ReadonlyMap<bigint, Intent> {
  const winners = new Map<bigint, Intent>();
  const rank = ({ pod }: Intent, cookie: bigint): number => {
    if (current.get(pod.uid)?.netns.cookie === cookie) return 0;
    if (hooks.ownerOf(cookie) === hooks.ownerKey(pod)) return 1;
    return isWorkload(pod.uid) ? 3 : 2;
  };
  for (const intent of intents) {
    if (intent.seen.kind !== 'present') continue;
    const { cookie } = intent.seen;
    const other = winners.get(cookie);
    const difference = other ? rank(intent, cookie) - rank(other, cookie) : -1;
    if (difference < 0 || (difference === 0 && other && intent.pod.uid < other.pod.uid))
      winners.set(cookie, intent);
  }
  return winners;
}

/**
 * A machine tells its pods apart by their addresses. Namespaces whose Workloads this machine does not take have no say in whose an address
 * is, so the control plane leaves it to the machine: who holds it keeps it, then a Pod comes before a Workload, then the lower uid.
 */
function addressesTaken(
  intents: readonly Intent[],
  winners: ReadonlyMap<bigint, Intent>,
  current: ReadonlyMap<WorkloadUid, LocalPod>,
  released: ReadonlySet<LocalPod>,
): ReadonlyMap<IpAddress, WorkloadUid> {
  const taken = new Map<IpAddress, WorkloadUid>();
  const take = ({ uid, addresses }: NodePod): void => {
    for (const ip of addresses) if (!taken.has(ip)) taken.set(ip, uid);
  };
  for (const local of current.values()) if (!released.has(local)) take(local.pod);
  const there = intents
    .filter(({ pod, seen }) => seen.kind === 'present' && winners.get(seen.cookie)?.pod.uid === pod.uid)
    .map(({ pod }) => pod)
    .sort((a, b) => (a.uid < b.uid ? -1 : 1));
  for (const pod of there) if (!isWorkload(pod.uid)) take(pod);
  // One that loses an address is refused, and has none.
  for (const pod of there) if (isWorkload(pod.uid) && !pod.addresses.some((ip) => taken.has(ip))) take(pod);
  return taken;
}

function sameSettings(a: NodePod, b: NodePod): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
