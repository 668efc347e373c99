/**
 * The part of the agent that exists while this process owns its node: kernel programs and maps, verdicts, enrollment, the node's ports. It
 * is created each time this agent becomes active, as in a freshly started agent. Open connections are not affected.
 */
import { errorText, WeftError } from '../src/base/errors.js';
import { sleep } from '../src/base/wait.js';
import { version } from '../src/base/version.js';
import type { NodeReport } from '../src/discovery/gen/weft.js';
import type { NodePod } from '../src/model/node-pod.js';
import type { WorkloadUid } from '../src/model/workload.js';
import type { MeshState } from '../src/state/store.js';
import type { ConnectionLog } from '../src/telemetry/connection-log.js';
import type { HttpServer } from '../src/telemetry/servers.js';
import type { MeshMetrics } from '../src/telemetry/metrics.js';
import type { Certificates } from '../src/tls/certificate-manager.js';
import { serveAdmin } from './admin.js';
import { attemptWith, type Attempt } from './attempt.js';
import { Cni, cniOptionsOf, removeCni } from './cni/cni.js';
import type { AddRequest } from './cni/protocol.js';
import { readCounters } from './maps/count.js';
import { watchEvents } from './maps/events.js';
import { watchFlows } from './maps/flows.js';
import { takeRequests } from './maps/requests.js';
import { cniProgram, Datapath, removeInstance } from './datapath/loader.js';
import type { NodeRelay } from './node-relay.js';
import type { Subscriptions } from './discovery/subscriptions.js';
import { Enroller } from './enroll/enroller.js';
import { NetnsFinder } from './enroll/netns-finder.js';
import { Preexisting } from './enroll/preexisting.js';
import { podsReported, type NodeReporter } from './enroll/report.js';
import type { Inheritance } from './handover/protocol.js';
import { KernelFlows } from './kernel/flows.js';
import { GoldenSignals } from './kernel/golden-signals.js';
import { Lease } from './kernel/lease.js';
import { KernelServices } from './kernel/services.js';
import { Verdicts } from './kernel/verdicts.js';
import type { AgentOptions } from './options.js';
import { observe } from './pod/netns.js';
import { netnsCookie } from './pod/sockets.js';
import { ReadyFile } from './readiness.js';

const tickMs = 1_000;
const sweepTicks = 60;
const inheritedSweepTick = 5;
/** Passes after a hand-over until all pods are taken over. */
const passesMax = 10;
const passAgainMs = 200;

/** Parts that live as long as the process, whether it owns the node or not. */
export interface AgentParts {
  readonly options: AgentOptions;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, text: string) => void>;
  readonly state: MeshState;
  readonly metrics: MeshMetrics;
  readonly connectionLog: ConnectionLog;
  readonly certificates: Certificates;
  readonly relay: NodeRelay;
  readonly subscriptions: Subscriptions;
  readonly reporter: NodeReporter;
  readonly isSynced: () => boolean;
  readonly control: () => { readonly state: string; readonly why: string };
  readonly undecodable: () => readonly object[];
  /** Requests the certificates of the pods that are wanted now. */
  readonly wantCertificates: () => void;
}

/** Cookies of the agent's own network namespace and the machine's, which are never a pod's. */
function neverPods(): Set<bigint> {
  const machine = observe('/proc/1/ns/net');
  return new Set([netnsCookie(''), ...(machine.kind === 'present' ? [machine.cookie] : [])]);
}

/** Directory of a node's pinned maps. Nothing is touched. */
export const pinDirOf = ({ instance, cgroups }: AgentOptions): string => new Datapath(instance, cgroups).dir;

