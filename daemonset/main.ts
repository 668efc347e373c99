/**
 * The node's agent: main thread. Discovery, certificates and metrics go on as long as the process; writer.ts is what it does while the
 * node is its own, which handover/succession.ts decides. The data path is in the workers.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { systemClock } from '../src/base/clock.js';
import { errorText } from '../src/base/errors.js';
import { sleep } from '../src/base/wait.js';
import { DiscoveryClient } from '../src/discovery/client.js';
import { createCertificateClient } from '../src/discovery/certificate-client.js';
import { sendNodeReport } from '../src/discovery/node-report-client.js';
import { parseTrustDomain, type SpiffeId } from '../src/model/identity.js';
import { MeshState, type MeshUpdate } from '../src/state/store.js';
import { ConnectionLog } from '../src/telemetry/connection-log.js';
import { undecodableGauge } from '../src/telemetry/undecodable.js';
import { MeshMetrics } from '../src/telemetry/metrics.js';
import { NodeReporter } from './enroll/report.js';
import { CertificateManager } from '../src/tls/certificate-manager.js';
import { refusalOf } from './enroll/rules.js';
import { agentAt } from './handover/former-build.js';
import { Succession } from './handover/succession.js';
import type { FromWorker } from './worker-ipc.js';
import { connectionsOfWorker, parseOptions, type AgentOptions } from './options.js';
import { ReadyMark } from './readiness.js';
import { adminPort } from './admin.js';
import { Subscriptions } from './discovery/subscriptions.js';
import { Workers } from './workers.js';
import { pinDirOf, startWriter, type Writer } from './active-agent.js';

export type { AgentOptions };

const tickMs = 1_000;
/** What is left of the drain when no new connections are taken any more: for those that began meanwhile. */
const drainLastMsMax = 1_000;
const stopLookMs = 50;
const certificateTtlS = 86_400;

