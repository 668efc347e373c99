/** Pods that this agent has enrolled fully or partly, with the state of each. Only the enroller changes it. */
import type { WorkloadUid } from '../../src/model/workload.js';
import type { LocalPod } from '../worker-ipc.js';

export class EnrolledPods {
  /** Fully or partly enrolled. */
  readonly #all = new Map<WorkloadUid, LocalPod>();
  /** The partly enrolled pods. Their enrollment is retried, and they are released like the others. */
  readonly #incomplete = new Set<WorkloadUid>();
  readonly #byCookie = new Map<bigint, LocalPod>();
  /**
   * Pods that were not found, and whose hook of a previous agent process is kept. No path leads to their network namespace (`netns` is
   * empty).
   */
  readonly #lost = new Map<bigint, LocalPod>();
  /** Pods whose connections are relayed by the agent until this time (epoch ms): conntrack.ts. */
  readonly #settling = new Map<WorkloadUid, number>();
  /** By network namespace cookie: when this agent enrolled the pod or took it over (epoch ms). */
  readonly #since = new Map<bigint, number>();

  /** Fully or partly enrolled. */
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

  /** Whether the pod in this network namespace is only partly enrolled. */
  isIncomplete(cookie: bigint): boolean {
    const local = this.#byCookie.get(cookie);
    return local !== undefined && this.#incomplete.has(local.pod.uid);
  }

  /** The pod of a network namespace. Includes wanted pods that were not found since a restart. */
  podOf(cookie: bigint): LocalPod | undefined {
    return this.#byCookie.get(cookie) ?? this.#lost.get(cookie);
  }

  /** When the pod was captured (epoch ms); 0 if this agent has not captured it. */
  sinceMs(cookie: bigint): number {
    return this.#since.get(cookie) ?? 0;
  }

  hasSettled(uid: WorkloadUid, nowMs: number): boolean {
    if ((this.#settling.get(uid) ?? 0) > nowMs) return false;
    this.#settling.delete(uid);
    return true;
  }

  /** Marks the pod as partly enrolled. Throws if it still holds another network namespace. */
  begin(local: LocalPod): void {
    const { uid } = local.pod;
    const { cookie } = local.netns;
    const before = this.#all.get(uid);
    // The release of the former network namespace failed and is retried. Two network namespaces of one UID would share the state that is
    // kept by UID.
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

  /** Replaces the settings of a pod in the same network namespace. */
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