export class ActiveAgent {
  readonly #parts: AgentParts;
  readonly #isInherited: boolean;
  readonly #datapath: Datapath;
  readonly #verdicts: Verdicts;
  readonly #services: KernelServices;
  readonly #preexisting: Preexisting;
  readonly #kernelFlows: KernelFlows;
  readonly #goldenSignals: GoldenSignals;
  readonly #enroller: Enroller;
  readonly #readiness: ReadyFile;
  readonly #attempt: Attempt;
  /** Features that this kernel lacks, and why; known once the programs are loaded. */
  #missing: ReadonlyMap<string, string> = new Map();
  /** Undefined until the programs are loaded. */
  #lease: Lease | undefined;
  #cni: Cni | undefined;
  #servers: readonly HttpServer[] = [];
  #stopWatching = (): void => undefined;
  #timer: NodeJS.Timeout | undefined;
  #ticks = 0;
  #formerGenerations = 0;
  #arriving: Promise<void> | undefined;
  #isClosed = false;

  /**
   * Resolves once the programs are attached, every pod that can be enrolled is, and the ports respond. The caller holds the instance's
   * lock. Errors: those of Datapath.start, WEFT_LISTEN, WEFT_HANDOVER.
   * @param onMade called before the first pass: from then on changes may be passed to the new object
   */
  static async start(
    parts: AgentParts,
    inherited: Inheritance | undefined,
    onMade: (active: ActiveAgent) => void,
  ): Promise<void> {
    const active = new ActiveAgent(parts, inherited);
    await active.#load();
    await active.#startCni();
    active.#watch();
    onMade(active);
    await active.#firstPass();
    active.keepCni();
    active.#servers = await active.#serve();
    const { instance, workers, relay } = parts.options;
    parts.log.info({ instance, relay, ...(relay === 'typescript' ? { workers } : {}) }, 'agent started');
  }

