/**
 * The enroller: enrolls the pods of this node and releases them. Each pass observes where pods are (observe.ts), decides what to do
 * (decide.ts, pure), acts pod by pod, and reports. The order of the steps guarantees that an error or a kill half way leaves a pod captured
 * and its connections refused, never in plaintext. Sole owner of the set of enrolled pods and of the reasons why others wait.
 */
import { errorText } from '../../src/base/errors.js';
import type { IpAddress } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { PodHooks } from '../datapath/hooks.js';
import { isOfKubernetes, ownerKey } from '../datapath/owners.js';
import type { LocalPod } from '../worker-ipc.js';
import { conntrackSettleMs, settleLeftMs } from './conntrack.js';
import { decideSteps, type Steps, type Uncaptured, type Waiting } from './decide.js';
import { EnrolledPods } from './enrolled-pods.js';
import { isInhabited } from './netns-finder.js';
import { PodObserver, type ObserverParts } from './observe.js';

/** The pods that discovery wants on this node. */
export interface Desired {
  readonly wanted: ReadonlyMap<WorkloadUid, NodePod>;
  /** Pods that the control plane explicitly keeps out of the mesh. */
  readonly uncaptured: Uncaptured;
}

/** The parts that the enroller uses. Each is owned by another file. */
export interface EnrollerParts extends ObserverParts {
  readonly hooks: Pick<
    PodHooks,
    'attached' | 'attachedAtMs' | 'inodeOf' | 'namespaceOf' | 'detach' | 'owners'
  >;
  /** Attaches the inbound hook (datapath/loader.ts, whose errors explain the failure). */
  readonly attach: (cookie: bigint, netns: string) => Promise<void>;
  readonly maps: {
    write(pod: NodePod, cookie: bigint, capture: boolean): void;
    lift(cookie: bigint): () => void;
    remove(cookie: bigint): void;
  };
  readonly relay: {
    sync(pods: ReadonlyMap<WorkloadUid, LocalPod>): void;
    assign(local: LocalPod): Promise<void>;
    unassign(uid: WorkloadUid): Promise<void>;
  };
  readonly verdicts: {
    admit(local: LocalPod): void;
    dismiss(local: LocalPod): void;
    forget(cookie: bigint): void;
  };
  readonly preexisting: {
    admit(local: LocalPod, kernelCookies: ReadonlySet<bigint>): void;
    dismiss(uid: WorkloadUid): void;
  };
  /** Socket cookies of the kernel flows. */
  readonly kernelCookies: () => ReadonlySet<bigint>;
  /** Called when a pod has left the mesh. Its open connections continue. */
  readonly onReleased: (local: LocalPod) => void;
  /** Begins a pass. Returns the desired pods; undefined if the pass must change nothing. */
  readonly beginPass: () => Desired | undefined;
  /** Ends a pass and updates what depends on the set of enrolled pods. `isChanged`: a pod was enrolled, changed or released. */
  readonly endPass: (isChanged: boolean) => void;
  /** Called after each pass, also after a failed one. */
  readonly report: () => void;
  readonly nowMs?: () => number;
  /** Settling time in ms; conntrack.ts if absent. */
  readonly settleMs?: () => number;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, text: string) => void>;
}

/**
 * Whether the pod's sandbox exists. With Kubernetes, the kubelet has then reported an address; without Kubernetes the pod exists with its
 * network namespace.
 */
const hasSandbox = (pod: NodePod | undefined): boolean =>
  pod?.podUid === '' || (pod?.addresses.length ?? 0) > 0;

export class Enroller {
  readonly #parts: EnrollerParts;
  readonly #observer: PodObserver;
  readonly #pods = new EnrolledPods();
  readonly #waiting = new Map<WorkloadUid, string>();
  readonly #unknown = new Set<WorkloadUid>();
  /** Wanted pods that readiness does not wait for: refused pods, and pods without a sandbox, which may never get one. */
  readonly #unawaited = new Set<WorkloadUid>();
  /** Network namespaces whose rows in the kernel's maps must still be removed. */
  readonly #leftovers = new Set<bigint>();
  #kept = '';
  #running: Promise<void> | undefined;
  #isAskedAgain = false;
  #isEnrolling = false;
  #hasPassed = false;

  constructor(parts: EnrollerParts) {
    this.#parts = parts;
    this.#observer = new PodObserver(parts);
  }

  /** Pods in the mesh. */
  get enrolled(): ReadonlyMap<WorkloadUid, LocalPod> {
    return this.#pods.enrolled;
  }

