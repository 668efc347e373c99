/**
 * The pods of this node in the mesh: enrolled, changed and released one step at a time, each so that an error or a kill half way leaves
 * a pod captured and refused, never plain. Sole owner of who is held, and of why others wait.
 */
import { errorText } from '../../src/base/errors.js';
import type { IpAddress } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { PodHooks } from '../datapath/hooks.js';
import { isOfKubernetes, ownerKey } from '../datapath/owners.js';
import type { LocalPod } from '../worker-ipc.js';
import { observe, type Observation } from '../pod/netns.js';
import { conntrackSettleMs, settleLeftMs } from './conntrack.js';
import { isInhabited, type NetnsFinder } from './netns-finder.js';
import { refusalOf, type NetnsRules } from './rules.js';
import { decideSteps, type Intent, type Seen, type Steps, type Uncaptured } from './decide.js';

/** What it works with; each part is another file's. */
export interface EnrollerParts {
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
  readonly carried: () => ReadonlySet<bigint>;
  /** A pod has left the mesh, with whatever connections it has. */
  readonly onReleased: (local: LocalPod) => void;
  readonly namespaces: Pick<NetnsFinder, 'refresh' | 'pathOf' | 'hold' | 'forget' | 'problem'>;
  readonly rules: NetnsRules;
  /** Network namespaces that are no pod, whatever anybody says: the agent's own and the machine's. */
  readonly neverPods: ReadonlySet<bigint>;
  readonly observe?: (path: string) => Observation;
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
  /** Pods with anything of this agent in their namespace, wholly or half. */
  readonly #held = new Map<WorkloadUid, LocalPod>();
  /** Of these, those that are not wholly enrolled: tried again, and released as the others are. */
  readonly #incomplete = new Set<WorkloadUid>();
  readonly #byCookie = new Map<bigint, LocalPod>();
  /** Pods whose hook of a former life is kept, though they were not found: no path leads there (`netns` is empty). */
  readonly #lost = new Map<bigint, LocalPod>();
  readonly #waiting = new Map<WorkloadUid, string>();
  readonly #unknown = new Set<WorkloadUid>();
  /** Wanted pods that nobody waits for: refused, or without a sandbox, which may never be made. */
  readonly #unawaited = new Set<WorkloadUid>();
  /** Pods whose connections go by the agent until then (epoch ms): conntrack.ts. */
  readonly #settling = new Map<WorkloadUid, number>();
  /** By network namespace cookie: when this agent enrolled the pod, or took it over (epoch ms). */
  readonly #since = new Map<bigint, number>();
  /** By pod UID: addresses that the CNI plugin told of, before the control plane could. */
  readonly #started = new Map<string, readonly IpAddress[]>();
  /** Namespaces whose rows in the kernel's maps are still to be removed. */
  readonly #leftovers = new Set<bigint>();
  #kept = '';

  constructor(parts: EnrollerParts) {
    this.#parts = parts;
  }