  private constructor(parts: AgentParts, inherited: Inheritance | undefined) {
    this.#parts = parts;
    this.#isInherited = inherited !== undefined;
    const { options, log, state, metrics, relay } = parts;
    this.#attempt = attemptWith(log);
    this.#datapath = new Datapath(options.instance, options.cgroups);
    const { maps } = this.#datapath;
    this.#verdicts = new Verdicts(
      maps,
      state,
      options.node,
      options.verdictLeaseMs,
      () => metrics.limitReached.inc({ limit: 'verdicts' }),
      (error) =>
        log.error(
          { error: errorText(error) },
          'verdicts of a pod could not be moved: the pod has none until a retry succeeds',
        ),
      inherited && ((cookie) => this.#enroller.podOf(cookie)),
      () => metrics.limitReached.inc({ limit: 'handover-verdicts' }),
    );
    this.#services = new KernelServices(maps, () => metrics.limitReached.inc({ limit: 'kernel-services' }));
    this.#preexisting = new Preexisting(inherited?.preexisting);
    this.#kernelFlows = new KernelFlows({
      datapath: this.#datapath,
      view: state,
      podOf: (cookie) => this.#enroller.podOf(cookie),
      metrics,
      log: parts.connectionLog,
      onError: (error) =>
        log.error({ error: errorText(error) }, 'a forbidden connection could not be closed'),
    });
    this.#goldenSignals = new GoldenSignals({
      attach: (isWanted) => this.#datapath.observe(isWanted),
      take: () => takeRequests(maps),
      pods: () => this.#enroller.enrolled.values(),
      podOf: (cookie) => this.#enroller.podOf(cookie),
      openingOf: (between) => this.#kernelFlows.openingBetween(between),
      metrics,
      onError: (error) => {
        metrics.lacks(['golden-signals']);
        log.warn(
          { error: errorText(error) },
          'requests of kernel flows are not counted; trying again every minute',
        );
      },
    });
    this.#enroller = new Enroller({
      hooks: this.#datapath.hooks,
      attach: (cookie, netns) => this.#datapath.attachPod(cookie, netns),
      maps: maps.pods,
      relay,
      verdicts: this.#verdicts,
      preexisting: this.#preexisting,
      kernelCookies: () => this.#kernelFlows.cookies(),
      onReleased: (local) => this.#kernelFlows.podLeft(local),
      namespaces: new NetnsFinder(),
      rules: options,
      neverPods: neverPods(),
      beginPass: () => this.#beginPass(),
      endPass: (isChanged) => this.#endPass(isChanged),
      report: () => this.writeReady(),
      log,
    });
    this.#readiness = new ReadyFile(options.run, (error) =>
      log.error({ error: errorText(error) }, 'readiness could not be written; retrying'),
    );
  }

  /** Programs and maps are in force once this resolves. By then the pods that a previous agent process enrolled have listeners. */
  async #load(): Promise<void> {
    const { options, log, relay, metrics, subscriptions } = this.#parts;
    let hasMaps = false;
    const openMaps = (): void => {
      if (!hasMaps) relay.openMaps();
      hasMaps = true;
    };
    const missing = await this.#datapath.start(async () => {
      openMaps();
      if (this.#parts.isSynced()) await this.#enroller.listenAhead(subscriptions);
    });
    openMaps();
    this.#missing = missing;
    metrics.lacks(missing.keys());
    for (const [feature, why] of missing)
      log.warn(
        { feature, why },
        'this kernel lacks a feature; the connections concerned take the slower path',
      );
    this.#datapath.maps.node.setNode(netnsCookie(''), {
      ...options,
      ...(missing.has('splice') ? { spliceBytesMax: 0 } : {}),
    });
    for (const cookie of this.#datapath.adoptedHooks.dead)
      log.info(
        { cookie: String(cookie) },
        'hook removed: its network namespace ended while no agent was running',
      );
    this.#lease = new Lease({
      verdicts: this.#verdicts,
      flows: this.#kernelFlows,
      isUnused: missing.has('kernel-path'),
      attempt: this.#attempt,
      onCut: (cut) => log.info({ cut }, 'kernel flows closed that policy now forbids'),
      onNotRenewed: () => metrics.limitReached.inc({ limit: 'lease-not-renewed' }),
    });
  }

  async #startCni(): Promise<void> {
    const { options, log, certificates, subscriptions, isSynced, control } = this.#parts;
    const { wanted, uncaptured, enrolledNamespaces } = subscriptions;
    const cniOptions = cniOptionsOf(options, cniProgram, log);
    if (!cniOptions) return;
    if (options.cniPlugin === 'remove') return removeCni(cniOptions);
    this.#cni = await Cni.start(cniOptions, {
      synced: isSynced,
      connected: () => control().state === 'connected',
      wanted: (podUid) => [...wanted.values()].find((pod) => pod.podUid === podUid),
      uncaptured: (podUid) => [...uncaptured.values()].find((pod) => pod.podUid === podUid),
      isEnrolled: (namespace) => enrolledNamespaces.has(namespace),
      enroll: (pod, request) => this.#enrollStarting(pod, request),
      hasCertificate: (pod) => certificates.get(pod.identity) !== undefined,
    });
  }

  /** Enrolls a pod whose sandbox the CNI plugin holds open. Resolves with the reason if the pod is not enrolled, undefined if it is. */
  async #enrollStarting(
    pod: NodePod,
    { netns, addresses }: Pick<AddRequest, 'netns' | 'addresses'>,
  ): Promise<string | undefined> {
    const enroller = this.#enroller;
    enroller.start(pod.podUid, netns, addresses);
    await this.sync();
    const local = enroller.enrolled.get(pod.uid);
    const seen = observe(netns);
    return local?.pod.podUid === pod.podUid && seen.kind === 'present' && seen.cookie === local.netns.cookie
      ? undefined
      : (enroller.waiting.get(pod.uid) ?? 'it could not be enrolled');
  }

  #watch(): void {
    const stopEvents = watchEvents(this.#datapath.maps, (event) =>
      this.#parts.log.warn({ ...event, cookie: String(event.cookie) }, 'refused in the kernel'),
    );
    const stopFlows = watchFlows(this.#datapath, (flows) => this.#kernelFlows.onFlows(flows));
    this.#stopWatching = () => {
      stopEvents();
      stopFlows();
    };
    // Network namespaces appear and vanish without a resource update.
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  async #firstPass(): Promise<void> {
    this.writeReady();
    await this.sync();
    this.#renewRules();
    // If this agent takes over no pod, it gives up, and the former agent, which still holds the pods, continues.
    for (let tries = 1; this.#isInherited && this.#parts.isSynced() && !this.#enroller.hasPassed; tries++) {
      if (tries === passesMax)
        throw new WeftError('WEFT_HANDOVER', 'no pod could be taken over: see the errors logged before');
      await sleep(passAgainMs);
      await this.sync();
    }
  }

  #serve(): Promise<HttpServer[]> {
    return serveAdmin({
      ...this.#parts,
      enroller: this.#enroller,
      preexisting: this.#preexisting,
      kernelFlows: this.#kernelFlows,
      readiness: this.#readiness,
      missing: this.#missing,
      cniStatus: () => (this.#cni ? this.#cni.problem || 'in its place' : 'not installed by this agent'),
      counters: () => readCounters(this.#datapath.maps),
      isReady: () => this.isReady(),
      isEmpty: () => this.isEmpty(),
    });
  }

  /**
   * Work that no resource update triggers: entries that no event has ended, hooks of former builds, the lease, the report, new network
   * namespaces.
   */
  #tick(): void {
    const { log, reporter, control } = this.#parts;
    const lease = this.#lease;
    if (!lease) return;
    this.#ticks++;
    // After a hand-over there is one early sweep: a connection that the former agent's verdicts allowed may not have sent its SYN at the
    // first sweep.
    const isSoon = this.#isInherited && this.#ticks === inheritedSweepTick;
    if (lease.isSwept && (isSoon || this.#ticks % sweepTicks === 0)) lease.sweep();
    this.#attempt('former generations could not be read; retrying', () => {
      const left = this.#datapath.removeFormer((flows) => this.#kernelFlows.onFlows(flows));
      if (left !== this.#formerGenerations)
        log.info({ generations: left }, 'connections of builds with other maps continue in the kernel');
      this.#formerGenerations = left;
    });
    lease.renew();
    this.#renewRules();
    this.#attempt('requests of kernel flows could not be read; retrying', () => this.#goldenSignals.tick());
    this.#attempt('the CNI plugin could not be checked; retrying', () => this.keepCni());
    if (lease.isSwept) reporter.tick(() => this.#report(), control().state === 'connected', Date.now());
    void this.sync();
    this.#arriving ??= this.#datapath
      .retryHooks((failed) =>
        log.error(
          { failed },
          'inbound hooks of the former build could not be replaced: connections to these pods are refused',
        ),
      )
      .finally(() => (this.#arriving = undefined));
  }

  /** Runs a pass of the enroller. Calls during a pass share one further pass. */
  sync(): Promise<void> {
    return this.#enroller.sync();
  }

  /**
   * Before discovery has sent the node's pods, pods of a previous agent process stay as they are: captured, and their connections refused.
   */
  #beginPass(): Subscriptions | undefined {
    const { isSynced, wantCertificates, subscriptions } = this.#parts;
    if (!isSynced() || this.#isClosed) return undefined;
    wantCertificates();
    return subscriptions;
  }

  /** Updates everything that depends on the set of enrolled pods. */
  #endPass(isChanged: boolean): void {
    if (isChanged) this.#kernelFlows.forgetTemplates();
    this.#followMesh();
    this.#lease?.begin();
    this.#lease?.renew();
    this.#renewRules();
    this.#attempt('requests of kernel flows could not be read; retrying', () => this.#goldenSignals.tick());
  }

  /** Rules of the relay count only while this agent knows the mesh and has enrolled the node's pods. */
  #renewRules(): void {
    const { relay, options } = this.#parts;
    if (this.#enroller.hasPassed && !this.#isClosed) relay.renewLease(options.verdictLeaseMs);
  }

  /** Call when workloads, services or policies have changed. */
  onMesh(): void {
    this.#kernelFlows.forgetTemplates();
    if (this.#isClosed || !this.#lease?.isSwept) return;
    // Connections that are now forbidden are closed first. A later failure must not prevent that.
    this.#lease.refresh();
    this.#followMesh();
  }

  #followMesh(): void {
    const { state, options, log } = this.#parts;
    const { enrolled } = this.#enroller;
    this.#attempt('kernel services could not be written; retrying', () =>
      this.#services.refresh(state, enrolled.keys(), options.node),
    );
    this.#attempt('preexisting connections could not be closed', () => {
      const cut = this.#preexisting.cut(state, (uid) => enrolled.get(uid)?.pod);
      if (cut > 0) log.info({ cut }, 'preexisting connections closed: strict mode refuses them');
    });
  }

  /** A connection was relayed whose successors the kernel could handle. */
  onVerdictRequest(source: WorkloadUid, destination: WorkloadUid, port: number): void {
    if (!this.#isClosed && this.#enroller.hasSettled(source))
      this.#verdicts.decide(source, destination, port);
  }

  /** The listeners of these pods are gone, with the worker or the carrier that had them. */
  onListenersLost(pods: readonly WorkloadUid[]): void {
    this.#enroller.lostListeners(pods);
    void this.sync();
  }

  forgetSandbox(podUid: string): void {
    this.#enroller.forgetSandbox(podUid);
  }

  keepCni(): void {
    if (this.#parts.isSynced() && !this.#isClosed)
      this.#cni?.keep(this.#parts.subscriptions.enrolledNamespaces);
  }

  /** Whether every pod that can be enrolled is. */
  isReady(): boolean {
    const { isSynced, subscriptions } = this.#parts;
    return isSynced() && !this.#enroller.isEnrolling && this.#enroller.isWhole(subscriptions.wanted);
  }

  /** Whether no pod is wanted in the mesh and no hook is attached. False if that is unknown. */
  isEmpty(): boolean {
    try {
      return (
        this.#parts.isSynced() &&
        this.#parts.subscriptions.wanted.size === 0 &&
        this.#datapath.hooks.attached().length === 0
      );
    } catch {
      return false; // the attached hooks cannot be listed
    }
  }

  writeReady(): void {
    if (this.#isClosed) return;
    this.#readiness.write({
      ready: this.isReady(),
      pid: process.pid,
      pods: [...this.#enroller.enrolled.values()].map(({ pod }) => ({
        uid: pod.uid,
        certificate: this.#parts.certificates.get(pod.identity) !== undefined,
      })),
      waiting: Object.fromEntries(this.#enroller.waiting),
      control: this.#parts.control(),
    });
  }

  #report(): NodeReport {
    return {
      version,
      pods: podsReported(this.#parts.subscriptions.wanted, this.#enroller),
      missing: [...this.#missing.keys()],
      cniProblem: this.#cni?.problem ?? '',
    };
  }

  /** Counts kernel flows that are open, and says which edges they keep alive. */
  observeOpenFlows(): void {
    if (this.#isClosed) return;
    this.#attempt('open kernel flows could not be read', () => this.#kernelFlows.observeOpen());
  }

  /** The kernel's counters by name; empty once another agent owns the node. */
  counters(): Record<string, number> {
    return this.#isClosed ? {} : readCounters(this.#datapath.maps);
  }

  /** Stops all writes to the kernel and waits for work in progress. Closes the servers of this node's ports. */
  async close(): Promise<Inheritance> {
    this.#isClosed = true;
    this.#parts.relay.release();
    clearInterval(this.#timer);
    this.#cni?.stop();
    // Both attach hooks. The successor may get the lock only once neither is in progress.
    await this.#enroller.idle();
    await this.#arriving;
    this.#stopWatching();
    await Promise.all(this.#servers.map((server) => server.close()));
    const inheritance = { preexisting: this.#preexisting.cookiesOf(this.#enroller.enrolled.values()) };
    this.#datapath.close();
    return inheritance;
  }

  /**
   * Call after close, if no pod is in the mesh and no other agent follows. Removes everything from the kernel and, if no namespace is
   * enrolled, also from disk.
   * @param removeLocks removes the locks of the hand-over
   */
  remove(removeLocks: () => void): void {
    // Removed first: an agent that finds no lock creates one, and what is in the kernel is then that agent's.
    removeInstance(this.#parts.options.instance);
    // No enrolled namespace is left, so the mesh itself is being removed.
    if (this.#parts.subscriptions.enrolledNamespaces.size === 0) {
      this.#cni?.remove();
      removeLocks();
      this.#readiness.remove();
    }
    this.#parts.log.info({}, 'no pod is in the mesh: all kernel state is removed');
  }
}
