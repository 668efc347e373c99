/**
 * The agent of one node: the parts of the main thread, from start to stop. Discovery, certificates, metrics and workers live as long as the
 * process. handover/succession.ts decides when this process owns the node; active-agent.ts does the work of an owner.
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
import { EdgeReportClient } from '../src/discovery/edge-report-client.js';
import { TapClient } from '../src/discovery/tap-client.js';
import { sendNodeReport } from '../src/discovery/node-report-client.js';
import type { SpiffeId } from '../src/model/identity.js';
import { ChangeTracker } from '../src/state/change.js';
import { MeshState, type MeshUpdate } from '../src/state/store.js';
import { ConnectionLog } from '../src/telemetry/connection-log.js';
import { ConnectionTap } from '../src/telemetry/connection-tap.js';
import { connectionTemplate } from '../src/telemetry/connection-template.js';
import { EdgeReporter, edgeReportMs } from '../src/telemetry/edge-reporter.js';
import { Taps } from '../src/telemetry/taps.js';
import { connectionEntry } from '../src/telemetry/otlp/connection-entry.js';
import { countLostTelemetry, exportLogs, exportMetrics } from '../src/telemetry/otlp/load.js';
import type { LogExport } from '../src/telemetry/otlp/log-export.js';
import { programMetrics } from '../src/telemetry/program-metrics.js';
import { undecodableGauge } from '../src/telemetry/undecodable.js';
import { MeshMetrics } from '../src/telemetry/metrics.js';
import { expiriesOf, type Certificates } from '../src/tls/certificate-manager.js';
import type { IssuedCertificate } from '../src/tls/svid.js';
import { ActiveAgent, pinDirOf, type AgentParts } from './active-agent.js';
import { adminPort } from './admin.js';
import type { NodeRelay } from './node-relay.js';
import { Subscriptions } from './discovery/subscriptions.js';
import { NodeReporter } from './enroll/report.js';
import { refusalOf } from './enroll/rules.js';
import { agentAt } from './handover/former-build.js';
import { Succession } from './handover/succession.js';
import type { AgentOptions } from './options.js';
import { ReadyMark } from './readiness.js';
import { makeRelay } from './relay.js';

const tickMs = 1_000;
/** Part of the drain after new connections are no longer accepted, for connections that began meanwhile. */
const drainLastMsMax = 1_000;
const stopPollMs = 50;
const lastReportMsMax = 500;

/** An address of this node, for its name in discovery. */
const nodeIp = (): string =>
  Object.values(networkInterfaces())
    .flat()
    .find((i) => i && !i.internal)?.address ?? '127.0.0.1';

