/** The node's agent: main thread. Discovery, certificates, maps, metrics; the data path is in the workers. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { pino } from 'pino';
import { systemClock } from '../src/base/clock.js';
import { errorText } from '../src/base/errors.js';
import { version } from '../src/base/version.js';
import type { IpAddress } from '../src/model/address.js';
import { DiscoveryClient } from '../src/discovery/client.js';
import {
  decodeAddress,
  decodeAuthorization,
  decodeEnrolledNamespace,
  decodeNodePod,
  decodeUncapturedPod,
} from '../src/discovery/decode.js';
import { createIssuer } from '../src/discovery/issuer.js';
import type { NodeReport } from '../src/discovery/gen/weft.js';
import { sendReport } from '../src/discovery/reporter.js';
import { typeUrls } from '../src/discovery/types.js';
import { parseTrustDomain } from '../src/model/identity.js';
import type { NodePod, UncapturedPod } from '../src/model/node-pod.js';
import type { AuthorizationPolicy } from '../src/model/policy.js';
import type { Service } from '../src/model/service.js';
import type { Workload, WorkloadUid } from '../src/model/workload.js';
import { MeshState, type MeshUpdate } from '../src/state/store.js';
import type { ConnectionRecord } from '../src/telemetry/access-log.js';
import { ConnectionLog } from '../src/telemetry/connection-log.js';
import { MeshMetrics } from '../src/telemetry/metrics.js';
import { serveRoutes, type HttpServer } from '../src/telemetry/servers.js';
import { CertificateManager } from '../src/tls/manager.js';
import { Cni, removeCni, type CniOptions } from './cni/cni.js';
import { readCounters, watchEvents, watchFlows } from './datapath/events.js';
import { cniProgram, Datapath, removeInstance } from './datapath/loader.js';
import { PodMaps } from './datapath/sync.js';
import { Preexisting } from './enroll/preexisting.js';
import { conntrackSettleMs } from './enroll/conntrack.js';
import { PodNamespaces } from './enroll/namespaces.js';
import { Reports } from './enroll/report.js';
import { reconcile, type Intent } from './enroll/reconcile.js';
import { Carried } from './kernel/carried.js';
import { KernelServices } from './kernel/services.js';
import { Verdicts } from './kernel/verdicts.js';
import type { FromWorker, LocalPod } from './messages.js';
import { netnsCookie } from './pod/sockets.js';
import { Workers, workersDefault } from './workers.js';

export interface AgentOptions {
  readonly node: string;
  /** host:port of the control plane */
  readonly control: string;
  readonly root: string;
  readonly token: string;
  /** Of the agents: in the node's name toward the control plane. */
  readonly namespace: string;
  readonly instance: string;
  readonly run: string;
  readonly workers: number;
  readonly trustDomain: string;
  readonly drainMs: number;
  /** How long the kernel goes by verdicts after the agent's last heartbeat, which comes every second. */
  readonly verdictLeaseMs: number;
  /** Bytes that may wait, spliced, for one reader; 0: nothing is spliced. */
  readonly spliceBytesMax: number;
  /** Bytes that TCP of this kernel may hold while anything is spliced; 3/64 of memory where absent. */
  readonly spliceNodeBytesMax?: number;
  /** Splice sockets that block too: their calls may then fail with EAGAIN where a signal would interrupt them. */
  readonly spliceBlocking?: boolean;
  /** Where the node's control groups are mounted, in a container. */
  readonly cgroups?: string;
  /** The node's CNI directories; absent: no plugin is put there. */
  readonly cniBinDir?: string;
  readonly cniConfDir?: string;
  /** Kept on the node's disk, under the same path inside and outside of a container. */
  readonly cniState: string;
  readonly cniPlugin: 'install' | 'remove';
  /** What new pods of enrolled namespaces do while no agent answers. */
  readonly cniWhenAway: 'wait' | 'start';
  /** Where connection lines go; `connections.log` in the run directory where absent. */
  readonly connectionLog?: string;
}

const reconcileMs = 1_000;
/** What is left of the drain when no new connections are taken any more: for those that began meanwhile. */
const drainLastMsMax = 1_000;
const sweepTurns = 60;
const certificateTtlS = 86_400;

