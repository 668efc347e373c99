/**
 * A cluster's connections to its endpoints. A connection is reused for the same client only, because the destination's policies and logs
 * see the client's identity.
 */
import type { Duplex } from 'node:stream';
import { performance } from 'node:perf_hooks';
import { WeftError } from '../../base/errors.js';
import { FairLimit } from '../../base/fair-limit.js';
import { isEndpointFailure } from '../../hbone/endpoint-failure.js';
import { formatSocketAddress } from '../../model/address.js';
import type { WaypointLimits } from '../limits.js';
import type { Client } from '../listener/client.js';
import { connections, pending } from '../shared/shared-counters.js';
import type { ActionObserver, TrafficAction } from '../telemetry/request-record.js';
import type { CircuitBreaker, Reservation } from './breaker/circuit-breaker.js';
import { ConnectionGate } from './breaker/connection-gate.js';
import { pendingRequestsDefault } from './breaker/limits.js';
import { PoolLimits } from './breaker/pool-limits.js';
import { setCausedAction } from './caused-action.js';
import type { HealthContext } from './cluster-health.js';
import type { ClientPool, ClientPoolOptions, PoolLimit } from './client-pool.js';
import {
  noConnectionTimeouts,
  withinConnectTimeout,
  type ConnectionTimeouts,
} from './connection-timeouts.js';
import type { Endpoint } from './endpoint.js';
import { Http1Pool } from './http1-pool.js';
import { Http2Pool } from './http2-pool.js';
import type { HttpVersion } from './http-version.js';
import type { Outcome } from './outcome.js';
import type { Acquired, Pending } from './pending-queue.js';

/**
 * Opens a connection to an endpoint on behalf of a client. Rejects within the connect timeout, or within `connectMs` if that is longer: the
 * caller waits no longer than that.
 */
export type Dial = (endpoint: Endpoint, client: Client, connectMs?: number) => Promise<Duplex>;

/** What the connection pools of a worker share. */
export interface PoolContext {
  readonly dial: Dial;
  readonly limits: WaypointLimits;
  /** All pools that have connections, for the periodic search for idle ones. */
  readonly pools: Set<ClientPool>;
  /** No connection is to stay idle. */
  isDraining: boolean;
  /**
   * A request to this endpoint was refused, or waits for a connection (`cluster-connections`), because of a limit. `cluster`: the name of the
   * endpoint's cluster.
   */
  onOverflow(limit: PoolLimit, cluster: string, endpoint: Endpoint): void;
  /** Nothing is left of a removed endpoint. */
  onForgotten(endpoint: Endpoint): void;
  readonly health: HealthContext;
}

/** The pools of one client at one endpoint, by HTTP version. */
interface ClientPools {
  /** The client's identity. */
  readonly name: Client['name'];
  http1: Http1Pool | undefined;
  http2: Http2Pool | undefined;
}

export class ConnectionPool {
  readonly #byEndpoint = new Map<Endpoint, Map<Client['key'], ClientPools>>();
  /** Clients' shares of the requests of this worker that wait for a connection. */
  readonly #shares = new FairLimit(pendingRequestsDefault);
  readonly #gate: ConnectionGate;

  constructor(
    /** The name of the cluster. */
    private readonly cluster: string,
    private readonly context: PoolContext,
    private readonly breaker: CircuitBreaker,
    private readonly report: (
      endpoint: Endpoint,
      outcome: Outcome,
      latencyMs: number,
    ) => TrafficAction | undefined,
    /** Compares the endpoints with the mesh state. */
    private readonly refresh: () => void,
    private readonly timeouts: () => ConnectionTimeouts = () => noConnectionTimeouts,
  ) {
    this.#gate = new ConnectionGate(breaker, (client) => this.#closeIdle(client));
    this.configure();
  }

  /** The breaker has other limits. */
  configure(): void {
    const { hasFairShares, all } = this.breaker.limits;
    this.#shares.max = hasFairShares
      ? Math.min(pendingRequestsDefault, all[pending].max)
      : pendingRequestsDefault;
  }

  /** Requests that wait for a connection. */
  get waiting(): number {
    return this.#shares.size;
  }

  /** Connections to an endpoint: open, or being opened. */
  connections(endpoint: Endpoint): number {
    let count = 0;
    for (const pool of this.#poolsOf(endpoint)) count += pool.size;
    return count;
  }

  /**
   * Opens a connection that only the caller uses. The result counts once for the endpoint's health, however many requests wait for the
   * connection. Errors: those of the worker's `Dial`; WEFT_UPSTREAM_CONNECT if the endpoint was removed, for requests that have waited or are
   * repeated: its address may belong to somebody else by now.
   */
  async dial(endpoint: Endpoint, client: Client): Promise<Duplex> {
    this.#checkUse(endpoint);
    const beganMs = performance.now();
    try {
      const { connectMs } = this.timeouts();
      const dialed = this.context.dial(endpoint, client, connectMs);
      const stream = await withinConnectTimeout(endpoint, dialed, connectMs);
      this.report(endpoint, 'connected', performance.now() - beganMs);
      // Without a certificate nothing says whose connection it is.
      if (!endpoint.via && endpoint.workload.tunnel === 'none') this.#checkUse(endpoint, stream);
      return stream;
    } catch (error) {
      if (isEndpointFailure(error))
        setCausedAction(error, this.report(endpoint, 'connect-failed', performance.now() - beganMs));
      throw error;
    }
  }

  /** Throws if an update has removed the endpoint. */
  #checkUse(endpoint: Endpoint, stream?: Duplex): void {
    this.refresh();
    if (!endpoint.isDraining) return;
    stream?.destroy();
    throw new WeftError(
      'WEFT_UPSTREAM_CONNECT',
      `the endpoint ${formatSocketAddress(endpoint.target)} was removed`,
      { retryable: true },
    );
  }

