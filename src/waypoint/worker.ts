/** A worker process: the data path of a waypoint. All share one port; each decides by its own copy of what the main process knows. */
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { errorText } from '../base/errors.js';
import { sleep } from '../base/wait.js';
import { forwardedFor } from '../hbone/headers.js';
import { TunnelPool } from '../hbone/pool.js';
import { HboneServer, type InboundTunnel } from '../hbone/server.js';
import { formatSocketAddress } from '../model/address.js';
import type { TrustDomain } from '../model/identity.js';
import type { ServiceKey } from '../model/workload.js';
import type { Svid } from '../tls/svid.js';
import { workloadIdentityOf } from '../model/identity.js';
import { clientOf } from './client.js';
import { recheckAll, serveConnection, type ConnectionContext, type ServedConnection } from './connection.js';
import { createDial } from './dial.js';
import type { Destination, Exchange } from './exchange.js';
import { defaultLimits } from './limits.js';
import type { FromWorker, ToWorker, WorkerSettings } from './messages.js';
import { Slots } from './slots.js';
import { WaypointState } from './state.js';
import { AccessLog, WaypointMetrics } from './telemetry.js';
import type { Tracing } from './tracing.js';
import { UpstreamPool } from './upstream/pool.js';

const idleCheckMs = 5_000;

const send = (message: FromWorker): void => void process.send?.(message);

class Worker {
  readonly #state: WaypointState;
  readonly #metrics: WaypointMetrics;
  readonly #accessLog: AccessLog;
  readonly #tunnels = new TunnelPool();
  readonly #pool: UpstreamPool;
  readonly #tracing: Tracing | undefined;
  readonly #context: ConnectionContext;
  readonly #listener: net.Server;
  #hbone: HboneServer | undefined;
  #svid: Svid | undefined;
  #draining = false;

  static async create(settings: WorkerSettings): Promise<Worker> {
    // Loaded where it is used: it takes as much memory as half of all the rest.
    const tracing = settings.tracing && new (await import('./tracing.js')).Tracing(settings.tracing);
    return new Worker(settings, tracing);
  }