function nodeCookie(path: string): bigint | undefined {
  try {
    return path === '' ? undefined : netnsCookie(path);
  } catch {
    return undefined;
  }
}

export async function runAgent(options: AgentOptions): Promise<{ stop(): Promise<void> }> {
  mkdirSync(options.run, { recursive: true });
  const log = pino({ name: 'weft-agent', base: { node: options.node } }, pino.destination(2));
  const rootPem = (): string => readFileSync(options.root, 'utf8');
  const token = (): string => readFileSync(options.token, 'utf8').trim();
  rootPem();
  token();

  const datapath = new Datapath(options.instance, options.cgroups);
  const missing = await datapath.start();
  for (const [feature, why] of missing)
    log.warn({ feature, why }, 'this kernel lacks a feature; what it would carry goes the longer way');
  const maps = new PodMaps(datapath);
  maps.setNode(netnsCookie(''), {
    ...options,
    ...(missing.has('splice') ? { spliceBytesMax: 0 } : {}),
  });

  const state = new MeshState();
  const wanted = new Map<WorkloadUid, NodePod>();
  const held = new Map<WorkloadUid, LocalPod>();
  const byCookie = new Map<bigint, LocalPod>();
  /** Pods whose connections go by the agent until then (epoch ms): enroll/conntrack.ts. */
  const settling = new Map<WorkloadUid, number>();
  const waiting = new Map<WorkloadUid, string>();
  const uncaptured = new Map<WorkloadUid, UncapturedPod>();
  /** By network namespace cookie: when this agent took it in, or over (epoch ms). */
  const since = new Map<bigint, number>();
  const enrolledNamespaces = new Set<string>();
  /** By pod UID: addresses that the CNI plugin told of, before the control plane could. */
  const started = new Map<string, readonly IpAddress[]>();
  const metrics = new MeshMetrics(() => readCounters(datapath), [...missing.keys()]);
  const verdicts = new Verdicts(datapath, state, options.node, options.verdictLeaseMs);
  const services = new KernelServices(datapath, () => metrics.limitReached.inc({ limit: 'kernel-services' }));
  const preexisting = new Preexisting();
  const namespaces = new PodNamespaces();
  const cutPreexisting = (): void => {
    try {
      const cut = preexisting.cut(state, (uid) => held.get(uid)?.pod);
      if (cut > 0) log.info({ cut }, 'connections of before enrolment cut: strict mode refuses them');
    } catch (error) {
      log.error({ error: errorText(error) }, 'connections of before enrolment could not be cut');
    }
  };
  const closed = (record: ConnectionRecord): void => {
    metrics.apply({ kind: 'closed', record });
    connectionLog.write(record);
  };
  const connectionLog = new ConnectionLog({
    path: options.connectionLog ?? join(options.run, 'connections.log'),
    onDropped: () => metrics.linesDropped.inc(),
  });
  const carried = new Carried({
    datapath,
    view: state,
    podOf: (cookie) => byCookie.get(cookie),
    metrics,
    log: connectionLog,
    onError: (error) => log.error({ error: errorText(error) }, 'a forbidden connection could not be cut'),
  });
  let synced = false;
  let control: { state: string; why: string } = { state: 'disconnected', why: 'not yet tried' };

  const onMessage = (message: FromWorker): void => {
    if (message.type === 'log') log[message.level](message.fields, message.text);
    else if (message.type === 'connections') {
      for (const event of message.events) {
        if (event.kind === 'closed') closed(event.record);
        else metrics.apply(event);
      }
    } else if (message.type === 'limit') {
      metrics.limitReached.inc({ limit: message.limit });
    } else if (message.type === 'learn') {
      if ((settling.get(message.source) ?? 0) > Date.now()) return;
      settling.delete(message.source);
      verdicts.learn(message.source, message.destination, message.port);
    }
  };
  const certificates: CertificateManager = new CertificateManager({
    issue: createIssuer({ target: options.control, rootPem, token }),
    clock: systemClock,
    random: Math.random,
    ttlS: certificateTtlS,
    onSvid: (svid) => {
      log.info(
        { identity: svid.id, serial: svid.serial, notAfter: new Date(svid.notAfterMs).toISOString() },
        'certificate',
      );
      workers.broadcast({ type: 'svid', svid });
      writeReady();
    },
    onError: (id, error, retryInMs) =>
      log.warn({ identity: id, error: errorText(error), retryInMs }, 'no certificate'),
  });
  const workers = new Workers({
    count: options.workers,
    settings: {
      node: options.node,
      pinDir: datapath.dir,
      trustDomain: parseTrustDomain(options.trustDomain),
      drainTimeoutMsMax: options.drainMs,
    },
    state,
    svids: () => [...held.values()].flatMap(({ pod }) => certificates.get(pod.identity) ?? []),
    onMessage,
    onReplaced: (pods) => {
      for (const uid of pods) held.delete(uid);
      void turn();
    },
    onDied: (why) => log.error({ why }, 'a worker died'),
  });

  /** Some pod is half in: listeners, hooks and verdicts come one after the other. */
  let enrolling = false;
  const ready = (): boolean =>
    synced && !enrolling && waiting.size === 0 && [...wanted.keys()].every((uid) => held.has(uid));
  /** Nobody is to be in the mesh here, and nobody is. */
  const empty = (): boolean => synced && wanted.size === 0 && datapath.attachedPods().length === 0;
  const readyFile = join(options.run, 'ready');
  let lastReady = '';
  const writeReady = (): void => {
    const pods = [...held.values()].map(({ pod }) => ({
      uid: pod.uid,
      certificate: certificates.get(pod.identity) !== undefined,
    }));
    const text = JSON.stringify({ ready: ready(), pods, waiting: Object.fromEntries(waiting), control });
    if (text === lastReady) return;
    lastReady = text;
    writeFileSync(`${readyFile}.new`, text);
    renameSync(`${readyFile}.new`, readyFile);
  };

  const enrol = async (local: LocalPod): Promise<void> => {
    const { cookie, netns } = local.place;
    // A pod that was captured before stays so throughout: capture is never lifted to be set again.
    const adopted = datapath.attachedPods().includes(cookie);
    held.set(local.pod.uid, local);
    try {
      workers.broadcast({ type: 'pods', pods: [...held.values()] });
      await workers.own(local);
      maps.write(local.pod, cookie, adopted);
      await datapath.attachPod(cookie, netns);
      maps.write(local.pod, cookie, true);
      byCookie.set(cookie, local);
      since.set(cookie, Date.now());
      // Before a pod's first packet there is nothing that connection tracking could remember of it.
      if (!adopted && !started.has(local.pod.podUid))
        settling.set(local.pod.uid, Date.now() + conntrackSettleMs());
      preexisting.admit(local, carried.cookies());
      waiting.delete(local.pod.uid);
      log.info({ pod: local.pod.uid, cookie: String(cookie), adopted }, 'pod enrolled');
    } catch (error) {
      held.delete(local.pod.uid);
      waiting.set(local.pod.uid, errorText(error));
      log.error({ pod: local.pod.uid, error: errorText(error) }, 'pod not enrolled, tried again');
    }
  };

  const release = async (local: LocalPod): Promise<void> => {
    const { cookie } = local.place;
    // Nothing new by the kernel, and capture off, so that nothing is sent to a listener that is about to go.
    verdicts.dismiss(local);
    preexisting.dismiss(local.pod.uid);
    settling.delete(local.pod.uid);
    maps.write(local.pod, cookie, false);
    datapath.detachPod(cookie);
    await workers.disown(local.pod.uid);
    maps.remove(cookie);
    byCookie.delete(cookie);
    since.delete(cookie);
    held.delete(local.pod.uid);
    log.info({ pod: local.pod.uid }, 'pod released');
  };

  const ownCookie = netnsCookie('');
  /** Pods that say where they are (without Kubernetes), and those that are found by their processes. */
  const intentsOf = (pods: readonly NodePod[]): Intent[] => {
    namespaces.refresh(new Set(pods.filter(({ netns }) => netns === '').map(({ podUid }) => podUid)));
    return pods.map((told) => {
      const found = told.netns === '' ? { ...told, netns: namespaces.pathOf(told.podUid) ?? '' } : told;
      const early = found.addresses.length === 0 ? started.get(told.podUid) : undefined;
      const pod = early ? { ...found, addresses: early } : found;
      const cookie = nodeCookie(pod.netns);
      // The node itself is never a pod, whatever anybody says.
      return { pod, cookie: cookie === ownCookie ? undefined : cookie };
    });
  };

  let running: Promise<void> | undefined;
  let again = false;
  let stopped = false;
  let swept = false;
  const turn = (): Promise<void> => {
    if (running) {
      again = true;
      return running;
    }
    running = (async () => {
      do {
        again = false;
        // Before discovery has spoken, what a former life enrolled stays as it is: captured, and refused.
        if (!synced || stopped) continue;
        const intents = intentsOf([...wanted.values()]);
        const steps = reconcile(intents, held, datapath.attachedPods());
        waiting.clear();
        for (const { uid, why } of steps.waiting) waiting.set(uid, why);
        certificates.want(new Set([...wanted.values()].map(({ identity }) => identity)));
        for (const local of steps.release) await release(local);
        for (const cookie of steps.orphans) {
          verdicts.forget(cookie);
          maps.remove(cookie);
          datapath.detachPod(cookie);
        }
        for (const local of steps.change) {
          held.set(local.pod.uid, local);
          await workers.own(local);
          maps.write(local.pod, local.place.cookie, true);
          byCookie.set(local.place.cookie, local);
          verdicts.admit(local);
        }
        enrolling = steps.enrol.length > 0;
        for (const local of steps.enrol) await enrol(local);
        // After all of them: what the kernel was allowed before is the agent's to decide anew, which both ends need.
        for (const local of steps.enrol) if (held.get(local.pod.uid) === local) verdicts.admit(local);
        workers.broadcast({ type: 'pods', pods: [...held.values()] });
        if (steps.enrol.length + steps.change.length + steps.release.length > 0) carried.forgetWords();
        services.refresh(state, held.keys(), options.node);
        cutPreexisting();
        // What a former life of the agent allowed is held against the policies of today before the heart beats again.
        if (!swept) carried.sweep();
        swept = true;
        if (!missing.has('kernel-path')) verdicts.beat();
        enrolling = false;
        writeReady();
      } while (again);
    })()
      .catch((error: unknown) => log.error({ error: errorText(error) }, 'reconcile failed, tried again'))
      .finally(() => (running = undefined));
    return running;
  };

  const addresses: (Workload | Service)[] = [];
  const policies: AuthorizationPolicy[] = [];
  let removed: string[] = [];
  let removedPolicies: string[] = [];
  const publish = (): void => {
    const update: MeshUpdate = {
      workloads: addresses.filter((a): a is Workload => 'uid' in a),
      services: addresses.filter((a): a is Service => 'key' in a),
      removed,
      policies: policies.slice(),
      removedPolicies,
    };
    addresses.length = policies.length = 0;
    removed = [];
    removedPolicies = [];
    state.apply(update);
    workers.broadcast({ type: 'mesh', update });
    carried.forgetWords();
    if (!swept) return;
    services.refresh(state, held.keys(), options.node);
    cutPreexisting();
    if (!verdicts.refresh()) return;
    const cut = carried.sweep();
    if (cut > 0) log.info({ cut }, 'connections in the kernel cut that are now forbidden');
  };
  const onPod = (pod: NodePod): void => {
    const before = wanted.get(pod.uid);
    // Another address: another sandbox, so another namespace.
    const moved = before && before.addresses.length > 0 && before.addresses.join() !== pod.addresses.join();
    if (before && (moved || before.podUid !== pod.podUid)) {
      namespaces.forget(before.podUid);
      started.delete(before.podUid);
    }
    wanted.set(pod.uid, pod);
  };
  const onPodGone = (uid: WorkloadUid): void => {
    started.delete(wanted.get(uid)?.podUid ?? '');
    wanted.delete(uid);
  };
  let rootsVersion = '';
  const nodeIp =
    Object.values(networkInterfaces())
      .flat()
      .find((i) => i && !i.internal)?.address ?? '127.0.0.1';
  const discovery = new DiscoveryClient({
    target: options.control,
    rootPem,
    token,
    nodeId: `ztunnel~${nodeIp}~${options.node}.${options.namespace}~${options.namespace}.svc.cluster.local`,
    nodeName: options.node,
    clock: systemClock,
    subscriptions: [
      {
        typeUrl: typeUrls.address,
        decode: (_name, bytes) => {
          const decoded = decodeAddress(bytes);
          return decoded.ok
            ? {
                ok: true,
                value: () =>
                  addresses.push(
                    decoded.value.kind === 'workload' ? decoded.value.workload : decoded.value.service,
                  ),
              }
            : decoded;
        },
        removed: (names) => (removed = [...names]),
      },
      {
        typeUrl: typeUrls.authorization,
        decode: (_name, bytes) => {
          const decoded = decodeAuthorization(bytes);
          return decoded.ok ? { ok: true, value: () => policies.push(decoded.value) } : decoded;
        },
        removed: (names) => (removedPolicies = [...names]),
      },
      {
        typeUrl: typeUrls.nodePod,
        decode: (_name, bytes) => {
          const decoded = decodeNodePod(bytes);
          return decoded.ok ? { ok: true, value: () => onPod(decoded.value) } : decoded;
        },
        removed: (names) => names.forEach((name) => onPodGone(name as WorkloadUid)),
      },
      {
        typeUrl: typeUrls.uncapturedPod,
        decode: (_name, bytes) => {
          const decoded = decodeUncapturedPod(bytes);
          return decoded.ok
            ? { ok: true, value: () => uncaptured.set(decoded.value.uid, decoded.value) }
            : decoded;
        },
        removed: (names) => names.forEach((name) => uncaptured.delete(name as WorkloadUid)),
      },
      {
        typeUrl: typeUrls.enrolledNamespace,
        decode: (_name, bytes) => {
          const decoded = decodeEnrolledNamespace(bytes);
          return decoded.ok ? { ok: true, value: () => enrolledNamespaces.add(decoded.value) } : decoded;
        },
        removed: (names) => names.forEach((name) => enrolledNamespaces.delete(name)),
      },
    ],
    onChange: (typeUrl) => {
      if (typeUrl === typeUrls.uncapturedPod) return;
      if (typeUrl === typeUrls.enrolledNamespace) return keepCni();
      if (typeUrl !== typeUrls.nodePod) return publish();
      const roots = [...wanted.values()][0]?.rootsVersion ?? rootsVersion;
      if (roots !== rootsVersion && rootsVersion !== '') certificates.refreshAll();
      rootsVersion = roots;
      void turn();
    },
    onSynced: () => {
      synced = true;
      keepCni();
      void turn();
    },
    onState: (now, why) => {
      control = { state: now, why };
      log.info({ state: now, why }, 'control plane');
      writeReady();
    },
    onRefused: (typeUrl, errors) => log.error({ typeUrl, errors }, 'resources refused'),
  });

  const cniOptions: CniOptions | undefined =
    options.cniBinDir === undefined || options.cniConfDir === undefined
      ? undefined
      : {
          program: cniProgram,
          binDir: options.cniBinDir,
          confDir: options.cniConfDir,
          state: options.cniState,
          run: options.run,
          whenAgentIsAway: options.cniWhenAway,
          log,
        };
  if (cniOptions && options.cniPlugin === 'remove') removeCni(cniOptions);
  const cni =
    cniOptions && options.cniPlugin === 'install'
      ? await Cni.start(cniOptions, {
          synced: () => synced,
          connected: () => control.state === 'connected',
          wanted: (podUid) => [...wanted.values()].find((pod) => pod.podUid === podUid),
          uncaptured: (podUid) => [...uncaptured.values()].find((pod) => pod.podUid === podUid),
          isEnrolled: (namespace) => enrolledNamespaces.has(namespace),
          take: async (pod, { netns, addresses }) => {
            namespaces.hold(pod.podUid, netns);
            started.set(pod.podUid, addresses);
            await turn();
            const local = held.get(pod.uid);
            return local && local.pod.podUid === pod.podUid && local.place.cookie === nodeCookie(netns)
              ? undefined
              : (waiting.get(pod.uid) ?? 'it could not be taken in');
          },
          hasCertificate: (pod) => certificates.get(pod.identity) !== undefined,
        })
      : undefined;
  const keepCni = (): void => {
    if (synced) cni?.keep(enrolledNamespaces);
  };

  const stopEvents = watchEvents(datapath, (event) =>
    log.warn({ ...event, cookie: String(event.cookie) }, 'refused in the kernel'),
  );
  const stopFlows = watchFlows(datapath, (flows) => carried.onFlows(flows));
  const reports = new Reports(
    (report) => sendReport({ target: options.control, rootPem, token }, report),
    (why) => log.warn({ error: why }, 'the control plane was not told what this node holds, tried again'),
  );
  const report = (): NodeReport => ({
    version,
    pods: [...wanted.values()].map((pod) => {
      const local = held.get(pod.uid);
      return {
        uid: pod.uid,
        podUid: local?.pod.podUid ?? pod.podUid,
        captured: local !== undefined,
        sinceMs: local ? (since.get(local.place.cookie) ?? 0) : 0,
        why: local ? '' : (waiting.get(pod.uid) ?? 'not looked at yet'),
      };
    }),
    missing: [...missing.keys()],
    cniTrouble: cni?.trouble ?? '',
  });
  const json = (value: unknown): string =>
    JSON.stringify(value, (_k, v: unknown) => (typeof v === 'bigint' ? String(v) : v), 2);
  const servers: HttpServer[] = [
    await serveRoutes('::', 15020, {
      '/metrics': {
        contentType: metrics.registry.contentType,
        read: () => {
          carried.countOpen();
          preexisting.refresh();
          metrics.preexisting.set(preexisting.size);
          metrics.pods.set({ state: 'held' }, held.size);
          metrics.pods.set({ state: 'waiting' }, waiting.size);
          return metrics.text();
        },
      },
    }),
    await serveRoutes('::', 15021, {
      // Whoever reaches the node may ask: it names nobody.
      '/healthz/ready': {
        contentType: 'application/json',
        read: () =>
          JSON.stringify({ ready: ready(), held: held.size, waiting: waiting.size, control: control.state }),
        status: () => (ready() ? 200 : 503),
      },
      // Asked before an uninstall: an agent that holds nobody leaves nothing behind when it ends.
      '/healthz/empty': {
        contentType: 'application/json',
        read: () => JSON.stringify({ empty: empty() }),
        status: () => (empty() ? 200 : 503),
      },
    }),
    await serveRoutes('127.0.0.1', 15000, {
      '/status': {
        contentType: 'application/json',
        read: () =>
          json({
            ...(JSON.parse(lastReady) as object),
            version,
            uncaptured: [...uncaptured.values()].map(({ uid, reason }) => ({ uid, reason })),
            missing: Object.fromEntries(missing),
            cni: cni ? cni.trouble || 'in its place' : 'not installed by this agent',
            certificates: certificates.state(),
            timeMs: Date.now(),
          }),
      },
      '/dump': {
        contentType: 'application/json',
        read: async () =>
          json({
            node: options.node,
            instance: options.instance,
            control,
            pods: [...held.values()],
            waiting: Object.fromEntries(waiting),
            uncaptured: Object.fromEntries(uncaptured),
            certificates: certificates.state(),
            kernel: readCounters(datapath),
            preexisting: preexisting.describe(),
            ...state.dump(),
            connections: [...carried.describe(), ...(await workers.connections())],
          }),
      },
      '/connections': {
        contentType: 'application/json',
        read: async () => json([...carried.describe(), ...(await workers.connections())]),
      },
      '/certificates': { contentType: 'application/json', read: () => json(certificates.state()) },
    }),
  ];
  writeReady();
  discovery.start();
  // Namespaces appear and vanish without a word from discovery.
  let turns = 0;
  let former = 0;
  const timer = setInterval(() => {
    // Entries of sockets that never sent a SYN, and what a lost event left.
    if (swept && ++turns % sweepTurns === 0) carried.sweep();
    const left = datapath.settle((flows) => carried.onFlows(flows));
    if (left !== former)
      log.info({ generations: left }, 'connections of builds with other maps live on in the kernel');
    former = left;
    if (swept && !missing.has('kernel-path')) verdicts.beat();
    keepCni();
    if (swept) reports.tick(report, control.state === 'connected', Date.now());
    void turn();
  }, reconcileMs);
  log.info({ instance: options.instance, workers: options.workers }, 'agent started');

  return {
    stop: async () => {
      // The next agent comes when this one is gone: until then new connections have nobody else to carry them.
      const lastMs = Math.min(options.drainMs, drainLastMsMax);
      await workers.settle(options.drainMs - lastMs);
      stopped = true;
      clearInterval(timer);
      cni?.stop();
      discovery.stop();
      await running;
      const cut = await workers.drain(lastMs);
      certificates.stop();
      stopEvents();
      stopFlows();
      await Promise.all(servers.map((server) => server.close()));
      datapath.close();
      connectionLog.close();
      // There is nothing that the hooks would keep closed.
      if (empty()) {
        removeInstance(options.instance);
        // Of no namespace anything waits for: the mesh itself goes.
        if (enrolledNamespaces.size === 0) cni?.remove();
        log.info('no pod is in the mesh: nothing is left in the kernel');
        return;
      }
      // Hooks stay pinned: pods of this node are refused, not set free, until the next agent is there.
      log.info({ cut }, 'agent stopped');
    },
  };
}

