/**
 * What an agent does while it is the one that writes in the kernel for its node: maps, hooks, verdicts, who is in the mesh, and the
 * node's ports. It is made anew each time the node becomes this agent's, as by an agent that starts; what is open in the workers is
 * not touched by that.
 */
import { errorText, WeftError } from '../src/base/errors.js';
import { sleep } from '../src/base/wait.js';
import { version } from '../src/base/version.js';
import type { NodeReport } from '../src/discovery/gen/weft.js';
import type { Reports } from './enroll/report.js';
import type { MeshState } from '../src/state/store.js';
import type { ConnectionLog } from '../src/telemetry/connection-log.js';
import { tokenIn, type HttpServer } from '../src/telemetry/servers.js';
import type { MeshMetrics } from '../src/telemetry/metrics.js';
import type { CertificateManager } from '../src/tls/manager.js';
import { attemptWith } from './attempt.js';
import { Cni, cniOptionsOf, removeCni } from './cni/cni.js';
import { readCounters } from './maps/count.js';
import { watchEvents } from './maps/events.js';
import { watchFlows } from './maps/flows.js';
import { cniProgram, Datapath, removeInstance } from './datapath/loader.js';
import { Enrollment } from './enroll/enrollment.js';
import { PodNamespaces } from './enroll/namespaces.js';
import { Preexisting } from './enroll/preexisting.js';
import { podsReported } from './enroll/report.js';
import type { Inheritance } from './handover/protocol.js';
import { KernelFlows } from './kernel/flows.js';
import { Lease } from './kernel/lease.js';
import { KernelServices } from './kernel/services.js';
import { Verdicts } from './kernel/verdicts.js';
import type { WorkloadUid } from '../src/model/workload.js';
import type { FromWorker } from './messages.js';
import type { AgentOptions } from './options.js';
import { observe } from './pod/netns.js';
import { netnsCookie } from './pod/sockets.js';
import { ReadyFile } from './ready.js';
import { serveAgent } from './serve.js';
import type { Subscriptions } from './subscriptions.js';
import type { Workers } from './workers.js';

const reconcileMs = 1_000;
const sweepTurns = 60;
const inheritedSweepTurn = 5;
/** Of a hand-over. */
const turnsMax = 10;
const turnAgainMs = 200;

/** Of the whole process, whether it writes or not. */
export interface Shared {
  readonly options: AgentOptions;
  readonly log: Record<'info' | 'warn' | 'error', (fields: object, text: string) => void>;
  readonly state: MeshState;
  readonly metrics: MeshMetrics;
  readonly connectionLog: ConnectionLog;
  readonly certificates: CertificateManager;
  readonly workers: Workers;
  readonly subscriptions: Subscriptions;
  readonly reports: Reports;
  readonly isSynced: () => boolean;
  readonly control: () => { readonly state: string; readonly why: string };
  readonly undecodable: () => readonly object[];
  /** Asks for the certificates of the pods that are wanted now. */
  readonly wantCertificates: () => void;
}

export interface Writer {
  /** All that may come has come. */
  readonly isReady: () => boolean;
  /** Nobody is to be in the mesh here, and nobody is, for all that is known. */
  readonly isEmpty: () => boolean;
  /** One turn of what discovery wants; those that are asked for meanwhile are one more. */
  readonly turn: () => Promise<void>;
  /** The view has changed. */
  readonly publish: () => void;
  readonly onVerdictAsked: (asked: Extract<FromWorker, { type: 'learn' }>) => void;
  /** A worker was replaced: these pods have no listeners. */
  readonly onWorkerReplaced: (pods: readonly WorkloadUid[]) => void;
  readonly forgetSandbox: (podUid: string) => void;
  readonly keepCni: () => void;
  readonly writeReady: () => void;
  readonly counters: () => Record<string, number>;
  /** Writes nothing any more, and is done with what it was doing. The servers of this node's ports are closed. */
  readonly cede: () => Promise<Inheritance>;
  /** After cede, where no pod is in the mesh and no other agent comes: nothing is left in the kernel, nor, with `removeLocks`, on disk. */
  readonly remove: (removeLocks: () => void) => void;
}