  private constructor(
    private readonly settings: WorkerSettings,
    tracing: Tracing | undefined,
  ) {
    this.#state = new WaypointState(settings.node, settings.self as ServiceKey);
    this.#metrics = new WaypointMetrics(() => this.#state.view);
    this.#accessLog = new AccessLog(
      settings.accessLog,
      settings.accessLogMode,
      settings.accessLogTemplate,
      () => this.#metrics.limitReached.inc({ limit: 'access-log' }),
    );
    const limits = defaultLimits;
    const limitReached = (limit: string): void => this.#metrics.limitReached.inc({ limit });
    const dial = createDial(this.#state, this.#tunnels, () => this.#svid, limits);
    this.#pool = new UpstreamPool(dial, limits, limitReached);
    const exchanges = new Slots<Exchange>();
    this.#tracing = tracing;
    this.#context = {
      tracing,
      state: this.#state,
      pool: this.#pool,
      limits,
      exchanges,
      dial,
      connections: new Set<ServedConnection>(),
      limitReached,
      ended: (record) => {
        this.#metrics.record(record);
        this.#accessLog.write(record);
      },
      unreadable: (status, why, client) => {
        this.#metrics.refusedHeads.inc({ status: String(status) });
        send({
          type: 'log',
          level: 'warn',
          fields: {
            status,
            why,
            source: client.identity,
            sourceAddress: formatSocketAddress(client.address),
          },
          text: 'a request could not be read',
        });
      },
      carried: (client, destination, endpoint, refused) =>
        send({
          type: 'log',
          level: refused === undefined ? 'info' : 'warn',
          fields: {
            source: client.identity,
            sourceAddress: formatSocketAddress(client.address),
            dialled: formatSocketAddress(destination.dialled),
            endpoint: endpoint && formatSocketAddress(endpoint.target),
            ...(refused === undefined ? {} : { why: refused }),
          },
          text: refused === undefined ? 'connection carried as bytes' : 'connection refused',
        }),
    };
    setInterval(() => {
      const now = performance.now();
      for (const exchange of exchanges) exchange.checkIdle(now);
    }, idleCheckMs).unref();
    this.#listener = net.createServer({ noDelay: true, pauseOnConnect: false }, (socket) => {
      if (!this.#hbone || this.#draining) return void socket.destroy();
      this.#hbone.handle(socket);
    });
    this.#listener.maxConnections = limits.connectionsMax;
    this.#listener.on('drop', () => limitReached('connections'));
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
        this.#state.apply(message.update);
        if (message.update.mesh) recheckAll(this.#context);
        return;
      case 'svid':
        return this.#certificate(message.svid);
      case 'metrics':
        void this.#metrics
          .text()
          .then((metrics) => send({ type: 'metrics', call: message.call, metrics }))
          .catch((error: unknown) =>
            send({ type: 'log', level: 'error', fields: { error: errorText(error) }, text: 'no metrics' }),
          );
        return;
      case 'drain':
        void this.#drain(message.timeoutMs).then((cut) => send({ type: 'drained', cut }));
    }
  }

  #certificate(svid: Svid): void {
    this.#svid = svid;
    this.#tunnels.update(svid);
    if (this.#hbone) return this.#hbone.update(svid);
    this.#hbone = new HboneServer({
      svid,
      trustDomain: this.settings.trustDomain as TrustDomain,
      onTunnel: (tunnel) => this.#onTunnel(tunnel),
      onRefused: ({ code, why, remote, peer }) =>
        send({
          type: 'log',
          level: 'warn',
          fields: { code, why, peer, remote: remote && formatSocketAddress(remote) },
          text: 'tunnel refused',
        }),
    });
    // Without a certificate there is nobody to be: nothing is accepted before.
    this.listen();
  }

  #onTunnel(tunnel: InboundTunnel): void {
    const refuse = (status: number, code: string, why: string): void => {
      send({
        type: 'log',
        level: 'warn',
        fields: { code, why, peer: tunnel.peer, dialled: formatSocketAddress(tunnel.authority) },
        text: 'tunnel refused',
      });
      tunnel.refuse(status);
    };
    if (this.#context.connections.size >= this.#context.limits.connectionsMax) {
      this.#metrics.limitReached.inc({ limit: 'connections' });
      return refuse(503, 'WEFT_CONNECTIONS_FULL', 'as many connections as there may be');
    }
    const destination = this.#destinationOf(tunnel);
    if (!destination) {
      return refuse(
        404,
        'WEFT_NOT_SERVED',
        `${formatSocketAddress(tunnel.authority)} is not served by this waypoint`,
      );
    }
    // The tunnel's own source is the pod's address, so what its node tells of it must agree.
    const told = forwardedFor(tunnel.headers.forwarded);
    const address = told?.ip === tunnel.remote.ip ? told : tunnel.remote;
    serveConnection(this.#context, tunnel.accept() as Duplex, clientOf(tunnel.peer, address), destination);
  }

  #destinationOf({ authority, peer }: InboundTunnel): Destination | undefined {
    const { view } = this.#state;
    const namespace = workloadIdentityOf(peer)?.namespace;
    const service = view.serviceByAddress(authority.ip, namespace);
    if (service) {
      if (!this.#state.serves(service, undefined, authority.port)) return undefined;
      if (!service.ports.some(({ servicePort }) => servicePort === authority.port)) return undefined;
      return { kind: 'service', service, port: authority.port, dialled: authority };
    }
    // The client's node has chosen it already, by a Service perhaps: here it only has to be one that this waypoint serves.
    const workload =
      view.claimantsOf(authority.ip).find((one) => this.#state.serves(undefined, one, authority.port)) ??
      view.workloadByAddress(authority.ip, namespace);
    if (!workload || !this.#state.serves(undefined, workload, authority.port)) return undefined;
    return { kind: 'workload', workload, dialled: authority };
  }

  /** Returns how many connections had to be cut. */
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
    for (const connection of [...connections]) connection.destroy();
    this.#pool.drain();
    this.#tunnels.close();
    this.#hbone?.close();
    this.#accessLog.close();
    // A collector that does not answer keeps nobody from ending.
    await Promise.race([this.#tracing?.close().catch(() => undefined), sleep(1_000)]);
    return left;
  }
}

export function runWorker(): void {
  let worker: Promise<Worker> | undefined;
  process.on('message', (message: ToWorker) => {
    if (message.type === 'start') worker = Worker.create(message.settings);
    else void worker?.then((made) => made.handle(message));
  });
  // The main process is gone: nobody tells what changes, so nobody may be served by what is known.
  process.on('disconnect', () => process.exit(1));
  // Signals are the main process's to act on; a terminal sends them to all.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
  send({ type: 'up' });
}
