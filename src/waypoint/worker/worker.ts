/** A worker process of a waypoint: its connections and requests. All workers share one port; each has its own copy of the main process's state. */
import net from 'node:net';
import { errorText } from '../../base/errors.js';
import { RateLimiter } from '../../base/rate-limiter.js';
import { FairLimit } from '../../base/fair-limit.js';
import { InjectedFaults } from '../filters/injected-faults.js';
import { RateLimits } from '../rate-limit/rate-limits.js';
import { sleep } from '../../base/wait.js';
import { TunnelPool } from '../../hbone/pool.js';
import { HboneServer, type InboundTunnel } from '../../hbone/server.js';
import { formatSocketAddress } from '../../model/address.js';
import { workloadIdentityOf, type SpiffeId, type TrustDomain } from '../../model/identity.js';
import type { ServiceKey } from '../../model/workload.js';
import type { Svid } from '../../tls/svid.js';
import { clientOf, waypointClient } from '../listener/client.js';
import { recheck } from './recheck.js';
import { ByDestination } from './by-destination.js';
import type { ActiveConnection, ActiveRequest, ConnectionContext } from './context.js';
import { createDial } from '../cluster/dial.js';
import { watchIdle } from '../exchange/idle-timeouts.js';
import { defaultLimits, type WaypointLimit } from '../limits.js';
import { WorkerHealth } from './worker-health.js';
import type { FromWorker, ToWorker, WorkerSettings } from './worker-ipc.js';
import { monotonicMs } from '../shared/monotonic.js';
import { SharedMemory, type SharedMemorySettings } from '../shared/shared-memory.js';
import { mirrorBlockBytes } from '../upstream/mirror-buffer.js';
import { WaypointState, type WaypointUpdate } from '../state/waypoint-state.js';
import { JwtTokens } from '../jwt/jwt-tokens.js';
import { callService } from '../external-authorization/decision-service.js';
import { ExternalAuthorization } from '../external-authorization/external-authorization.js';
import { watchExternalAuthorization } from '../telemetry/external-authorization-metrics.js';
import { GlobalLimits } from '../rate-limit/global/global-limits.js';
import { MeshRateLimitService } from '../rate-limit/global/mesh-service.js';
import { OwnService } from '../rate-limit/global/own-service.js';
import { AccessLog } from '../telemetry/access-log.js';
import { watchGlobalRateLimits } from '../telemetry/global-rate-limit-metrics.js';
import { Shedding } from '../shedding/shedding.js';
import { registerSheddingMetrics } from '../telemetry/shedding-metrics.js';
import { registerBalancingMetrics } from '../telemetry/balancing-metrics.js';
import { RequestEdges } from '../telemetry/edges.js';
import { edgeReportMs } from '../../telemetry/edge-reporter.js';
import { RequestTap } from '../telemetry/request-tap.js';
import { Taps, tapSendMs } from '../../telemetry/taps.js';
import { WaypointMetrics } from '../telemetry/metrics.js';
import { registerJwtMetrics } from '../telemetry/jwt-metrics.js';
import { registerFaultMetrics } from '../telemetry/fault-metrics.js';
import { registerRateLimitMetrics } from '../telemetry/rate-limit-metrics.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import { UpstreamEvents } from '../telemetry/upstream-events.js';
import type { Tracing } from '../telemetry/tracing.js';
import { serveTunnel } from '../listener/tunnel.js';
import { ClusterManager } from '../cluster/cluster-manager.js';

const idleCheckMs = 1_000;
const rateLimitSweepMs = 1_000;
const monotonicNs = (): number => monotonicMs() * 1e6;

type Start = Extract<ToWorker, { type: 'start' }>;

const groupOf = (peer: SpiffeId): string => workloadIdentityOf(peer)?.namespace ?? '';
const send = (message: FromWorker): void => void process.send?.(message);

class Worker {
  readonly #state: WaypointState;
  readonly #metrics: WaypointMetrics;
  readonly #accessLog: AccessLog;
  readonly #edges: RequestEdges;
  readonly #taps = new Taps();
  #isSendingTapped = false;
  readonly #tunnels = new TunnelPool();
  readonly #rateLimits: RateLimits;
  readonly #memory: SharedMemory;
  readonly #faults = new InjectedFaults();
  readonly #clusters: ClusterManager;
  readonly #health: WorkerHealth;
  readonly #globalRateLimits: GlobalLimits;
  readonly #tracing: Tracing | undefined;
  readonly #context: ConnectionContext;
  readonly #listener: net.Server;
  #hbone: HboneServer | undefined;
  #svid: Svid | undefined;
  #draining = false;
  /** Rate limits of log lines about peers, by the peer's namespace, or by its address if it has presented no certificate. */
  readonly #refusedLines = new RateLimiter({ burst: 1_000, perSecond: 50 });
  readonly #relayedLines = new RateLimiter({ burst: 20_000, perSecond: 1_000 });
  /** Connections of peers that have presented their certificate; each carries many tunnels. */
  readonly #sessions = new FairLimit(defaultLimits.connectionsMax);