  /** Gets a connection for one request (ClientPool.acquire). */
  acquire(
    endpoint: Endpoint,
    client: Client,
    version: HttpVersion,
    fresh: boolean,
    done: Acquired,
  ): Pending | undefined {
    let clients = this.#byEndpoint.get(endpoint);
    if (!clients) this.#byEndpoint.set(endpoint, (clients = new Map()));
    let pools = clients.get(client.key);
    if (!pools) clients.set(client.key, (pools = { name: client.name, http1: undefined, http2: undefined }));
    let pool = version === 'http2' ? pools.http2 : pools.http1;
    if (!pool) {
      const options = this.#optionsOf(endpoint, client, version);
      if (version === 'http2') pool = pools.http2 = new Http2Pool(options);
      else pool = pools.http1 = new Http1Pool(options);
      if (endpoint.isDraining || this.context.isDraining) pool.drain();
      this.context.pools.add(pool);
    }
    return pool.acquire(fresh, done);
  }

  /** Closes the connections to an endpoint after their requests. */
  drain(endpoint: Endpoint): void {
    for (const pool of this.#poolsOf(endpoint)) pool.drain();
  }

  /** The endpoint is used again. */
  undrain(endpoint: Endpoint): void {
    for (const pool of this.#poolsOf(endpoint)) pool.undrain();
  }

  /** Nothing is left of the endpoint here: no connection, and no request that waits for one. */
  isEmpty(endpoint: Endpoint): boolean {
    return !this.#byEndpoint.has(endpoint);
  }

  *#poolsOf(endpoint: Endpoint): Iterable<ClientPool> {
    for (const { http1, http2 } of this.#byEndpoint.get(endpoint)?.values() ?? []) {
      if (http1) yield http1;
      if (http2) yield http2;
    }
  }

  #optionsOf(endpoint: Endpoint, client: Client, version: HttpVersion): ClientPoolOptions {
    const onOverflow = (limit: PoolLimit): void => {
      this.report(endpoint, 'overflow', 0);
      this.context.onOverflow(limit, this.cluster, endpoint);
    };
    return {
      limits: this.context.limits,
      cluster: new PoolLimits({ breaker: this.breaker, gate: this.#gate, shares: this.#shares }, client, {
        onBlocked: () => onOverflow('cluster-connections'),
        act: (action) => this.#acted(action, endpoint),
      }),
      dial: () => this.dial(endpoint, client),
      idleMsMax: () => this.timeouts().idleMs ?? this.context.limits.idleUpstreamMsMax,
      forget: () => this.#forget(endpoint, client, version),
      onOverflow,
    };
  }

  #acted(action: TrafficAction, { workload }: Endpoint): void {
    this.context.health.events.onAction(action, workload.namespace);
  }

  /** Closes an idle connection of a client, or of any. */
  #closeIdle(client: Client['name'] | undefined): void {
    for (const clients of this.#byEndpoint.values())
      for (const { http1, http2, name } of clients.values())
        if (
          (client === undefined || client === name) &&
          (http1?.closeOneIdle() === true || http2?.closeOneIdle() === true)
        )
          return;
  }

  /**
   * Counts a connection that the caller opens for itself and does not wait for. Undefined: a limit is reached. The caller releases it once.
   * @param observer called for each limit in dry run that is reached
   */
  takeConnection(client: Client, observer: ActionObserver): Reservation | undefined {
    return this.breaker.take(connections, client, observer);
  }

  releaseConnection(held: Reservation): void {
    this.#gate.release(held);
  }

  /** Closes idle connections for which pools of other workers wait. Call it periodically. */
  sweep(): void {
    if (Number.isFinite(this.breaker.limits.all[connections].max) && this.#gate.isWanted())
      this.#closeIdle(undefined);
    for (const client of this.breaker.clientsWanted()) this.#closeIdle(client);
  }

  /** Nothing is left of the cluster. */
  close(): void {
    this.#gate.close();
  }

  #forget(endpoint: Endpoint, { key }: Client, version: HttpVersion): void {
    const clients = this.#byEndpoint.get(endpoint);
    const pools = clients?.get(key);
    if (!clients || !pools) return;
    pools[version] = undefined;
    if (pools.http1 || pools.http2) return;
    clients.delete(key);
    if (clients.size === 0) this.#byEndpoint.delete(endpoint);
  }
}