  /** Pods in the mesh. */
  get enrolled(): ReadonlyMap<WorkloadUid, LocalPod> {
    return this.#incomplete.size === 0
      ? this.#held
      : new Map([...this.#held].filter(([uid]) => !this.#incomplete.has(uid)));
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
      if (!this.#held.has(uid) || this.#incomplete.has(uid) || this.#waiting.has(uid)) return false;
    }
    return true;
  }

  /** Also a wanted pod that was not found since a restart: what the kernel carries of it is held against policy all the same. */
  podOf(cookie: bigint): LocalPod | undefined {
    return this.#byCookie.get(cookie) ?? this.#lost.get(cookie);
  }

  sinceMs(cookie: bigint): number {
    return this.#since.get(cookie) ?? 0;
  }

  /** Whether connections of a pod may be given to the kernel by now. */
  hasSettled(uid: WorkloadUid): boolean {
    if ((this.#settling.get(uid) ?? 0) > this.#nowMs()) return false;
    this.#settling.delete(uid);
    return true;
  }

  /** The CNI plugin has it, before its first process: there is nothing yet that its namespace could be found by. Throws. */
  start(podUid: string, netns: string, addresses: readonly IpAddress[]): void {
    this.#parts.namespaces.hold(podUid, netns);
    this.#started.set(podUid, addresses);
  }

  /** The pod's sandbox is another one. */
  forgetSandbox(podUid: string): void {
    this.#parts.namespaces.forget(podUid);
    this.#started.delete(podUid);
  }

  /** The worker that had their listeners is gone: they are made anew. Capture stays, and refuses meanwhile. */
  lostListeners(uids: readonly WorkloadUid[]): void {
    for (const uid of uids) if (this.#held.has(uid)) this.#incomplete.add(uid);
  }

  /**
   * One turn of what discovery wants. What fails for one pod is told of it, and does not keep others from theirs. True where a pod was
   * enrolled, changed or released.
   */
  async turn(
    wanted: ReadonlyMap<WorkloadUid, NodePod>,
    unmeant: Uncaptured,
    onEnrolling: () => void,
  ): Promise<boolean> {
    const { hooks, maps, verdicts, workers, log } = this.#parts;
    const uids = new Set([...wanted.values()].map(({ podUid }) => podUid));
    for (const podUid of [...this.#started.keys()]) if (!uids.has(podUid)) this.#started.delete(podUid);
    const steps = this.#steps(wanted, unmeant);
    this.#waiting.clear();
    const before = new Set(this.#unknown);
    this.#unknown.clear();
    this.#unawaited.clear();
    for (const { uid, why, state } of steps.waiting) {
      this.#waiting.set(uid, why);
      if (state === 'refused' || (state === 'coming' && !hasSandbox(wanted.get(uid))))
        this.#unawaited.add(uid);
      if (state === 'unknown') this.#unknown.add(uid);
      if (state === 'unknown' && !before.has(uid))
        log.warn({ pod: uid, why }, 'pod could not be looked at: it stays as it is');
    }
    this.#keep(steps.kept, wanted);
    for (const local of steps.release)
      await this.#step(local.pod.uid, 'pod not released, tried again', () => this.#release(local));
    for (const cookie of steps.orphans)
      await this.#step(undefined, 'hook of a former life not removed, tried again', () =>
        this.#dropOrphan(cookie),
      );
    // Before the namespace may be another pod's.
    for (const cookie of this.#leftovers)
      await this.#step(undefined, 'rows of a released pod not removed, tried again', () => {
        maps.remove(cookie);
        this.#leftovers.delete(cookie);
      });
    for (const local of steps.change)
      await this.#step(local.pod.uid, 'pod not changed, tried again', () => this.#change(local));
    if (steps.enroll.length > 0) onEnrolling();
    const enrolled: LocalPod[] = [];
    // Anew: a namespace that was another pod's a moment ago is not captured any more.
    const adoptable = new Set(steps.enroll.length > 0 ? hooks.attached() : []);
    for (const local of steps.enroll) {
      await this.#step(local.pod.uid, 'pod not enrolled, tried again', async () => {
        await this.#enroll(local, adoptable.has(local.netns.cookie));
        enrolled.push(local);
      });
    }
    // After all of them: what the kernel was allowed before is the agent's to decide anew, which both ends need.
    for (const local of enrolled) {
      await this.#step(local.pod.uid, 'pod without verdicts, tried again', () => {
        this.#incomplete.add(local.pod.uid);
        verdicts.admit(local);
        this.#incomplete.delete(local.pod.uid);
      });
    }
    workers.sync(this.enrolled);
    if (steps.orphans.length > 0)
      log.info({ hooks: steps.orphans.length }, 'hooks of pods of a former life removed');
    return enrolled.length + steps.change.length + steps.release.length > 0;
  }

  /**
   * Listeners for the pods of a former life that would be enrolled, and nothing else: in a pod that is captured, the one that stands there
   * is replaced in one step. Before the first turn, so that a hand-over has a listener in each pod at every moment.
   */
  async listenAhead(wanted: ReadonlyMap<WorkloadUid, NodePod>, unmeant: Uncaptured): Promise<void> {
    const attached = new Set(this.#parts.hooks.attached());
    for (const local of this.#steps(wanted, unmeant).enroll) {
      if (!attached.has(local.netns.cookie)) continue;
      await this.#step(local.pod.uid, 'listeners of a pod not made ahead, made with its enrollment', () =>
        this.#parts.workers.assign(local),
      );
    }
  }

  #steps(wanted: ReadonlyMap<WorkloadUid, NodePod>, unmeant: Uncaptured): Steps {
    const { hooks } = this.#parts;
    const attached = this.#attachedFor(wanted);
    return decideSteps(
      this.#intentsOf([...wanted.values()]),
      this.#held,
      {
        attached: attached.filter((cookie) => !this.#isIncomplete(cookie)),
        namespaceOf: (cookie) => hooks.namespaceOf(cookie),
        isDeserted: (cookie) => {
          const inode = hooks.inodeOf(cookie);
          return inode !== undefined && (inode === 0 || isInhabited(inode) === false);
        },
        ownerOf: (cookie) => hooks.owners.of(cookie),
        ownerKey,
        isOfKubernetes,
      },
      unmeant,
    );
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
      carried,
      log,
      settleMs = conntrackSettleMs,
    } = this.#parts;
    const { cookie, netns } = local.netns;
    const { uid } = local.pod;
    const before = this.#held.get(uid);
    // Its release failed, and is tried again: two namespaces of one name would share what is kept by name.
    if (before && before.netns.cookie !== cookie)
      throw new Error('its former network namespace is not released yet');
    this.#held.set(uid, local);
    this.#incomplete.add(uid);
    this.#byCookie.set(cookie, local);
    // What is left there of another pod, write() replaces.
    this.#leftovers.delete(cookie);
    hooks.owners.record(cookie, ownerKey(local.pod));
    await workers.assign(local);
    // A pod that was captured before stays so throughout: capture is never lifted to be set again.
    maps.write(local.pod, cookie, adopted);
    await attach(cookie, netns);
    maps.write(local.pod, cookie, true);
    this.#since.set(cookie, this.#nowMs());
    // Before a pod's first packet there is nothing that connection tracking could remember of it.
    if (!this.#started.has(local.pod.podUid)) {
      const nowMs = this.#nowMs();
      const attachedAtMs = adopted ? hooks.attachedAtMs(cookie) : nowMs;
      this.#settling.set(uid, nowMs + settleLeftMs(settleMs(), attachedAtMs, nowMs));
    }
    preexisting.admit(local, carried());
    this.#incomplete.delete(uid);
    this.#waiting.delete(uid);
    workers.sync(this.enrolled);
    log.info({ pod: uid, cookie: String(cookie), adopted }, 'pod enrolled');
  }

  async #change(local: LocalPod): Promise<void> {
    const { maps, workers, verdicts } = this.#parts;
    const { cookie } = local.netns;
    const before = this.#held.get(local.pod.uid);
    try {
      maps.write(local.pod, cookie, true);
    } catch (error) {
      // The kernel goes by no verdict of settings that are no longer wanted.
      this.#incomplete.add(local.pod.uid);
      if (before) verdicts.dismiss(before);
      throw error;
    }
    this.#held.set(local.pod.uid, local);
    this.#byCookie.set(cookie, local);
    verdicts.admit(local);
    // Should this fail, the listeners are still there and the settings reach the worker with all pods.
    await workers.assign(local);
  }