async function main(): Promise<void> {
  const program = new Command('weft agent')
    .requiredOption('--node <name>', "this node's name")
    .requiredOption('--control <addr:port>', 'the control plane')
    .requiredOption('--root <file>', 'root certificates of the control plane')
    .requiredOption('--token <file>', "the node's join token")
    .option('--namespace <name>', 'of the agents', 'weft-system')
    .option('--instance <name>', 'name of the pins in the BPF file system', 'agent')
    .option('--run <dir>', 'where state for others is written')
    .option('--workers <n>', 'data path threads', Number, workersDefault)
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option(
      '--verdict-lease-ms <ms>',
      'how long the kernel goes by verdicts without an agent',
      Number,
      15_000,
    )
    .option('--splice-bytes-max <n>', 'bytes that may wait for one reader past TCP; 0: none', Number, 2 << 20)
    .option(
      '--splice-node-bytes-max <n>',
      'nothing more goes past TCP while all TCP of the machine holds this (3/64 of memory)',
      Number,
    )
    .option(
      '--splice-blocking',
      'splice sockets that block too: a signal may then end their calls with EAGAIN',
    )
    .option('--connection-log <file>', 'a JSON line per connection; /dev/stderr puts it among the rest')
    .option('--cgroups <dir>', "where the node's control groups are mounted, in a container")
    .option('--cni-bin-dir <dir>', "the node's CNI plugins")
    .option('--cni-conf-dir <dir>', "the node's CNI configuration")
    .option(
      '--cni-state <dir>',
      "on the node's disk, by the same path inside and outside of a container",
      '/var/lib/weft',
    )
    .addOption(
      new Option('--cni-plugin <what>', 'put the plugin there, or take out what is left of it')
        .choices(['install', 'remove'])
        .default('install'),
    )
    .addOption(
      new Option('--cni-when-away <what>', 'what new pods of enrolled namespaces do while no agent answers')
        .choices(['wait', 'start'])
        .default('wait'),
    )
    .option('--drain-ms <ms>', 'how long live connections may go on at SIGTERM', Number, 10_000);
  program.parse();
  const options = program.opts<AgentOptions>();
  const agent = await runAgent({ ...options, run: options.run ?? `/run/weft/${options.instance}` });
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      void agent.stop().then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`) {
  main().catch((error: unknown) => {
    console.error(errorText(error));
    process.exit(1);
  });
}
