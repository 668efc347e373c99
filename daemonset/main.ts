/** The node's agent: main thread. Discovery, certificates, maps, metrics; the data path is in the workers. */
import { mkdirSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { systemClock } from '../src/base/clock.js';
import { errorText } from '../src/base/errors.js';
import { version } from '../src/base/version.js';
import { DiscoveryClient } from '../src/discovery/client.js';
import { createIssuer } from '../src/discovery/issuer.js';
import type { NodeReport } from '../src/discovery/gen/weft.js';
import { sendReport } from '../src/discovery/reporter.js';
import { parseTrustDomain } from '../src/model/identity.js';
import { MeshState, type MeshUpdate } from '../src/state/store.js';
import type { ConnectionRecord } from '../src/telemetry/access-log.js';
import { ConnectionLog } from '../src/telemetry/connection-log.js';
import { tokenIn } from '../src/telemetry/servers.js';
import { undecodableGauge } from '../src/telemetry/undecodable.js';
import { MeshMetrics } from '../src/telemetry/metrics.js';
import { CertificateManager } from '../src/tls/manager.js';
import { attemptWith } from './attempt.js';
import { Cni, cniOptionsOf, removeCni } from './cni/cni.js';
import { readCounters, watchEvents, watchFlows } from './datapath/events.js';
import { cniProgram, Datapath, removeInstance } from './datapath/loader.js';
import { PodMaps } from './datapath/sync.js';
import { Enrollment } from './enroll/enrollment.js';
import { PodNamespaces } from './enroll/namespaces.js';
import { Preexisting } from './enroll/preexisting.js';
import { podsReported, Reports } from './enroll/report.js';
import { refusalOf } from './enroll/rules.js';
import { Carried } from './kernel/carried.js';
import { Lease } from './kernel/lease.js';
import { KernelServices } from './kernel/services.js';
import { Verdicts } from './kernel/verdicts.js';
import type { FromWorker } from './messages.js';
import { connectionsOfWorker, parseOptions, type AgentOptions } from './options.js';
import { observe } from './pod/netns.js';
import { netnsCookie } from './pod/sockets.js';
import { ReadyFile } from './ready.js';
import { serveAgent } from './serve.js';
import { Subscriptions } from './subscriptions.js';
import { Workers } from './workers.js';

export type { AgentOptions };

const reconcileMs = 1_000;
/** What is left of the drain when no new connections are taken any more: for those that began meanwhile. */
const drainLastMsMax = 1_000;
const sweepTurns = 60;
const certificateTtlS = 86_400;

/** The agent's own network namespace, and the machine's: never a pod's. */
function neverPods(): Set<bigint> {
  const machine = observe('/proc/1/ns/net');
  return new Set([netnsCookie(''), ...(machine.kind === 'present' ? [machine.cookie] : [])]);
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

  for (const cookie of datapath.arrivals.dead)
    log.info(
      { cookie: String(cookie) },
      'hook removed: its network namespace ended while no agent was there',
    );

  const state = new MeshState();
  const metrics = new MeshMetrics(() => readCounters(datapath), [...missing.keys()]);
  const verdicts = new Verdicts(
    datapath,
    state,
    options.node,
    options.verdictLeaseMs,
    () => metrics.limitReached.inc({ limit: 'verdicts' }),
    (error) =>
      log.error(
        { error: errorText(error) },
        'verdicts of a pod could not be moved: it has none until they are',
      ),
  );
  const services = new KernelServices(datapath, () => metrics.limitReached.inc({ limit: 'kernel-services' }));
  const preexisting = new Preexisting();
  const closed = (record: ConnectionRecord): void => {
    metrics.apply({ kind: 'closed', record });
    connectionLog.write(record);
  };
  const connectionLog = new ConnectionLog({
    path: options.connectionLog ?? join(options.run, 'connections.log'),
    onDropped: () => metrics.linesDropped.inc(),
    onShareUsed: () => metrics.limitReached.inc({ limit: 'connection-lines' }),
  });
  const carried: Carried = new Carried({
    datapath,
    view: state,
    podOf: (cookie) => enrollment.podOf(cookie),
    metrics,
    log: connectionLog,
    onError: (error) => log.error({ error: errorText(error) }, 'a forbidden connection could not be cut'),
  });
  const attempt = attemptWith(log);
  const lease = new Lease({
    verdicts,
    carried,
    isUnused: missing.has('kernel-path'),
    attempt,
    onCut: (cut) => log.info({ cut }, 'connections in the kernel cut that are now forbidden'),
    onNotRenewed: () => metrics.limitReached.inc({ limit: 'lease-not-renewed' }),
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
      if (enrollment.hasSettled(message.source))
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
  const workers: Workers = new Workers({
    count: options.workers,
    settings: {
      node: options.node,
      pinDir: datapath.dir,
      trustDomain: parseTrustDomain(options.trustDomain),
      connectionsMax: connectionsOfWorker(options.workers),
    },
    state,
    svids: () =>
      [...subscriptions.wanted.values()].flatMap(({ identity }) => certificates.get(identity) ?? []),
    onMessage,
    onReplaced: (pods) => {
      enrollment.unserved(pods);
      void turn();
    },
    onDied: (why) => log.error({ why }, 'a worker died'),
  });

  const enrollment: Enrollment = new Enrollment({
    hooks: datapath.hooks,
    attach: (cookie, netns) => datapath.attachPod(cookie, netns),
    maps,
    workers,
    verdicts,
    preexisting,
    carried: () => carried.cookies(),
    left: (local) => carried.left(local),
    namespaces: new PodNamespaces(),
    rules: options,
    never: neverPods(),
    log,
  });
  const subscriptions: Subscriptions = new Subscriptions(
    {
      onMesh: (update) => publish(update),
      onPods: () => {
        const roots = [...wanted.values()][0]?.rootsVersion ?? rootsVersion;
        if (roots !== rootsVersion && rootsVersion !== '') certificates.refreshAll();
        rootsVersion = roots;
        void turn();
      },
      onNamespaces: () => keepCni(),
      onSandboxGone: (podUid) => enrollment.forgetSandbox(podUid),
    },
    options.namespace,
  );
  const { wanted, uncaptured, enrolledNamespaces } = subscriptions;

  /** Some pod is half in: listeners, hooks and verdicts come one after the other. */
  let enrolling = false;
  const ready = (): boolean => synced && !enrolling && enrollment.isWhole(wanted);
  /** Nobody is to be in the mesh here, and nobody is, for all that is known. */
  const empty = (): boolean => {
    try {
      return synced && wanted.size === 0 && datapath.hooks.attached().length === 0;
    } catch {
      return false; // what is left cannot be seen
    }
  };
  const readiness = new ReadyFile(options.run, (error) =>
    log.error({ error: errorText(error) }, 'readiness could not be written, tried again'),
  );
  const writeReady = (): void =>
    readiness.write({
      ready: ready(),
      pods: [...enrollment.held.values()].map(({ pod }) => ({
        uid: pod.uid,
        certificate: certificates.get(pod.identity) !== undefined,
      })),
      waiting: Object.fromEntries(enrollment.waiting),
      control,
    });

  const followMesh = (): void => {
    attempt('services of the kernel could not be written, tried again', () =>
      services.refresh(state, enrollment.held.keys(), options.node),
    );
    attempt('connections of before enrollment could not be cut', () => {
      const cut = preexisting.cut(state, (uid) => enrollment.held.get(uid)?.pod);
      if (cut > 0) log.info({ cut }, 'connections of before enrollment cut: strict mode refuses them');
    });
  };
  let identities = '';
  const wantCertificates = (): void => {
    const taken = [...wanted.values()].filter((pod) => refusalOf(pod, options) === undefined);
    const ids = new Set(taken.map(({ identity }) => identity));
    certificates.want(ids);
    const text = [...ids].sort().join(' ');
    if (text !== identities) workers.broadcast({ type: 'identities', wanted: ids });
    identities = text;
  };

  let running: Promise<void> | undefined;
  let again = false;
  let stopped = false;
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
        wantCertificates();
        if (await enrollment.turn(wanted, uncaptured, () => (enrolling = true))) carried.forgetWords();
        followMesh();
        lease.begin();
        lease.renew();
        enrolling = false;
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

  const publish = (update: MeshUpdate): void => {
    state.apply(update);
    workers.broadcast({ type: 'mesh', update });
    carried.forgetWords();
    if (!lease.isSwept) return;
    // What is forbidden now comes first; nothing that fails after it keeps it from being so.
    lease.refresh();
    followMesh();
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
    subscriptions: subscriptions.list,
    onChange: (typeUrl) => subscriptions.onChange(typeUrl),
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
  undecodableGauge(metrics.registry, () => discovery.undecodable());

  const cniOptions = cniOptionsOf(options, cniProgram, log);
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
    pods: podsReported(wanted, enrollment),
    missing: [...missing.keys()],
    cniTrouble: cni?.trouble ?? '',
  });
  const connections = async (): Promise<object[]> => [
    ...carried.describe(),
    ...(await workers.connections()),
  ];
  const servers = await serveAgent({
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
    ready,
    counts: () => ({
      held: enrollment.held.size,
      waiting: enrollment.waiting.size,
      control: control.state,
    }),
    empty,
    status: () => ({
      ...readiness.last,
      version,
      uncaptured: [...uncaptured.values()].map(({ uid, reason }) => ({ uid, reason })),
      missing: Object.fromEntries(missing),
      undecodable: discovery.undecodable(),
      cni: cni ? cni.trouble || 'in its place' : 'not installed by this agent',
      certificates: certificates.state(),
      timeMs: Date.now(),
    }),
    dump: async () => ({
      node: options.node,
      instance: options.instance,
      control,
      pods: [...enrollment.held.values()],
      waiting: Object.fromEntries(enrollment.waiting),
      uncaptured: Object.fromEntries(uncaptured),
      certificates: certificates.state(),
      kernel: readCounters(datapath),
      preexisting: preexisting.describe(),
      ...state.dump(),
      connections: await connections(),
    }),
    connections,
    certificates: () => certificates.state(),
  });
  writeReady();
  discovery.start();
  // Namespaces appear and vanish without a word from discovery.
  let turns = 0;
  let former = 0;
  const timer = setInterval(() => {
    // Entries of sockets that never sent a SYN, and what a lost event left.
    if (lease.isSwept && ++turns % sweepTurns === 0) lease.sweep();
    attempt('former generations could not be looked at, tried again', () => {
      const left = datapath.settle((flows) => carried.onFlows(flows));
      if (left !== former)
        log.info({ generations: left }, 'connections of builds with other maps live on in the kernel');
      former = left;
    });
    lease.renew();
    certificates.tick();
    attempt('the CNI plugin could not be looked after, tried again', keepCni);
    if (lease.isSwept) reports.tick(report, control.state === 'connected', Date.now());
    void turn();
    void datapath.retryArrivals((failed) =>
      log.error({ failed }, 'pods whose inbound hook is of the former build: what comes to them is refused'),
    );
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
        if (enrolledNamespaces.size === 0) {
          cni?.remove();
          readiness.remove();
        }
        log.info('no pod is in the mesh: nothing is left in the kernel');
        return;
      }
      // Hooks stay pinned: pods of this node are refused, not set free, until the next agent is there.
      log.info({ cut }, 'agent stopped');
    },
  };
}

async function main(): Promise<void> {
  const agent = await runAgent(parseOptions(process.argv));
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