export class Agent {
  /** Defined while this agent owns the node. */
  #active: ActiveAgent | undefined;
  readonly #options: AgentOptions;
  readonly #log: pino.Logger;
  readonly #mark: ReadyMark | undefined;
  readonly #state = new MeshState();
  readonly #changes = new ChangeTracker(this.#state);
  readonly #metrics = new MeshMetrics(() => this.#active?.counters() ?? {});
  readonly #taps = new Taps();
  readonly #tapClient: TapClient;
  readonly #connectionLog: ConnectionLog;
  readonly #certificates: Certificates;
  readonly #relay: NodeRelay;
  readonly #subscriptions: Subscriptions;
  readonly #discovery: DiscoveryClient;
  readonly #succession: Succession;
  readonly #reporter: NodeReporter;
  readonly #edgeClient: EdgeReportClient;
  readonly #edgeReporter: EdgeReporter;
  readonly #lostTelemetry = countLostTelemetry(this.#metrics.registry);
  #logExport: LogExport | undefined;
  #metricExport: { stop(): Promise<void> } | undefined;
  #lastMetrics: Promise<void> | undefined;
  #edgeTimer: NodeJS.Timeout | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isSynced = false;
  #control: { readonly state: string; readonly why: string } = {
    state: 'disconnected',
    why: 'not yet tried',
  };
  /** Identities of the pods that this machine accepts. */
  #identities: ReadonlySet<SpiffeId> = new Set();
  #identitiesSent = '';
  #rootsVersion = '';

  /**
   * Resolves when this agent owns its node or waits for the agent that does. Errors: an unreadable file in the options, those of
   * ActiveAgent.start.
   */
  static async start(options: AgentOptions): Promise<Agent> {
    const agent = new Agent(options);
    agent.#logExport = await exportLogs(options.otlpLogsEndpoint, {
      program: agent.#program,
      lost: agent.#lostTelemetry,
    });
    agent.#timer = setInterval(() => agent.#tick(), tickMs);
    agent.#edgeTimer = setInterval(() => void agent.#edgeReporter.tick(), edgeReportMs);
    agent.#discovery.start();
    agent.#tapClient.start();
    await agent.#succession.start();
    return agent;
  }

  private constructor(options: AgentOptions) {
    this.#options = options;
    const log = pino({ name: 'weft-agent', base: { node: options.node } }, pino.destination(2));
    this.#log = log;
    this.#mark =
      options.ownDir === undefined
        ? undefined
        : new ReadyMark(options.ownDir, (error) =>
            log.error({ error: errorText(error) }, 'readiness could not be written; retrying'),
          );
    mkdirSync(options.run, { recursive: true });
    const rootPem = (): string => readFileSync(options.root, 'utf8');
    const token = (): string => readFileSync(options.token, 'utf8').trim();
    rootPem();
    token();
    const control = { target: options.control, rootPem, token };

    this.#connectionLog = new ConnectionLog({
      path: options.connectionLog ?? join(options.run, 'connections.log'),
      onDropped: (lines) => this.#metrics.linesDropped.inc(lines),
      onShareUsed: () => this.#metrics.limitReached.inc({ limit: 'connection-lines' }),
      tap: new ConnectionTap(this.#taps),
      onLine: (pod, make) => this.#logExport?.add(pod, () => connectionEntry(make(), Date.now())),
    });
    this.#tapClient = new TapClient({
      control,
      onTaps: (setting) => this.#taps.set(setting),
      take: () => this.#taps.take(),
      onProblem: (error) => log.info({ error }, 'the stream of taps has ended; retrying'),
    });
    const { relay, certificates } = makeRelay({
      options,
      pinDir: pinDirOf(options),
      state: this.#state,
      issue: createCertificateClient(control),
      identities: () => [...this.#subscriptions.wanted.values()].map(({ identity }) => identity),
      onCertificate: (certificate) => this.#onCertificate(certificate),
      record: (event) => {
        this.#metrics.apply(event);
        if (event.kind === 'closed') this.#connectionLog.write(event.record);
      },
      observed: (record, requests) => this.#metrics.observedMany(record, requests),
      template: (opening) => connectionTemplate(this.#metrics.relayed, this.#connectionLog, opening),
      afterRecords: (call) => this.#connectionLog.afterLines(call),
      limitReached: (limit, times) => this.#metrics.limitReached.inc({ limit }, times),
      onVerdictRequest: (source, destination, port) =>
        this.#active?.onVerdictRequest(source, destination, port),
      onLost: (pods) => {
        this.#metrics.edges.forgetOpen();
        this.#active?.onListenersLost(pods);
      },
      log,
    });
    this.#relay = relay;
    this.#certificates = certificates;
    this.#subscriptions = new Subscriptions(
      {
        onMesh: (update) => this.#onMesh(update),
        onPods: () => this.#onPods(),
        onNamespaces: () => this.#active?.keepCni(),
        onSandboxGone: (podUid) => this.#active?.forgetSandbox(podUid),
      },
      options.namespace,
    );
    this.#discovery = new DiscoveryClient({
      ...control,
      nodeId: `ztunnel~${nodeIp()}~${options.node}.${options.namespace}~${options.namespace}.svc.cluster.local`,
      nodeName: options.node,
      clock: systemClock,
      subscriptions: this.#subscriptions.list,
      onChange: (typeUrl) => this.#subscriptions.onChange(typeUrl),
      onSynced: () => this.#onSynced(),
      onState: (state, why) => this.#onControlState(state, why),
      onRefused: (typeUrl, errors) => log.error({ typeUrl, errors }, 'resources refused'),
    });
    undecodableGauge(this.#metrics.registry, () => this.#discovery.undecodable());
    programMetrics(this.#metrics.registry, {
      isConnected: () => this.#control.state === 'connected',
      certificates: () => expiriesOf(this.#certificates),
    });
    this.#metrics.workloads = () => this.#state.workloads();
    this.#reporter = new NodeReporter(
      (report) => sendNodeReport(control, report),
      (why) =>
        log.warn({ error: why }, 'the report of this node could not be sent to the control plane; retrying'),
    );
    this.#edgeClient = new EdgeReportClient(control);
    this.#edgeReporter = new EdgeReporter({
      take: () => {
        this.#active?.observeOpenFlows();
        return this.#metrics.takeEdges();
      },
      send: (report) => this.#edgeClient.send(report),
      onLost: (reports) => this.#metrics.edgeReportsLost.inc(reports),
      onProblem: (why) =>
        log.warn(
          { error: why },
          'a report of who called whom could not be sent to the control plane; retrying',
        ),
    });
    this.#succession = new Succession({
      dir: join(options.run, 'handover'),
      ...(options.ownDir === undefined ? {} : { marker: join(options.ownDir, 'handed-over') }),
      formerBuild: () => agentAt(adminPort),
      certificates: () => (this.#isSynced ? this.#certified() : undefined),
      isHeard: () => this.#control.state === 'connected',
      activate: async (inherited) => {
        await ActiveAgent.start(this.#parts(), inherited, (active) => (this.#active = active));
        await this.#startMetricExport();
      },
      deactivate: async () => (await this.#deactivate()?.close()) ?? { preexisting: new Map() },
      onHandedOver: () => this.#relay.retire(),
      onFatal: (error) => {
        log.error({ error: errorText(error) }, 'this agent cannot continue');
        process.exit(1);
      },
      onLimit: (limit) => this.#metrics.limitReached.inc({ limit }),
      log,
    });
  }

  get #program() {
    return { service: 'weft-agent', namespace: this.#options.namespace, instance: this.#options.node };
  }

  /** Only the owner of the node sends metrics: a collector knows the agents by their nodes. */
  async #startMetricExport(): Promise<void> {
    let started: Awaited<ReturnType<typeof exportMetrics>>;
    try {
      started = await exportMetrics(this.#options.otlpMetricsEndpoint, {
        program: this.#program,
        lost: this.#lostTelemetry,
        read: () => this.#metrics.json(),
      });
    } catch (error) {
      // An agent without metrics at the collector serves its pods all the same.
      this.#log.warn({ error: errorText(error) }, 'metrics are not sent to the collector');
      return;
    }
    // The node may have another owner by now.
    if (this.#active) this.#metricExport = started;
    else await started?.stop();
  }

  #parts(): AgentParts {
    return {
      options: this.#options,
      log: this.#log,
      state: this.#state,
      metrics: this.#metrics,
      connectionLog: this.#connectionLog,
      certificates: this.#certificates,
      relay: this.#relay,
      subscriptions: this.#subscriptions,
      reporter: this.#reporter,
      isSynced: () => this.#isSynced,
      control: () => this.#control,
      undecodable: () => this.#discovery.undecodable(),
      wantCertificates: () => this.#wantCertificates(),
    };
  }

  /** Detaches the active part, which the caller closes. Events are no longer passed to it. */
  #deactivate(): ActiveAgent | undefined {
    const active = this.#active;
    this.#active = undefined;
    // What gauges are set from is closed with the active part.
    this.#metrics.beforeRead = undefined;
    this.#lastMetrics = this.#metricExport?.stop();
    this.#metricExport = undefined;
    return active;
  }

  #onCertificate({ id, serial, notAfterMs }: IssuedCertificate): void {
    this.#log.info({ identity: id, serial, notAfter: new Date(notAfterMs).toISOString() }, 'certificate');
    this.#active?.writeReady();
  }

  #onMesh(update: MeshUpdate): void {
    const change = this.#changes.of(update);
    this.#state.apply(update);
    this.#relay.onMesh(update, change);
    this.#active?.onMesh();
  }

  #onPods(): void {
    const roots = [...this.#subscriptions.wanted.values()][0]?.rootsVersion ?? this.#rootsVersion;
    if (roots !== this.#rootsVersion && this.#rootsVersion !== '') this.#certificates.refreshAll();
    this.#rootsVersion = roots;
    if (this.#active) void this.#active.sync();
    else if (this.#isSynced) this.#wantCertificates();
  }

  #onSynced(): void {
    this.#isSynced = true;
    if (!this.#active) return this.#wantCertificates();
    this.#active.keepCni();
    void this.#active.sync();
  }

  #onControlState(state: string, why: string): void {
    this.#control = { state, why };
    this.#log.info({ state, why }, 'control plane');
    this.#active?.writeReady();
  }

  /** Requests the certificates of the pods that are wanted now. The relay forgets all others. */
  #wantCertificates(): void {
    const taken = [...this.#subscriptions.wanted.values()].filter(
      (pod) => refusalOf(pod, this.#options) === undefined,
    );
    this.#identities = new Set(taken.map(({ identity }) => identity));
    this.#certificates.want(this.#identities);
    const text = [...this.#identities].sort().join(' ');
    if (text !== this.#identitiesSent) this.#relay.onIdentities(this.#identities);
    this.#identitiesSent = text;
  }

  #certified(): SpiffeId[] {
    // The carrier has the keys, which outlive agents: they come with the node.
    if (this.#options.relay === 'carrier' && !this.#active) return [...this.#identities];
    return [...this.#identities].filter((id) => this.#certificates.get(id));
  }

  #tick(): void {
    this.#certificates.tick();
    this.#relay.tick();
    this.#mark?.write(this.#isReady());
  }

  #isReady(): boolean {
    if (this.#active) return this.#active.isReady();
    // An agent that has handed over stays ready, because a DaemonSet replaces a pod that is not. An agent that waits for one of a build
    // without hand-over is ready once it is prepared, because a rollout ends the old agent only then.
    if (this.#succession.isReserve) return this.#isSynced;
    return (
      this.#succession.waitsForFormerBuild &&
      this.#isSynced &&
      this.#certified().length === this.#identities.size
    );
  }

  /**
   * Resolves when another agent owns the node, or when the wait is over and no connection is open. New connections are accepted meanwhile.
   */
  async #awaitSuccessor(lastMs: number): Promise<void> {
    const { successorMs, drainMs } = this.#options;
    const untilMs = performance.now() + Math.min(successorMs, drainMs - lastMs);
    let isSettled = false;
    void this.#relay.settle(drainMs - lastMs).then(() => (isSettled = true));
    for (;;) {
      if (this.#succession.isReserve) return;
      const isAwaited = performance.now() < untilMs && this.#active?.isEmpty() === false;
      if (this.#succession.role !== 'handing-over' && isSettled && !isAwaited) return;
      await sleep(stopPollMs);
    }
  }

  /**
   * Resolves when the process may end: a successor owns the node, or all open connections have ended or were closed at the limit of the
   * drain. Programs and maps stay in the kernel and refuse the pods' connections until the next agent runs. If no pod is in the mesh, they
   * are removed.
   */
  async stop(): Promise<void> {
    const succession = this.#succession;
    const beganMs = performance.now();
    const lastMs = Math.min(this.#options.drainMs, drainLastMsMax);
    succession.ending();
    // New connections need this agent until its successor owns the node.
    if (this.#active ?? succession.role === 'handing-over') await this.#awaitSuccessor(lastMs);
    succession.stop();
    const ending = this.#deactivate();
    if (!ending)
      await this.#relay.whenEmpty(Math.max(0, this.#options.drainMs - (performance.now() - beganMs)));
    clearInterval(this.#timer);
    clearInterval(this.#edgeTimer);
    this.#discovery.stop();
    await ending?.close();
    const cut = await this.#relay.drain(ending ? lastMs : 0);
    // Not before: while the relay is open, connections need an agent that decides.
    const reports = [this.#edgeReporter.tick(), this.#logExport?.close(), this.#lastMetrics];
    await Promise.race([Promise.all(reports), sleep(lastReportMsMax)]);
    this.#edgeClient.close();
    this.#tapClient.stop();
    this.#certificates.stop();
    this.#connectionLog.close();
    // No pod is captured, so no hook needs to stay.
    if (ending?.isEmpty() === true) return ending.remove(() => succession.remove());
    // Hooks stay pinned: until the next agent runs, the pods' connections are refused instead of bypassing the mesh.
    this.#log.info({ cut, drainedMs: Math.round(performance.now() - beganMs) }, 'agent stopped');
  }
}
