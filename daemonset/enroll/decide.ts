/**
 * Compares the desired pods with the actual state of the node and decides which pods to enroll and which to release. Level-triggered: each
 * pass compares both in full, so the next pass repairs a lost event or a crash half way.
 */
import type { IpAddress } from '../../src/model/address.js';
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { LocalPod } from '../worker-ipc.js';
import type { Observation } from '../pod/netns.js';
import { isWorkload } from './rules.js';

/** `refused`: this machine does not allow the pod or its network namespace. The namespace may not have been inspected. */
export type Seen = Observation | { readonly kind: 'refused'; readonly why: string };

export interface Intent {
  readonly pod: NodePod;
  readonly seen: Seen;
}

/** The pods' inbound hooks in the kernel, by network namespace cookie. They include hooks that a previous agent process attached. */
export interface Hooks {
  readonly attached: readonly bigint[];
  /** Whether the network namespace of an attached hook still exists. */
  readonly namespaceOf: (cookie: bigint) => 'alive' | 'dead' | 'unknown';
  /** Whether the network namespace is known to be empty apart from this agent's own listeners. Asked when its path no longer exists. */
  readonly isDeserted: (cookie: bigint) => boolean;
  /** {@link ownerKey} of the pod that the hook was attached for; undefined if the build that attached it did not record the owner. */
  readonly ownerOf: (cookie: bigint) => string | undefined;
  readonly ownerKey: (pod: Pick<NodePod, 'uid' | 'podUid'>) => string;
  /** Whether the owner key belongs to a Kubernetes pod. */
  readonly isOfKubernetes: (key: string) => boolean;
}

export interface Steps {
  readonly enroll: readonly LocalPod[];
  /** Same pod, same network namespace, different settings. */
  readonly change: readonly LocalPod[];
  readonly release: readonly LocalPod[];
  /** Hooks of a previous agent process whose network namespace is gone or whose pod is no longer wanted. */
  readonly orphans: readonly bigint[];
  /**
   * Hooks of a previous agent process that stay attached and refuse connections. Such a hook may belong to a wanted pod that was not found,
   * or to a pod whose object is deleted while its processes still run.
   */
  readonly kept: readonly bigint[];
  /** Wanted pods that are not (fully) enrolled, or whose network namespace could not be inspected (`unknown`). */
  readonly waiting: readonly Waiting[];
}

export interface Waiting {
  readonly uid: WorkloadUid;
  readonly why: string;
  /**
   * `coming`: the pod may still be enrolled. `unknown`: its network namespace could not be inspected. `refused`: the pod cannot be enrolled
   * here, and readiness does not wait for it.
   */
  readonly state: 'coming' | 'unknown' | 'refused';
}

export type Uncaptured = ReadonlyMap<WorkloadUid, Pick<UncapturedPod, 'uid' | 'podUid'>>;

/**
 * Pure: decides the steps of one pass and performs none of them.
 * @param uncaptured pods that the control plane explicitly keeps out of the mesh; a pod that is only absent from discovery is not one of
 *   them
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
    // Without its hook the pod is not captured, even if it is recorded as enrolled.
    if (before?.netns.cookie !== seen.cookie || !attached.has(seen.cookie)) enroll.push(local);
    else if (!sameSettings(before.pod, pod)) change.push(local);
  }

  const known = new Set<bigint>([
    ...winners.keys(),
    ...[...current.values()].map(({ netns }) => netns.cookie),
  ]);
  const unfound = intents.filter(({ pod, seen }) => seen.kind !== 'present' && !current.has(pod.uid));
  const unfoundKeys = new Set(unfound.map(({ pod }) => hooks.ownerKey(pod)));
  // An owner key is a hash, and a node may have many such pods. A pass runs each second, so the keys are computed only if a hook is left
  // over.
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

/** Whether an enrolled pod is known to be gone or unwanted. Missing information never releases a pod. */
function isGone(local: LocalPod, intent: Intent | undefined, hooks: Hooks, uncaptured: Uncaptured): boolean {
  if (!intent) {
    const { uid, podUid } = local.pod;
    // Without Kubernetes the manifests are the only source: a pod that they do not list is unwanted.
    if (podUid === '' || uncaptured.get(uid)?.podUid === podUid) return true;
    // A forced deletion removes the object but not the processes. While they run, they stay captured and their connections are refused.
    return hasEnded(local.netns.cookie, hooks);
  }
  const { seen, pod } = intent;
  // A pod that reappears with another network namespace is another pod: the old one is released first.
  if (seen.kind === 'present') return seen.cookie !== local.netns.cookie;
  if (pod.podUid !== local.pod.podUid) return true;
  // A network namespace can outlive its path: processes may still be in it.
  return seen.kind === 'absent' && hooks.isDeserted(local.netns.cookie);
}

/**
 * One network namespace belongs to one pod. The current holder keeps it, also across a restart of the agent; then a Pod wins over a
 * Workload; then the lower UID wins.
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
 * The machine identifies its pods by address, so an address has one owner. Workloads of namespaces that this machine does not accept must
 * have no influence on the owner, so the machine decides it and not the control plane: the current holder keeps the address; then a Pod
 * wins over a Workload; then the lower UID wins.
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
  // A Workload that loses one of its addresses is refused and gets none of them.
  for (const pod of there) if (isWorkload(pod.uid) && !pod.addresses.some((ip) => taken.has(ip))) take(pod);
  return taken;
}

function sameSettings(a: NodePod, b: NodePod): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
