/**
 * The enroller: brings the pods of this node into the mesh and out of it. Each pass observes where pods are (observe.ts), decides what to
 * do (decide.ts, pure), does it pod by pod, and reports. A pass does one step at a time, each so that an error or a kill half way leaves a
 * pod captured and refused, never plain. Sole owner of which pods are enrolled, and of why others wait.
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

/** What discovery wants of this node. */
export interface Desired {
  readonly wanted: ReadonlyMap<WorkloadUid, NodePod>;
  /** Pods that are known not to be meant. */
  readonly uncaptured: Uncaptured;
}

/** What it works with; each part is another file's. */
export interface EnrollerParts extends ObserverParts {
  readonly hooks: Pick<
    PodHooks,
    'attached' | 'attachedAtMs' | 'inodeOf' | 'namespaceOf' | 'detach' | 'owners'
  >;
  /** datapath/loader.ts: the hook's failure explained. */
  readonly attach: (cookie: bigint, netns: string) => Promise<void>;
  readonly maps: {
    write(pod: NodePod, cookie: bigint, capture: boolean): void;
    lift(cookie: bigint): () => void;
    remove(cookie: bigint): void;
  };
  readonly workers: {
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
  /** Cookies of the connections that the kernel carries. */
  readonly kernelCookies: () => ReadonlySet<bigint>;
  /** A pod has left the mesh, with whatever connections it has. */
  readonly onReleased: (local: LocalPod) => void;
  /** Begins a pass: what is wanted now; undefined where nothing is to be changed. */
  readonly beginPass: () => Desired | undefined;
  /** Ends a pass: what depends on who is enrolled. `isChanged`: a pod was enrolled, changed or released. */
  readonly endPass: (isChanged: boolean) => void;
  /** After each pass, also after one that failed. */
  readonly report: () => void;
  readonly nowMs?: () => number;
  /** conntrack.ts, where absent. */
  readonly settleMs?: () => number;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, text: string) => void>;
}

/** Whether the kubelet has told an address of it; a pod without Kubernetes is there when its network namespace is. */
const hasSandbox = (pod: NodePod | undefined): boolean =>
  pod?.podUid === '' || (pod?.addresses.length ?? 0) > 0;

export class Enroller {
  readonly #parts: EnrollerParts;
  readonly #observer: PodObserver;
  readonly #pods = new EnrolledPods();
  readonly #waiting = new Map<WorkloadUid, string>();
  readonly #unknown = new Set<WorkloadUid>();
  /** Wanted pods that nobody waits for: refused, or without a sandbox, which may never be made. */
  readonly #unawaited = new Set<WorkloadUid>();
  /** Namespaces whose rows in the kernel's maps are still to be removed. */
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

  /** Wanted pods that are not in the mesh, or of which something is not known, and why. */
  get waiting(): ReadonlyMap<WorkloadUid, string> {
    return this.#waiting;
  }

  /** How many of them could not be looked at. */
  get unknown(): number {
    return this.#unknown.size;
  }