/** The agent's own network namespace, and the machine's: never a pod's. */
function neverPods(): Set<bigint> {
  const machine = observe('/proc/1/ns/net');
  return new Set([netnsCookie(''), ...(machine.kind === 'present' ? [machine.cookie] : [])]);
}

/** Where a node's maps are; nothing is touched. */
export const pinDirOf = ({ instance, cgroups }: AgentOptions): string => new Datapath(instance, cgroups).dir;

/**
 * Resolves when the programs are in force, every pod that can be is enrolled, and the ports answer. The caller has the instance's lock.
 * Errors: those of Datapath.start, WEFT_LISTEN, WEFT_HANDOVER.
 * @param onMade called once there is something to tell of changes: before the first turn
 */
export async function startWriter(
  shared: Shared,
  inherited: Inheritance | undefined,
  onMade: (writer: Writer) => void,
): Promise<void> {
  const { options, log, state, metrics, connectionLog, certificates, workers, subscriptions, reports } =
    shared;
  const { wanted, uncaptured, enrolledNamespaces } = subscriptions;
  const datapath = new Datapath(options.instance, options.cgroups);
  const { maps } = datapath;
  const verdicts: Verdicts = new Verdicts(
    maps,
    state,
    options.node,
    options.verdictLeaseMs,
    () => metrics.limitReached.inc({ limit: 'verdicts' }),
    (error) =>
      log.error(
        { error: errorText(error) },
        'verdicts of a pod could not be moved: it has none until they are',
      ),
    inherited && ((cookie) => enrollment.podOf(cookie)),
    () => metrics.limitReached.inc({ limit: 'handover-verdicts' }),
  );
  const services = new KernelServices(maps, () => metrics.limitReached.inc({ limit: 'kernel-services' }));
  const preexisting = new Preexisting(inherited?.preexisting);
  const carried: KernelFlows = new KernelFlows({
    datapath,
    view: state,
    podOf: (cookie) => enrollment.podOf(cookie),
    metrics,
    log: connectionLog,
    onError: (error) => log.error({ error: errorText(error) }, 'a forbidden connection could not be cut'),
  });
  const enrollment: Enrollment = new Enrollment({
    hooks: datapath.hooks,
    attach: (cookie, netns) => datapath.attachPod(cookie, netns),
    maps: maps.pods,
    workers,
    verdicts,
    preexisting,
    carried: () => carried.cookies(),
    left: (local) => carried.podLeft(local),
    namespaces: new PodNamespaces(),
    rules: options,
    never: neverPods(),
    log,
  });
  const attempt = attemptWith(log);

  let hasMaps = false;
  const openMaps = (): void => {
    if (!hasMaps) workers.openMaps();
    hasMaps = true;
  };
  const missing = await datapath.start(async () => {
    openMaps();
    if (shared.isSynced()) await enrollment.listenAhead(wanted, uncaptured);
  });
  openMaps();
  metrics.lacks(missing.keys());
  for (const [feature, why] of missing)
    log.warn({ feature, why }, 'this kernel lacks a feature; what it would carry goes the longer way');
  maps.node.setNode(netnsCookie(''), {
    ...options,
    ...(missing.has('splice') ? { spliceBytesMax: 0 } : {}),
  });
  for (const cookie of datapath.arrivals.dead)
    log.info(
      { cookie: String(cookie) },
      'hook removed: its network namespace ended while no agent was there',
    );
  const lease = new Lease({
    verdicts,
    flows: carried,
    isUnused: missing.has('kernel-path'),
    attempt,
    onCut: (cut) => log.info({ cut }, 'connections in the kernel cut that are now forbidden'),
    onNotRenewed: () => metrics.limitReached.inc({ limit: 'lease-not-renewed' }),
  });

  /** Some pod is half in: listeners, hooks and verdicts come one after the other. */
  let enrolling = false;
  let ceded = false;
  let hasTurned = false;
  let servers: readonly HttpServer[] = [];
  const isReady = (): boolean => shared.isSynced() && !enrolling && enrollment.isWhole(wanted);
  const isEmpty = (): boolean => {
    try {
      return shared.isSynced() && wanted.size === 0 && datapath.hooks.attached().length === 0;
    } catch {
      return false; // what is left cannot be seen
    }
  };
  const readiness = new ReadyFile(options.run, (error) =>
    log.error({ error: errorText(error) }, 'readiness could not be written, tried again'),
  );
  const writeReady = (): void => {
    if (ceded) return;
    readiness.write({
      ready: isReady(),
      pid: process.pid,
      pods: [...enrollment.held.values()].map(({ pod }) => ({
        uid: pod.uid,
        certificate: certificates.get(pod.identity) !== undefined,
      })),
      waiting: Object.fromEntries(enrollment.waiting),
      control: shared.control(),
    });
  };
  const followMesh = (): void => {
    attempt('services of the kernel could not be written, tried again', () =>
      services.refresh(state, enrollment.held.keys(), options.node),
    );
    attempt('connections of before enrollment could not be cut', () => {
      const cut = preexisting.cut(state, (uid) => enrollment.held.get(uid)?.pod);
      if (cut > 0) log.info({ cut }, 'connections of before enrollment cut: strict mode refuses them');
    });
  };

  let running: Promise<void> | undefined;
  let again = false;
  const turn = (): Promise<void> => {
    if (running) {
      again = true;
      return running;
    }
    running = (async () => {
      do {
        again = false;
        // Before discovery has spoken, what a former life enrolled stays as it is: captured, and refused.
        if (!shared.isSynced() || ceded) continue;
        shared.wantCertificates();
        if (await enrollment.turn(wanted, uncaptured, () => (enrolling = true))) carried.forgetTemplates();
        followMesh();
        lease.begin();
        lease.renew();
        enrolling = false;
        hasTurned = true;
        writeReady();
      } while (again);
    })()
      .catch((error: unknown) => {
        log.error({ error: errorText(error) }, 'reconcile failed, tried again');
        writeReady();
      })
      .finally(() => {
        enrolling = false;
        running = undefined;
      });
    return running;
  };

  const cniOptions = cniOptionsOf(options, cniProgram, log);
  if (cniOptions && options.cniPlugin === 'remove') removeCni(cniOptions);
  const cni =
    cniOptions && options.cniPlugin === 'install'
      ? await Cni.start(cniOptions, {
          synced: shared.isSynced,
          connected: () => shared.control().state === 'connected',
          wanted: (podUid) => [...wanted.values()].find((pod) => pod.podUid === podUid),
          uncaptured: (podUid) => [...uncaptured.values()].find((pod) => pod.podUid === podUid),
          isEnrolled: (namespace) => enrolledNamespaces.has(namespace),
          take: async (pod, { netns, addresses }) => {
            enrollment.start(pod.podUid, netns, addresses);
            await turn();
            const local = enrollment.held.get(pod.uid);
            const seen = observe(netns);
            return local?.pod.podUid === pod.podUid &&
              seen.kind === 'present' &&
              seen.cookie === local.place.cookie
              ? undefined
              : (enrollment.waiting.get(pod.uid) ?? 'it could not be enrolled');
          },
          hasCertificate: (pod) => certificates.get(pod.identity) !== undefined,
        })
      : undefined;
  const keepCni = (): void => {
    if (shared.isSynced() && !ceded) cni?.keep(enrolledNamespaces);
  };
  const report = (): NodeReport => ({
    version,
    pods: podsReported(wanted, enrollment),
    missing: [...missing.keys()],
    cniTrouble: cni?.trouble ?? '',
  });
  const connections = async (): Promise<object[]> => [
    ...carried.describe(),
    ...(await workers.connections()),
  ];
  const serve = () =>
    serveAgent({
      metrics,
      metricsToken: tokenIn(options.metricsToken),
      measure: () => {
        carried.countOpen();
        preexisting.refresh();
        metrics.preexisting.set(preexisting.size);
        metrics.pods.set({ state: 'held' }, enrollment.held.size);
        metrics.pods.set({ state: 'waiting' }, enrollment.waiting.size);
        metrics.pods.set({ state: 'unknown' }, enrollment.unknown);
      },
      ready: isReady,
      counts: () => ({
        held: enrollment.held.size,
        waiting: enrollment.waiting.size,
        control: shared.control().state,
      }),
      empty: isEmpty,
      status: () => ({
        ...readiness.last,
        version,
        uncaptured: [...uncaptured.values()].map(({ uid, reason }) => ({ uid, reason })),
        missing: Object.fromEntries(missing),
        undecodable: shared.undecodable(),
        cni: cni ? cni.trouble || 'in its place' : 'not installed by this agent',
        certificates: certificates.state(),
        timeMs: Date.now(),
      }),
      dump: async () => ({
        node: options.node,
        instance: options.instance,
        control: shared.control(),
        pods: [...enrollment.held.values()],
        waiting: Object.fromEntries(enrollment.waiting),
        uncaptured: Object.fromEntries(uncaptured),
        certificates: certificates.state(),
        kernel: readCounters(maps),
        preexisting: preexisting.describe(),
        ...state.dump(),
        connections: await connections(),
      }),
      connections,
      certificates: () => certificates.state(),
    });

  const stopEvents = watchEvents(maps, (event) =>
    log.warn({ ...event, cookie: String(event.cookie) }, 'refused in the kernel'),
  );
  const stopFlows = watchFlows(datapath, (flows) => carried.onFlows(flows));
  // Namespaces appear and vanish without a word from discovery.
  let turns = 0;
  let former = 0;
  let arriving: Promise<void> | undefined;
  const timer = setInterval(() => {
    // Entries of sockets that never sent a SYN, and what a lost event left.
    turns++;
    // After a hand-over also soon: a connection that the former agent's verdicts allowed may not have sent its SYN at the first sweep.
    const isSoon = inherited !== undefined && turns === inheritedSweepTurn;
    if (lease.isSwept && (isSoon || turns % sweepTurns === 0)) lease.sweep();
    attempt('former generations could not be looked at, tried again', () => {
      const left = datapath.settle((flows) => carried.onFlows(flows));
      if (left !== former)
        log.info({ generations: left }, 'connections of builds with other maps live on in the kernel');
      former = left;
    });
    lease.renew();
    attempt('the CNI plugin could not be looked after, tried again', keepCni);
    if (lease.isSwept) reports.tick(report, shared.control().state === 'connected', Date.now());
    void turn();
    arriving ??= datapath
      .retryArrivals((failed) =>
        log.error(
          { failed },
          'pods whose inbound hook is of the former build: what comes to them is refused',
        ),
      )
      .finally(() => (arriving = undefined));
  }, reconcileMs);
  onMade({
    isReady,
    isEmpty,
    turn,
    publish: () => {
      carried.forgetTemplates();
      if (ceded || !lease.isSwept) return;
      // What is forbidden now comes first; nothing that fails after it keeps it from being so.
      lease.refresh();
      followMesh();
    },
    onVerdictAsked: ({ source, destination, port }) => {
      if (!ceded && enrollment.hasSettled(source)) verdicts.decide(source, destination, port);
    },
    onWorkerReplaced: (pods) => {
      enrollment.unserved(pods);
      void turn();
    },
    forgetSandbox: (podUid) => enrollment.forgetSandbox(podUid),
    keepCni,
    writeReady,
    counters: () => (ceded ? {} : readCounters(maps)),
    cede: async () => {
      ceded = true;
      clearInterval(timer);
      cni?.stop();
      // Both attach hooks: the successor has the lock only once nothing of that is under way.
      await running;
      await arriving;
      stopEvents();
      stopFlows();
      await Promise.all(servers.map((server) => server.close()));
      const inheritance = { preexisting: preexisting.bequeath(enrollment.held.values()) };
      datapath.close();
      return inheritance;
    },
    remove: (removeLocks) => {
      // First: an agent that finds no lock makes one, and what is in the kernel is then its own.
      removeInstance(options.instance);
      // Of no namespace anything waits for: the mesh itself goes.
      if (enrolledNamespaces.size === 0) {
        cni?.remove();
        removeLocks();
        readiness.remove();
      }
      log.info({}, 'no pod is in the mesh: nothing is left in the kernel');
    },
  });
  writeReady();
  await turn();
  // The agent of before goes on where this one cannot: it holds the pods, and this one nobody.
  for (let tries = 1; inherited && shared.isSynced() && !hasTurned; tries++) {
    if (tries === turnsMax) throw new WeftError('WEFT_HANDOVER', 'no pod could be taken over: see the log');
    await sleep(turnAgainMs);
    await turn();
  }
  keepCni();
  servers = await serve();
  log.info({ instance: options.instance, workers: options.workers }, 'agent started');
}