  /** Wanted pods that are not enrolled, or that could not be inspected, with the reason. */
  get waiting(): ReadonlyMap<WorkloadUid, string> {
    return this.#waiting;
  }

  /** How many of the waiting pods could not be inspected. */
  get unknown(): number {
    return this.#unknown.size;
  }

  /**
   * Whether every pod that can be enrolled is. Pods that this machine refuses do not count. Pods without a sandbox do not count either:
   * otherwise a pod with a volume that does not exist would block the upgrade of all agents.
   */
  isWhole(wanted: ReadonlyMap<WorkloadUid, NodePod>): boolean {
    for (const uid of wanted.keys()) {
      if (this.#unawaited.has(uid)) continue;
      if (!this.#pods.isEnrolled(uid) || this.#waiting.has(uid)) return false;
    }
    return true;
  }

  /**
   * Whether a pass is between its first enrollment and its end. Listeners, hooks and verdicts are set up one after the other in that time.
   */
  get isEnrolling(): boolean {
    return this.#isEnrolling;
  }

  /** Whether a complete pass has succeeded. */
  get hasPassed(): boolean {
    return this.#hasPassed;
  }

  /**
   * The pod of a network namespace. Includes wanted pods that were not found since a restart, because policy still applies to their kernel
   * flows.
   */
  podOf(cookie: bigint): LocalPod | undefined {
    return this.#pods.podOf(cookie);
  }

  sinceMs(cookie: bigint): number {
    return this.#pods.sinceMs(cookie);
  }

  /** Whether the pod's connections may become kernel flows by now. */
  hasSettled(uid: WorkloadUid): boolean {
    return this.#pods.hasSettled(uid, this.#nowMs());
  }

  /** The CNI plugin holds the pod's sandbox, before the pod's first process. Throws if `netns` cannot be opened. */
  start(podUid: string, netns: string, addresses: readonly IpAddress[]): void {
    this.#observer.start(podUid, netns, addresses);
  }

  /** The pod has a new sandbox. */
  forgetSandbox(podUid: string): void {
    this.#observer.forget(podUid);
  }

  /**
   * What had the listeners of these pods is gone. The listeners are created again; until then the pods stay captured and their
   * connections are refused.
   */
  lostListeners(uids: readonly WorkloadUid[]): void {
    for (const uid of uids) if (this.#pods.all.has(uid)) this.#pods.markIncomplete(uid);
  }

  /** Runs a pass. Calls during a pass share one further pass. Never rejects. */
  sync(): Promise<void> {
    if (this.#running) {
      this.#isAskedAgain = true;
      return this.#running;
    }
    this.#running = this.#passes()
      .catch((error: unknown) => {
        this.#parts.log.error({ error: errorText(error) }, 'reconcile pass failed; retrying');
        this.#parts.report();
      })
      .finally(() => {
        this.#isEnrolling = false;
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Resolves when no pass runs. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #passes(): Promise<void> {
    do {
      this.#isAskedAgain = false;
      const desired = this.#parts.beginPass();
      if (!desired) continue;
      this.#parts.endPass(await this.pass(desired));
      this.#isEnrolling = false;
      this.#hasPassed = true;
      this.#parts.report();
    } while (this.#isAskedAgain);
  }

  /**
   * One pass. A failure for one pod becomes the reason why that pod waits, and does not affect other pods. True if a pod was enrolled,
   * changed or released.
   */
  async pass(desired: Desired): Promise<boolean> {
    const steps = this.#decide(desired);
    this.#recordWaiting(steps.waiting, desired.wanted);
    this.#keep(steps.kept, desired.wanted);
    await this.#releaseAll(steps);
    for (const local of steps.change)
      await this.#step(local.pod.uid, 'settings of a pod not changed; retrying', () => this.#change(local));
    if (steps.enroll.length > 0) this.#isEnrolling = true;
    const enrolled = await this.#enrollAll(steps.enroll);
    this.#parts.relay.sync(this.enrolled);
    if (steps.orphans.length > 0)
      this.#parts.log.info(
        { hooks: steps.orphans.length },
        'orphaned hooks of a previous agent process removed',
      );
    return enrolled.length + steps.change.length + steps.release.length > 0;
  }

  async #releaseAll({ release, orphans }: Steps): Promise<void> {
    for (const local of release)
      await this.#step(local.pod.uid, 'pod not released; retrying', () => this.#release(local));
    for (const cookie of orphans)
      await this.#step(undefined, 'orphaned hook of a previous agent process not removed; retrying', () =>
        this.#dropOrphan(cookie),
      );
    // Removed before the network namespace may get another pod.
    for (const cookie of this.#leftovers)
      await this.#step(undefined, 'map rows of a released pod not removed; retrying', () => {
        this.#parts.maps.remove(cookie);
        this.#leftovers.delete(cookie);
      });
  }

  /** Returns the pods that were enrolled. */
  async #enrollAll(locals: readonly LocalPod[]): Promise<readonly LocalPod[]> {
    const { hooks, verdicts } = this.#parts;
    const enrolled: LocalPod[] = [];
    // The hooks are listed again: a network namespace that was released in this pass is no longer captured.
    const adoptable = new Set(locals.length > 0 ? hooks.attached() : []);
    for (const local of locals)
      await this.#step(local.pod.uid, 'pod not enrolled; retrying', async () => {
        await this.#enroll(local, adoptable.has(local.netns.cookie));
        enrolled.push(local);
      });
    // After all enrollments, because a verdict needs both ends. The new epoch invalidates the former verdicts, and the agent decides them
    // again.
    for (const local of enrolled)
      await this.#step(local.pod.uid, 'pod enrolled without verdicts; retrying', () => {
        this.#pods.markIncomplete(local.pod.uid);
        verdicts.admit(local);
        this.#pods.markComplete(local.pod.uid);
      });
    return enrolled;
  }

  /**
   * Creates listeners for the pods that a previous agent process captured and that the next pass enrolls, and does nothing else. A listener
   * in a captured pod is replaced in one step. Runs before the first pass, so that each pod has a listener at every moment of a hand-over.
   */
  async listenAhead(desired: Desired): Promise<void> {
    const attached = new Set(this.#parts.hooks.attached());
    for (const local of this.#decide(desired).enroll) {
      if (!attached.has(local.netns.cookie)) continue;
      await this.#step(
        local.pod.uid,
        'listeners of a pod not created ahead of its enrollment; its enrollment creates them',
        () => this.#parts.relay.assign(local),
      );
    }
  }

  /** Observes pods and hooks, and decides. */
  #decide({ wanted, uncaptured }: Desired): Steps {
    const { hooks } = this.#parts;
    const attached = this.#attachedFor(wanted);
    return decideSteps(
      this.#observer.observe([...wanted.values()]),
      this.#pods.all,
      {
        attached: attached.filter((cookie) => !this.#pods.isIncomplete(cookie)),
        namespaceOf: (cookie) => hooks.namespaceOf(cookie),
        isDeserted: (cookie) => {
          const inode = hooks.inodeOf(cookie);
          return inode !== undefined && (inode === 0 || isInhabited(inode) === false);
        },
        ownerOf: (cookie) => hooks.owners.of(cookie),
        ownerKey,
        isOfKubernetes,
      },
      uncaptured,
    );
  }

  /** Replaces the reasons why pods wait by those of this pass. */
  #recordWaiting(waiting: readonly Waiting[], wanted: ReadonlyMap<WorkloadUid, NodePod>): void {
    this.#waiting.clear();
    const before = new Set(this.#unknown);
    this.#unknown.clear();
    this.#unawaited.clear();
    for (const { uid, why, state } of waiting) {
      this.#waiting.set(uid, why);
      if (state === 'refused' || (state === 'coming' && !hasSandbox(wanted.get(uid))))
        this.#unawaited.add(uid);
      if (state === 'unknown') this.#unknown.add(uid);
      if (state === 'unknown' && !before.has(uid))
        this.#parts.log.warn({ pod: uid, why }, 'pod could not be inspected: it stays as it is');
    }
  }

  async #step(uid: WorkloadUid | undefined, text: string, work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      const why = errorText(error);
      if (uid !== undefined) this.#waiting.set(uid, why);
      this.#parts.log.error({ ...(uid === undefined ? {} : { pod: uid }), error: why }, text);
    }
  }

  async #enroll(local: LocalPod, adopted: boolean): Promise<void> {
    const {
      maps,
      relay,
      preexisting,
      hooks,
      attach,
      kernelCookies,
      log,
      settleMs = conntrackSettleMs,
    } = this.#parts;
    const { cookie, path: netns } = local.netns;
    const { uid } = local.pod;
    this.#pods.begin(local);
    // write() replaces rows that another pod left in this network namespace.
    this.#leftovers.delete(cookie);
    hooks.owners.record(cookie, ownerKey(local.pod));
    await relay.assign(local);
    // An adopted pod stays captured throughout: capture is never lifted and set again.
    maps.write(local.pod, cookie, adopted);
    await attach(cookie, netns);
    maps.write(local.pod, cookie, true);
    const nowMs = this.#nowMs();
    this.#pods.markCaptured(cookie, nowMs);
    // Connection tracking holds no entries of a pod that has not sent its first packet yet.
    if (!this.#observer.isStarted(local.pod.podUid)) {
      const attachedAtMs = adopted ? hooks.attachedAtMs(cookie) : nowMs;
      this.#pods.settleAt(uid, nowMs + settleLeftMs(settleMs(), attachedAtMs, nowMs));
    }
    preexisting.admit(local, kernelCookies());
    this.#pods.markComplete(uid);
    this.#waiting.delete(uid);
    relay.sync(this.enrolled);
    log.info({ pod: uid, cookie: String(cookie), adopted }, 'pod enrolled');
  }

  async #change(local: LocalPod): Promise<void> {
    const { maps, relay, verdicts } = this.#parts;
    const { cookie } = local.netns;
    const before = this.#pods.all.get(local.pod.uid);
    try {
      maps.write(local.pod, cookie, true);
    } catch (error) {
      // The kernel must not use verdicts that were decided with the former settings.
      this.#pods.markIncomplete(local.pod.uid);
      if (before) verdicts.dismiss(before);
      throw error;
    }
    this.#pods.replace(local);
    verdicts.admit(local);
    // If this fails, the listeners still exist, and the worker gets the settings with the next sync of all pods.
    await relay.assign(local);
  }

  async #release(local: LocalPod): Promise<void> {
    const { verdicts, preexisting, relay, onReleased: left, log } = this.#parts;
    const { cookie } = local.netns;
    const { uid } = local.pod;
    // If the pod is wanted again before the release is complete, it is enrolled from the start.
    this.#pods.markIncomplete(uid);
    // No new kernel flows, then no capture, so that no connection is sent to a listener that is about to close.
    verdicts.dismiss(local);
    this.#endCapture(cookie);
    // From here on the pod counts as released, whatever fails. If it is wanted again, it is enrolled from the start.
    left(local);
    preexisting.dismiss(uid);
    this.#pods.remove(local);
    await this.#step(
      undefined,
      'listeners of a released pod may still be open: the relay did not respond',
      () => relay.unassign(uid),
    );
    log.info({ pod: uid }, 'pod released');
  }

  /** Ends the capture of a network namespace. After an error it is captured as before. */
  #endCapture(cookie: bigint): void {
    const { hooks, maps } = this.#parts;
    let restore = (): void => undefined;
    hooks.detach(
      cookie,
      () => (restore = maps.lift(cookie)),
      () => restore(),
    );
    this.#leftovers.add(cookie);
  }

  #dropOrphan(cookie: bigint): void {
    this.#parts.verdicts.forget(cookie);
    this.#endCapture(cookie);
  }

  #attachedFor(wanted: ReadonlyMap<WorkloadUid, NodePod>): bigint[] {
    try {
      return this.#parts.hooks.attached();
    } catch (error) {
      // Without the list of hooks nothing is known of any pod: nothing is changed, and every pod reports the reason.
      for (const uid of wanted.keys()) {
        this.#unknown.add(uid);
        this.#waiting.set(uid, `the kernel's hooks could not be listed: ${errorText(error)}`);
      }
      throw error;
    }
  }

  #keep(kept: readonly bigint[], wanted: ReadonlyMap<WorkloadUid, NodePod>): void {
    const lost: LocalPod[] = [];
    const byOwner =
      kept.length > 0 ? new Map([...wanted.values()].map((pod) => [ownerKey(pod), pod])) : undefined;
    for (const cookie of kept) {
      const pod = byOwner?.get(this.#parts.hooks.owners.of(cookie) ?? '');
      if (pod) lost.push({ pod, netns: { cookie, path: '' } });
    }
    this.#pods.setLost(lost);
    const text = kept.join(' ');
    if (text !== this.#kept && kept.length > 0)
      this.#parts.log.warn(
        { cookies: kept.map(String) },
        'hooks of a previous agent process stay attached: each may belong to a wanted pod that was not found, or to a pod whose object is deleted and whose processes still run; such a pod stays captured, and its connections are refused',
      );
    this.#kept = text;
  }

  #nowMs(): number {
    return (this.#parts.nowMs ?? Date.now)();
  }
}