  /**
   * Whether all that may come has come. What this machine does not take keeps it from nothing; nor does a pod whose sandbox nobody has made
   * yet: whoever makes one with a volume that does not exist would stop the upgrade of all agents.
   */
  isWhole(wanted: ReadonlyMap<WorkloadUid, NodePod>): boolean {
    for (const uid of wanted.keys()) {
      if (this.#unawaited.has(uid)) continue;
      if (!this.#pods.isEnrolled(uid) || this.#waiting.has(uid)) return false;
    }
    return true;
  }

  /** A pass is between its first enrollment and its end: listeners, hooks and verdicts come one after the other. */
  get isEnrolling(): boolean {
    return this.#isEnrolling;
  }

  /** A whole pass has succeeded. */
  get hasPassed(): boolean {
    return this.#hasPassed;
  }

  /** Also a wanted pod that was not found since a restart: what the kernel carries of it is held against policy all the same. */
  podOf(cookie: bigint): LocalPod | undefined {
    return this.#pods.podOf(cookie);
  }

  sinceMs(cookie: bigint): number {
    return this.#pods.sinceMs(cookie);
  }

  /** Whether connections of a pod may be given to the kernel by now. */
  hasSettled(uid: WorkloadUid): boolean {
    return this.#pods.hasSettled(uid, this.#nowMs());
  }

  /** The CNI plugin has the pod's sandbox, before the pod's first process. Throws where `netns` cannot be opened. */
  start(podUid: string, netns: string, addresses: readonly IpAddress[]): void {
    this.#observer.start(podUid, netns, addresses);
  }

  /** The pod's sandbox is another one. */
  forgetSandbox(podUid: string): void {
    this.#observer.forget(podUid);
  }

  /** The worker that had their listeners is gone: they are made anew. Capture stays, and refuses meanwhile. */
  lostListeners(uids: readonly WorkloadUid[]): void {
    for (const uid of uids) if (this.#pods.all.has(uid)) this.#pods.markIncomplete(uid);
  }

  /** Runs a pass. Passes that are asked for while one runs are one more, after it. Never rejects. */
  sync(): Promise<void> {
    if (this.#running) {
      this.#isAskedAgain = true;
      return this.#running;
    }
    this.#running = this.#passes()
      .catch((error: unknown) => {
        this.#parts.log.error({ error: errorText(error) }, 'reconcile failed, tried again');
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
   * One pass. What fails for one pod is why that pod waits, and does not keep others from theirs. True where a pod was enrolled, changed
   * or released.
   */
  async pass(desired: Desired): Promise<boolean> {
    const steps = this.#decide(desired);
    this.#recordWaiting(steps.waiting, desired.wanted);
    this.#keep(steps.kept, desired.wanted);
    await this.#releaseAll(steps);
    for (const local of steps.change)
      await this.#step(local.pod.uid, 'pod not changed, tried again', () => this.#change(local));
    if (steps.enroll.length > 0) this.#isEnrolling = true;
    const enrolled = await this.#enrollAll(steps.enroll);
    this.#parts.workers.sync(this.enrolled);
    if (steps.orphans.length > 0)
      this.#parts.log.info({ hooks: steps.orphans.length }, 'hooks of pods of a former life removed');
    return enrolled.length + steps.change.length + steps.release.length > 0;
  }

  async #releaseAll({ release, orphans }: Steps): Promise<void> {
    for (const local of release)
      await this.#step(local.pod.uid, 'pod not released, tried again', () => this.#release(local));
    for (const cookie of orphans)
      await this.#step(undefined, 'hook of a former life not removed, tried again', () =>
        this.#dropOrphan(cookie),
      );
    // Before the namespace may be another pod's.
    for (const cookie of this.#leftovers)
      await this.#step(undefined, 'rows of a released pod not removed, tried again', () => {
        this.#parts.maps.remove(cookie);
        this.#leftovers.delete(cookie);
      });
  }

  /** Those that were enrolled. */
  async #enrollAll(locals: readonly LocalPod[]): Promise<readonly LocalPod[]> {
    const { hooks, verdicts } = this.#parts;
    const enrolled: LocalPod[] = [];
    // Listed again: a namespace that was another pod's a moment ago is not captured any more.
    const adoptable = new Set(locals.length > 0 ? hooks.attached() : []);
    for (const local of locals)
      await this.#step(local.pod.uid, 'pod not enrolled, tried again', async () => {
        await this.#enroll(local, adoptable.has(local.netns.cookie));
        enrolled.push(local);
      });
    // After all of them: what the kernel was allowed before is the agent's to decide anew, which both ends need.
    for (const local of enrolled)
      await this.#step(local.pod.uid, 'pod without verdicts, tried again', () => {
        this.#pods.markIncomplete(local.pod.uid);
        verdicts.admit(local);
        this.#pods.markComplete(local.pod.uid);
      });
    return enrolled;
  }

  /**
   * Listeners for the pods of a former life that would be enrolled, and nothing else: in a pod that is captured, the one that stands there
   * is replaced in one step. Before the first turn, so that a hand-over has a listener in each pod at every moment.
   */
  async listenAhead(desired: Desired): Promise<void> {
    const attached = new Set(this.#parts.hooks.attached());
    for (const local of this.#decide(desired).enroll) {
      if (!attached.has(local.netns.cookie)) continue;
      await this.#step(local.pod.uid, 'listeners of a pod not made ahead, made with its enrollment', () =>
        this.#parts.workers.assign(local),
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

  /** Replaces why pods wait by what this pass found. */
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
        this.#parts.log.warn({ pod: uid, why }, 'pod could not be looked at: it stays as it is');
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
      workers,
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
    // What is left there of another pod, write() replaces.
    this.#leftovers.delete(cookie);
    hooks.owners.record(cookie, ownerKey(local.pod));
    await workers.assign(local);
    // A pod that was captured before stays so throughout: capture is never lifted to be set again.
    maps.write(local.pod, cookie, adopted);
    await attach(cookie, netns);
    maps.write(local.pod, cookie, true);
    const nowMs = this.#nowMs();
    this.#pods.markCaptured(cookie, nowMs);
    // Before a pod's first packet there is nothing that connection tracking could remember of it.
    if (!this.#observer.isStarted(local.pod.podUid)) {
      const attachedAtMs = adopted ? hooks.attachedAtMs(cookie) : nowMs;
      this.#pods.settleAt(uid, nowMs + settleLeftMs(settleMs(), attachedAtMs, nowMs));
    }
    preexisting.admit(local, kernelCookies());
    this.#pods.markComplete(uid);
    this.#waiting.delete(uid);
    workers.sync(this.enrolled);
    log.info({ pod: uid, cookie: String(cookie), adopted }, 'pod enrolled');
  }

  async #change(local: LocalPod): Promise<void> {
    const { maps, workers, verdicts } = this.#parts;
    const { cookie } = local.netns;
    const before = this.#pods.all.get(local.pod.uid);
    try {
      maps.write(local.pod, cookie, true);
    } catch (error) {
      // The kernel goes by no verdict of settings that are no longer wanted.
      this.#pods.markIncomplete(local.pod.uid);
      if (before) verdicts.dismiss(before);
      throw error;
    }
    this.#pods.replace(local);
    verdicts.admit(local);
    // Should this fail, the listeners are still there and the settings reach the worker with all pods.
    await workers.assign(local);
  }

  async #release(local: LocalPod): Promise<void> {
    const { verdicts, preexisting, workers, onReleased: left, log } = this.#parts;
    const { cookie } = local.netns;
    const { uid } = local.pod;
    // Should it be wanted again before this is done, it is enrolled anew.
    this.#pods.markIncomplete(uid);
    // Nothing new by the kernel, and capture off, so that nothing is sent to a listener that is about to go.
    verdicts.dismiss(local);
    this.#open(cookie);
    // From here on it is out, whatever fails: it would be enrolled anew.
    left(local);
    preexisting.dismiss(uid);
    this.#pods.remove(local);
    await this.#step(undefined, 'listeners of a released pod: the worker did not answer', () =>
      workers.unassign(uid),
    );
    log.info({ pod: uid }, 'pod released');
  }

  /** Takes a namespace out of the mesh; after an error it is captured as it was. */
  #open(cookie: bigint): void {
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
    this.#open(cookie);
  }

  #attachedFor(wanted: ReadonlyMap<WorkloadUid, NodePod>): bigint[] {
    try {
      return this.#parts.hooks.attached();
    } catch (error) {
      // Nothing is known of anybody: nothing is done, and all say so.
      for (const uid of wanted.keys()) {
        this.#unknown.add(uid);
        this.#waiting.set(uid, `the hooks in the kernel could not be listed: ${errorText(error)}`);
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
        'hooks of a former life stay: they may be of a wanted pod that was not found, or of one whose object is gone and whose processes run; it stays captured, and is refused',
      );
    this.#kept = text;
  }

  #nowMs(): number {
    return (this.#parts.nowMs ?? Date.now)();
  }
}