export async function runAgent(options: AgentOptions): Promise<{ stop(): Promise<void> }> {
  const log = pino({ name: 'weft-agent', base: { node: options.node } }, pino.destination(2));
  const mark =
    options.ownDir === undefined
      ? undefined
      : new ReadyMark(options.ownDir, (error) =>
          log.error({ error: errorText(error) }, 'readiness could not be written, tried again'),
        );
  mkdirSync(options.run, { recursive: true });
  const rootPem = (): string => readFileSync(options.root, 'utf8');
  const token = (): string => readFileSync(options.token, 'utf8').trim();
  rootPem();
  token();

  /** While the node is this agent's. */
  let writer: Writer | undefined;
  const state = new MeshState();
  const metrics = new MeshMetrics(() => writer?.counters() ?? {});
  const connectionLog = new ConnectionLog({
    path: options.connectionLog ?? join(options.run, 'connections.log'),
    onDropped: () => metrics.linesDropped.inc(),
    onShareUsed: () => metrics.limitReached.inc({ limit: 'connection-lines' }),
  });
  let synced = false;
  let control: { state: string; why: string } = { state: 'disconnected', why: 'not yet tried' };

  const onMessage = (message: FromWorker): void => {
    if (message.type === 'log') log[message.level](message.fields, message.text);
    else if (message.type === 'connections') {
      for (const event of message.events) {
        metrics.apply(event);
        if (event.kind === 'closed') connectionLog.write(event.record);
      }
    } else if (message.type === 'limit') {
      metrics.limitReached.inc({ limit: message.limit });
    } else if (message.type === 'learn') {
      writer?.onVerdictAsked(message);
    }
  };
  const certificates: CertificateManager = new CertificateManager({
    issue: createCertificateClient({ target: options.control, rootPem, token }),
    clock: systemClock,
    random: Math.random,
    ttlS: certificateTtlS,
    onSvid: (svid) => {
      log.info(
        { identity: svid.id, serial: svid.serial, notAfter: new Date(svid.notAfterMs).toISOString() },
        'certificate',
      );
      workers.broadcast({ type: 'svid', svid });
      writer?.writeReady();
    },
    onError: (id, error, retryInMs) =>
      log.warn({ identity: id, error: errorText(error), retryInMs }, 'no certificate'),
  });
  const workers: Workers = new Workers({
    count: options.workers,
    settings: {
      node: options.node,
      pinDir: pinDirOf(options),
      trustDomain: parseTrustDomain(options.trustDomain),
      connectionsMax: connectionsOfWorker(options.workers),
    },
    state,
    svids: () =>
      [...subscriptions.wanted.values()].flatMap(({ identity }) => certificates.get(identity) ?? []),
    onMessage,
    onReplaced: (pods) => writer?.onWorkerReplaced(pods),
    onDied: (why) => log.error({ why }, 'a worker died'),
  });

  const subscriptions: Subscriptions = new Subscriptions(
    {
      onMesh: (update) => publish(update),
      onPods: () => {
        const roots = [...wanted.values()][0]?.rootsVersion ?? rootsVersion;
        if (roots !== rootsVersion && rootsVersion !== '') certificates.refreshAll();
        rootsVersion = roots;
        if (writer) void writer.turn();
        else if (synced) wantCertificates();
      },
      onNamespaces: () => writer?.keepCni(),
      onSandboxGone: (podUid) => writer?.forgetSandbox(podUid),
    },
    options.namespace,
  );
  const { wanted } = subscriptions;

  let identities: ReadonlySet<SpiffeId> = new Set();
  let identitiesText = '';
  const wantCertificates = (): void => {
    const taken = [...wanted.values()].filter((pod) => refusalOf(pod, options) === undefined);
    identities = new Set(taken.map(({ identity }) => identity));
    certificates.want(identities);
    const text = [...identities].sort().join(' ');
    if (text !== identitiesText) workers.broadcast({ type: 'identities', wanted: identities });
    identitiesText = text;
  };
  const certified = (): SpiffeId[] => [...identities].filter((id) => certificates.get(id));

  const publish = (update: MeshUpdate): void => {
    state.apply(update);
    workers.broadcast({ type: 'mesh', update });
    writer?.publish();
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
      if (!writer) return wantCertificates();
      writer.keepCni();
      void writer.turn();
    },
    onState: (now, why) => {
      control = { state: now, why };
      log.info({ state: now, why }, 'control plane');
      writer?.writeReady();
    },
    onRefused: (typeUrl, errors) => log.error({ typeUrl, errors }, 'resources refused'),
  });
  undecodableGauge(metrics.registry, () => discovery.undecodable());

  const shared = {
    options,
    log,
    state,
    metrics,
    connectionLog,
    certificates,
    workers,
    subscriptions,
    reports: new NodeReporter(
      (report) => sendNodeReport({ target: options.control, rootPem, token }, report),
      (why) => log.warn({ error: why }, 'the control plane was not told what this node holds, tried again'),
    ),
    isSynced: () => synced,
    control: () => control,
    undecodable: () => discovery.undecodable(),
    wantCertificates,
  };
  const succession: Succession = new Succession({
    dir: join(options.run, 'handover'),
    ...(options.ownDir === undefined ? {} : { marker: join(options.ownDir, 'handed-over') }),
    formerBuild: () => agentAt(adminPort),
    certificates: () => (synced ? certified() : undefined),
    isHeard: () => control.state === 'connected',
    activate: (inherited) => startWriter(shared, inherited, (made) => (writer = made)),
    deactivate: async () => {
      const ceding = writer;
      writer = undefined;
      return (await ceding?.cede()) ?? { preexisting: new Map() };
    },
    onHandedOver: () => workers.retire(),
    onFatal: (error) => {
      log.error({ error: errorText(error) }, 'this agent cannot go on');
      process.exit(1);
    },
    onLimit: (limit) => metrics.limitReached.inc({ limit }),
    log,
  });
  const isReady = (): boolean => {
    if (writer) return writer.isReady();
    // An agent that has handed over stays ready: a DaemonSet replaces a pod that is not. One that waits for an agent of a build without
    // hand-over is ready once it is prepared: a rollout ends that agent only then.
    if (succession.isReserve) return synced;
    return succession.waitsForFormerBuild && synced && certified().length === identities.size;
  };
  const timer = setInterval(() => {
    certificates.tick();
    mark?.write(isReady());
  }, tickMs);
  discovery.start();
  await succession.start();

  /** Resolves when another agent has the node, or when its wait is over and no connection is open. New connections go on meanwhile. */
  const awaitSuccessor = async (lastMs: number): Promise<void> => {
    const untilMs = performance.now() + Math.min(options.successorMs, options.drainMs - lastMs);
    let isSettled = false;
    void workers.settle(options.drainMs - lastMs).then(() => (isSettled = true));
    for (;;) {
      if (succession.isReserve) return;
      const isAwaited = performance.now() < untilMs && writer?.isEmpty() === false;
      if (succession.role !== 'handing-over' && isSettled && !isAwaited) return;
      await sleep(stopLookMs);
    }
  };

  return {
    stop: async () => {
      const began = performance.now();
      const lastMs = Math.min(options.drainMs, drainLastMsMax);
      succession.ending();
      // New connections need this agent until the next one has the node.
      if (writer ?? succession.role === 'handing-over') await awaitSuccessor(lastMs);
      succession.stop();
      const ending = writer;
      writer = undefined;
      if (!ending) await workers.emptied(Math.max(0, options.drainMs - (performance.now() - began)));
      clearInterval(timer);
      discovery.stop();
      await ending?.cede();
      const cut = await workers.drain(ending ? lastMs : 0);
      certificates.stop();
      connectionLog.close();
      // There is nothing that the hooks would keep closed.
      if (ending?.isEmpty() === true) return ending.remove(() => succession.remove());
      // Hooks stay pinned: pods of this node are refused, not set free, until the next agent is there.
      log.info({ cut, drainedMs: Math.round(performance.now() - began) }, 'agent stopped');
    },
  };
}

async function main(): Promise<void> {
  let stopping = false;
  const starting = runAgent(parseOptions(process.argv));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      void starting
        .then((agent) => agent.stop())
        .then(
          () => process.exit(0),
          () => process.exit(1),
        );
    });
  }
  await starting;
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`) {
  main().catch((error: unknown) => {
    console.error(errorText(error));
    process.exit(1);
  });
}