  async #release(local: LocalPod): Promise<void> {
    const { verdicts, preexisting, workers, onReleased: left, log } = this.#parts;
    const { cookie } = local.netns;
    const { uid } = local.pod;
    // Should it be wanted again before this is done, it is enrolled anew.
    this.#incomplete.add(uid);
    // Nothing new by the kernel, and capture off, so that nothing is sent to a listener that is about to go.
    verdicts.dismiss(local);
    this.#open(cookie);
    // From here on it is out, whatever fails: it would be enrolled anew.
    left(local);
    preexisting.dismiss(uid);
    this.#settling.delete(uid);
    this.#held.delete(uid);
    this.#incomplete.delete(uid);
    if (this.#byCookie.get(cookie) === local) this.#byCookie.delete(cookie);
    this.#since.delete(cookie);
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

  #isIncomplete(cookie: bigint): boolean {
    const local = this.#byCookie.get(cookie);
    return local !== undefined && this.#incomplete.has(local.pod.uid);
  }

  #keep(kept: readonly bigint[], wanted: ReadonlyMap<WorkloadUid, NodePod>): void {
    this.#lost.clear();
    const byOwner =
      kept.length > 0 ? new Map([...wanted.values()].map((pod) => [ownerKey(pod), pod])) : undefined;
    for (const cookie of kept) {
      const pod = byOwner?.get(this.#parts.hooks.owners.of(cookie) ?? '');
      if (pod) this.#lost.set(cookie, { pod, netns: { cookie, netns: '' } });
    }
    const text = kept.join(' ');
    if (text !== this.#kept && kept.length > 0)
      this.#parts.log.warn(
        { cookies: kept.map(String) },
        'hooks of a former life stay: they may be of a wanted pod that was not found, or of one whose object is gone and whose processes run; it stays captured, and is refused',
      );
    this.#kept = text;
  }

  /** Pods that say where they are (without Kubernetes), and those that are found by their processes. */
  #intentsOf(pods: readonly NodePod[]): Intent[] {
    const { namespaces, rules } = this.#parts;
    const found = pods.filter(({ podUid }) => podUid !== '');
    namespaces.refresh(new Set(found.map(({ podUid }) => podUid)));
    return pods.map((as): Intent => {
      // A pod of Kubernetes is found by its processes alone: its author could name a neighbor's namespace.
      const told = as.podUid === '' ? as : { ...as, netns: '' };
      const early = told.addresses.length === 0 ? this.#started.get(told.podUid) : undefined;
      const addressed = early ? { ...told, addresses: early } : told;
      const refused = refusalOf(told, rules);
      if (refused !== undefined) return { pod: addressed, seen: { kind: 'refused', why: refused } };
      const netns = told.netns === '' ? namespaces.pathOf(told.podUid) : told.netns;
      if (netns === undefined) return { pod: addressed, seen: this.#unseen() };
      return { pod: { ...addressed, netns }, seen: this.#see(netns) };
    });
  }

  #unseen(): Observation {
    const { problem: trouble } = this.#parts.namespaces;
    return trouble === undefined
      ? { kind: 'absent', why: 'no process of the pod is in a network namespace of its own yet' }
      : { kind: 'unknown', why: `the pod's processes could not be looked for: ${trouble}` };
  }

  #see(netns: string): Seen {
    const seen = (this.#parts.observe ?? observe)(netns);
    return seen.kind === 'present' && this.#parts.neverPods.has(seen.cookie)
      ? { kind: 'refused', why: `${netns} is the node's own network namespace, which is never a pod` }
      : seen;
  }

  #nowMs(): number {
    return (this.#parts.nowMs ?? Date.now)();
  }
}