  static async create({ settings, memory, index }: Start): Promise<Worker> {
    // Loaded only if it is used: tracing takes half as much memory as everything else together.
    const tracing =
      settings.tracing && new (await import('../telemetry/tracing.js')).Tracing(settings.tracing);
    return new Worker(settings, tracing, memory, index);
  }

  private constructor(
    private readonly settings: WorkerSettings,
    tracing: Tracing | undefined,
    memory: SharedMemorySettings | undefined,
    index: number,
  ) {
    this.#state = new WaypointState(settings.node, settings.self as ServiceKey);
    this.#metrics = new WaypointMetrics(() => this.#state.view);
    this.#accessLog = new AccessLog(
      settings.accessLog,
      settings.accessLogMode,
      settings.accessLogTemplate,
      () => this.#metrics.limitReached.inc({ limit: 'access-log' }),
    );
    this.#edges = new RequestEdges(
      () => this.#state.view,
      (limit) => this.#metrics.limitReached.inc({ limit }),
    );
    setInterval(() => this.#sendEdges(), edgeReportMs).unref();
    const tap = new RequestTap(this.#taps, () => this.#state.view);
    const limits = { ...defaultLimits, ...settings.limits };
    const limitReached = (limit: WaypointLimit): void => this.#metrics.limitReached.inc({ limit });
    this.#memory = memory
      ? SharedMemory.open(memory, index, limitReached)
      : SharedMemory.inMemory(limitReached);
    const dial = createDial(this.#state, this.#tunnels, () => this.#svid, limits);
    const onAction = (action: TrafficAction, namespace: string): void =>
      this.#metrics.acted(action, namespace);
    const health = new WorkerHealth({
      metrics: this.#metrics.registry,
      clusters: () => this.#clusters.health(),
      makesChecks: index === 0,
      dial,
      limits,
      log: (line) => send({ type: 'log', ...line }),
      onAction,
      onLimitReached: limitReached,
      send: (changes) => send({ type: 'health', changes }),
    });
    this.#health = health;
    this.#clusters = new ClusterManager(
      this.#state,
      dial,
      limits,
      (limit, cluster, { workload }) => {
        limitReached(limit);
        this.#metrics.breakers.overflow(limit, cluster, workload.namespace);
      },
      health.context,
      this.#memory.counters,
    );
    this.#metrics.watchClusters(() => this.#clusters.waiting());
    this.#metrics.breakers.watch(() => this.#clusters.limited());
    this.#globalRateLimits = this.#createGlobalRateLimits();
    this.#rateLimits = new RateLimits(
      this.#memory.buckets,
      this.#memory.buckets.layout.workers,
      monotonicNs,
      () => limitReached('rate-limit-keys'),
    );
    registerRateLimitMetrics(this.#metrics.registry, this.#rateLimits);
    registerFaultMetrics(this.#metrics.registry, this.#faults);
    const rateLimitSweeps = setInterval(() => this.#rateLimits.sweep(), rateLimitSweepMs);
    rateLimitSweeps.unref();
    registerBalancingMetrics(this.#metrics.registry, () => this.#clusters.ofServices());
    const shedding = new Shedding();
    const jwt = new JwtTokens(limitReached, {
      onUnknownKey: (uri) => send({ type: 'refetch', uri }),
    });
    registerJwtMetrics(this.#metrics.registry, jwt);
    registerSheddingMetrics(this.#metrics.registry, shedding);
    const events = new UpstreamEvents(this.#metrics.registry, () => limitReached('metric-series'));
    const exchanges = new ByDestination<ActiveRequest>();
    this.#tracing = tracing;
    this.#context = {
      tracing,
      state: this.#state,
      clusters: this.#clusters,
      limits,
      mergeSlashes: settings.mergeSlashes,
      trustedProxies: settings.trustedProxies,
      exchanges,
      connections: new ByDestination<ActiveConnection>(),
      connectionShares: new FairLimit(limits.connectionsMax),
      requestShares: new FairLimit(limits.requestsMax),
      globalRateLimits: this.#globalRateLimits,
      rateLimits: this.#rateLimits,
      externalAuthorization: this.#createExternalAuthorization(),
      faults: this.#faults,
      shedding,
      jwt,
      mirrorShares: new FairLimit(limits.mirrorsMax),
      mirrorBufferShares: new FairLimit(limits.mirrorBuffersBytesMax / mirrorBlockBytes),
      onMirrorEnd: (result) => this.#metrics.mirrored.inc({ result }),
      onLimitReached: limitReached,
      onRequestEnd: (record) => {
        this.#metrics.record(record);
        this.#accessLog.write(record);
        this.#edges.record(record);
        tap.request(record);
      },
      onAction,
      onUpstreamEvent: (event, cluster, namespace) => events.count(event, cluster, namespace),
      onUnreadable: (status, why, client) => {
        this.#metrics.refusedHeads.inc({ status: String(status) });
        this.#logOf(client.group, {
          level: 'warn',
          fields: {
            status,
            why,
            source: client.identity,
            sourceAddress: formatSocketAddress(client.address),
          },
          text: 'malformed request',
        });
      },
      onDetected: (result) => this.#metrics.detections.inc({ result }),
      onRelay: (client, destination, endpoint, { refusal, audited }) => {
        tap.relayed(client, destination, endpoint, { refusal, audited });
        const notOpened = refusal?.code === 'WEFT_DENIED' ? 'refused' : 'failed';
        const outcome = refusal === undefined ? 'opened' : notOpened;
        this.#edges.relayed(client, destination, endpoint, outcome, { policy: refusal?.policy, audited });
        this.#metrics.audited(audited);
        if (refusal?.code !== undefined) this.#metrics.refused(client, { ...refusal, code: refusal.code });
        this.#logOf(client.group, {
          level: refusal === undefined ? 'info' : 'warn',
          fields: {
            source: client.identity,
            sourceAddress: formatSocketAddress(client.address),
            dialled: formatSocketAddress(destination.dialed),
            endpoint: endpoint && formatSocketAddress(endpoint.target),
            ...refusal,
            ...(audited.length > 0 ? { audited } : {}),
          },
          text: refusal === undefined ? 'connection relayed' : 'connection refused',
        });
      },
    };
    watchIdle(exchanges, idleCheckMs);
    this.#listener = net.createServer({ noDelay: true, pauseOnConnect: false }, (socket) => {
      if (!this.#hbone || this.#draining) return void socket.destroy();
      this.#hbone.handle(socket);
    });
    this.#listener.maxConnections = limits.connectionsMax;
    this.#listener.on('drop', () => limitReached('connections'));
  }

  #createGlobalRateLimits(): GlobalLimits {
    const { rateLimiter } = this.settings;
    const limits = new GlobalLimits({
      own: rateLimiter && (() => new OwnService({ ...rateLimiter, svid: () => this.#svid })),
      ofMesh: (target) => new MeshRateLimitService(() => this.#context, target),
      onLimitReached: (limit) => this.#metrics.limitReached.inc({ limit }),
      onService: (service, error) =>
        this.#logOf(
          '',
          error === undefined
            ? { level: 'info', fields: { service }, text: 'the rate limit service responds again' }
            : { level: 'warn', fields: { service, error }, text: 'the rate limit service does not respond' },
        ),
    });
    watchGlobalRateLimits(this.#metrics.registry, limits);
    setInterval(() => limits.sweep(), rateLimitSweepMs).unref();
    return limits;
  }

  #createExternalAuthorization(): ExternalAuthorization {
    const made = new ExternalAuthorization({
      call: (...of) => callService(this.#context, clientOf(this.#svid?.id, waypointClient.address), ...of),
      onLimitReached: (limit) => this.#metrics.limitReached.inc({ limit }),
      onService: (service, error) =>
        this.#logOf(
          '',
          error === undefined
            ? { level: 'info', fields: { service }, text: 'the decision service decides again' }
            : { level: 'warn', fields: { service, error }, text: 'the decision service does not decide' },
        ),
    });
    watchExternalAuthorization(this.#metrics.registry, made);
    setInterval(() => made.sweep(), rateLimitSweepMs).unref();
    return made;
  }

  listen(): void {
    const { host, port } = this.settings;
    this.#listener.listen({ port, ...(host === undefined ? {} : { host }) }, () =>
      send({ type: 'listening' }),
    );
  }

  handle(message: ToWorker): void {
    switch (message.type) {
      case 'start':
        return;
      case 'update':
        this.#apply(message.update);
        return;
      case 'svid':
        return this.#certificate(message.svid);
      case 'client-certificates':
        return this.#state.setClientCertificates(message.states);
      case 'health':
        for (const change of message.changes) this.#clusters.applyHealth(change);
        return;
      case 'metrics':
        void this.#metrics
          .read(message.names)
          .then((metrics) => send({ type: 'reply', call: message.call, values: metrics }))
          .catch((error: unknown) =>
            send({ type: 'log', level: 'error', fields: { error: errorText(error) }, text: 'no metrics' }),
          );
        return;
      case 'taps':
        this.#taps.set(message.setting);
        return this.#sendTapped();
      case 'clusters':
        return send({ type: 'reply', call: message.call, values: this.#clusters.dump() });
      case 'drain':
        void this.#drain(message.timeoutMs).then((cut) => send({ type: 'drained', cut }));
    }
  }

  #apply(update: WaypointUpdate): void {
    for (const { filters, clients = [] } of update.servicePolicies ?? [])
      for (const list of [filters, ...clients.map((one) => one.filters)])
        this.#globalRateLimits.prepare(list ?? []);
    const change = this.#state.apply(update);
    if (change) recheck(this.#context, change);
  }

  #certificate(svid: Svid): void {
    this.#svid = svid;
    this.#tunnels.update(svid);
    if (this.#hbone) return this.#hbone.update(svid);
    this.#hbone = new HboneServer({
      svid,
      trustDomain: this.settings.trustDomain as TrustDomain,
      // Every pod of the mesh may connect at once, for instance after a restart.
      limits: { handshakesMax: 8192 },
      onTunnel: (tunnel) => this.#onTunnel(tunnel),
      onHandshakesFull: () => this.#metrics.limitReached.inc({ limit: 'handshakes' }),
      admit: (peer, remote) => {
        const { name, group } = clientOf(peer, remote);
        if (this.#sessions.take(name, group) === undefined) return () => this.#sessions.release(name, group);
        this.#metrics.limitReached.inc({ limit: 'connections-per-client' });
        return undefined;
      },
      onRefused: ({ code, reason: why, remote, peer }) =>
        this.#logOf(peer === undefined ? (remote?.ip ?? '') : groupOf(peer), {
          level: 'warn',
          fields: { code, why, peer, remote: remote && formatSocketAddress(remote) },
          text: 'tunnel refused',
        }),
    });
    // Without a certificate the waypoint cannot authenticate itself, so it does not listen before it has one.
    this.listen();
    this.#health.start(this.#clusters);
  }

  #onTunnel(tunnel: InboundTunnel): void {
    const refused = serveTunnel(this.#context, tunnel);
    if (!refused) return;
    const { code, why } = refused;
    this.#logOf(groupOf(tunnel.peer), {
      level: 'warn',
      fields: { code, why, peer: tunnel.peer, dialled: formatSocketAddress(tunnel.authority) },
      text: 'tunnel refused',
    });
  }

  #sendEdges(): void {
    const edges = this.#edges.take(Date.now());
    if (edges.length > 0) send({ type: 'edges', edges });
  }

  /** Runs while a tap is on. One message is under way: what comes faster than the main process reads is lost, and counted. */
  #sendTapped(): void {
    if (this.#isSendingTapped || !this.#taps.isOn) return;
    const taken = this.#taps.take();
    this.#isSendingTapped = true;
    const again = (): void =>
      void setTimeout(() => {
        this.#isSendingTapped = false;
        this.#sendTapped();
      }, tapSendMs).unref();
    if (!taken) return again();
    process.send?.({ type: 'tapped', taken } satisfies FromWorker, undefined, undefined, again);
  }

  /** Logs a line about a peer. Peers choose how often they are refused: lines beyond their rate limit are only counted, and not sent. */
  #logOf(whose: string, line: Omit<Extract<FromWorker, { type: 'log' }>, 'type'>): void {
    const share = line.level === 'info' ? this.#relayedLines : this.#refusedLines;
    if (share.take(whose)) send({ type: 'log', ...line });
    else this.#metrics.limitReached.inc({ limit: 'log-lines' });
  }

  /** Drains this worker. Returns the number of connections that were cut. */
  async #drain(timeoutMs: number): Promise<number> {
    if (this.#draining) return 0;
    this.#draining = true;
    const { connections, exchanges } = this.#context;
    const end = Date.now() + timeoutMs;
    this.#listener.close();
    for (const connection of connections) connection.drain();
    void this.#hbone?.drain();
    while ((connections.size > 0 || exchanges.size > 0) && Date.now() < end) await sleep(50);
    const left = connections.size;
    for (const connection of connections) connection.destroy();
    this.#health.stop();
    this.#globalRateLimits.close();
    this.#clusters.drain();
    this.#tunnels.close();
    this.#hbone?.close();
    this.#accessLog.close();
    this.#sendEdges();
    // A collector that does not respond must not delay the exit.
    await Promise.race([this.#tracing?.close().catch(() => undefined), sleep(1_000)]);
    return left;
  }
}

export function runWorker(): void {
  let worker: Promise<Worker> | undefined;
  process.on('message', (message: ToWorker) => {
    if (message.type === 'start') worker = Worker.create(message);
    else void worker?.then((made) => made.handle(message));
  });
  // The main process is gone: without its updates the state may be outdated, so nothing may be served by it.
  process.on('disconnect', () => process.exit(1));
  // The main process handles signals; a terminal sends them to all processes.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
  send({ type: 'up' });
}
