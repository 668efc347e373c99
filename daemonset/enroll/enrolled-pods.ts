/** The pods with anything of this agent in their network namespace, and how far each has come. The enroller alone changes it. */
import type { WorkloadUid } from '../../src/model/workload.js';
import type { LocalPod } from '../worker-ipc.js';

export class EnrolledPods {
  /** Wholly or half enrolled. */
  readonly #all = new Map<WorkloadUid, LocalPod>();
  /** Of these, those that are not wholly enrolled: tried again, and released as the others are. */
  readonly #incomplete = new Set<WorkloadUid>();
  readonly #byCookie = new Map<bigint, LocalPod>();
  /** Pods whose hook of a former life is kept, though they were not found: no path leads there (`netns` is empty). */
  readonly #lost = new Map<bigint, LocalPod>();
  /** Pods whose connections go by the agent until then (epoch ms): conntrack.ts. */
  readonly #settling = new Map<WorkloadUid, number>();
  /** By network namespace cookie: when this agent enrolled the pod, or took it over (epoch ms). */
  readonly #since = new Map<bigint, number>();

  /** Wholly or half enrolled. */
  get all(): ReadonlyMap<WorkloadUid, LocalPod> {
    return this.#all;
  }

  /** Pods in the mesh. */
  get enrolled(): ReadonlyMap<WorkloadUid, LocalPod> {
    return this.#incomplete.size === 0
      ? this.#all
      : new Map([...this.#all].filter(([uid]) => !this.#incomplete.has(uid)));
  }

  isEnrolled(uid: WorkloadUid): boolean {
    return this.#all.has(uid) && !this.#incomplete.has(uid);
  }

  /** Of the pod in this network namespace. */
  isIncomplete(cookie: bigint): boolean {
    const local = this.#byCookie.get(cookie);
    return local !== undefined && this.#incomplete.has(local.pod.uid);
  }

  /** Also a wanted pod that was not found since a restart. */
  podOf(cookie: bigint): LocalPod | undefined {
    return this.#byCookie.get(cookie) ?? this.#lost.get(cookie);
  }

  /** Epoch ms; 0 where the pod is not captured by this agent. */
  sinceMs(cookie: bigint): number {
    return this.#since.get(cookie) ?? 0;
  }

  hasSettled(uid: WorkloadUid, nowMs: number): boolean {
    if ((this.#settling.get(uid) ?? 0) > nowMs) return false;
    this.#settling.delete(uid);
    return true;
  }

  /** The pod is half in from now on. Throws where it still has something in another namespace. */
  begin(local: LocalPod): void {
    const { uid } = local.pod;
    const { cookie } = local.netns;
    const before = this.#all.get(uid);
    // Its release failed, and is tried again: two namespaces of one name would share what is kept by name.
    if (before && before.netns.cookie !== cookie)
      throw new Error('its former network namespace is not released yet');
    this.#all.set(uid, local);
    this.#incomplete.add(uid);
    this.#byCookie.set(cookie, local);
  }

  markIncomplete(uid: WorkloadUid): void {
    this.#incomplete.add(uid);
  }

  markComplete(uid: WorkloadUid): void {
    this.#incomplete.delete(uid);
  }

  markCaptured(cookie: bigint, nowMs: number): void {
    this.#since.set(cookie, nowMs);
  }

  settleAt(uid: WorkloadUid, atMs: number): void {
    this.#settling.set(uid, atMs);
  }

  /** Other settings of a pod in its namespace. */
  replace(local: LocalPod): void {
    this.#all.set(local.pod.uid, local);
    this.#byCookie.set(local.netns.cookie, local);
  }

  remove(local: LocalPod): void {
    const { uid } = local.pod;
    const { cookie } = local.netns;
    this.#settling.delete(uid);
    this.#all.delete(uid);
    this.#incomplete.delete(uid);
    if (this.#byCookie.get(cookie) === local) this.#byCookie.delete(cookie);
    this.#since.delete(cookie);
  }

  setLost(locals: readonly LocalPod[]): void {
    this.#lost.clear();
    for (const local of locals) this.#lost.set(local.netns.cookie, local);
  }
}
