/** The common part of the HTTP/1 and HTTP/2 pools. A pool holds the connections to one endpoint for one client. */
import type { Duplex } from 'node:stream';
import { errorText, WeftError } from '../../base/errors.js';
import { isEndpointFailure } from '../../hbone/endpoint-failure.js';
import type { UpstreamFailure } from '../http/http-stream.js';
import type { WaypointLimits } from '../limits.js';
import type { Reservation } from './breaker/circuit-breaker.js';
import type { BlockedPool } from './breaker/connection-gate.js';
import type { PoolLimits } from './breaker/pool-limits.js';
import { causedAction } from './caused-action.js';
import { PendingQueue, type Acquired, type Pending } from './pending-queue.js';

export type PoolLimit =
  'pending-requests' | 'upstream-connections' | 'cluster-connections' | 'cluster-requests';

export interface ClientPoolOptions {
  readonly cluster: PoolLimits;
  readonly limits: WaypointLimits;
  /** Opens a connection. Rejects within the connect timeout. */
  dial(): Promise<Duplex>;
  /** Time of a connection without a request. */
  idleMsMax(): number;
  /** Nothing is left of the pool: drop it. */
  forget(): void;
  /** A request was refused because of a limit. */
  onOverflow(limit: PoolLimit): void;
}

export abstract class ClientPool implements BlockedPool {
  protected readonly pending: PendingQueue<Reservation>;
  /** Connections that are being opened. */
  protected opening = 0;
  protected draining = false;

  constructor(protected readonly options: ClientPoolOptions) {
    this.pending = new PendingQueue({
      waitMsMax: () => options.cluster.pendingTimeoutMs ?? options.limits.connectTimeoutMsMax,
      onLeave: (held) => {
        options.cluster.releasePending(held);
        if (this.pending.size === 0) options.cluster.leave(this);
      },
      onExpired: () => this.#expire(),
    });
  }

  /**
   * Gets a connection for one request. `done` is called once: synchronously with an open connection (undefined is returned then), never
   * synchronously with a failure.
   * @param fresh do not use a connection that served a request before
   */
  abstract acquire(fresh: boolean, done: Acquired): Pending | undefined;
  /** Connections: open, or being opened. */
  abstract get size(): number;
  protected abstract closeIdleSince(beforeMs: number): void;
  /** Uses a new connection for the requests that wait. */
  protected abstract onOpen(stream: Duplex): void;
  /** No connection could be opened. Fails the requests that waited for it. */
  protected abstract onOpenFailed(failure: UpstreamFailure): void;
  /** Opens connections for the requests that wait, as far as they may be opened. */
  protected abstract openMore(): void;
  /** Closes idle connections, and those in use after their requests. */
  protected abstract closeIdle(): void;
  /** Closes one idle connection. False: there is none. */
  abstract closeOneIdle(): boolean;

  /** Closes connections that have been idle for too long. `nowMs`: by Date.now. False: nothing is left of the pool. */
  sweep(nowMs: number): boolean {
    this.closeIdleSince(nowMs - this.options.idleMsMax());
    if (this.size > 0 || this.pending.size > 0) return true;
    this.options.forget();
    return false;
  }

  /** Closes idle connections. Those in use are closed after their requests. Requests that wait still get a connection. */
  drain(): void {
    this.draining = true;
    this.closeIdle();
  }

  /** The endpoint is used again. */
  undrain(): void {
    this.draining = false;
  }

  /** Queues a request, and opens a connection if one may be opened. Undefined: a limit is reached, and `done` is called with the failure. */
  protected wait(fresh: boolean, done: Acquired): Pending | undefined {
    // Without a connection there is nothing to wait for.
    if (this.isFull && this.size === 0) {
      this.#overflow(done, 'upstream-connections', this.#connectionsFull);
      return undefined;
    }
    const { cluster } = this.options;
    const held = cluster.takePending();
    if ('kind' in held) {
      this.#overflow(done, 'pending-requests', held);
      return undefined;
    }
    const pending = this.pending.add(done, fresh, held);
    this.openMore();
    return pending;
  }

  protected get isFull(): boolean {
    return this.size >= this.options.limits.connectionsPerEndpointMax;
  }

  #overflow(done: Acquired, limit: PoolLimit, failure: UpstreamFailure): void {
    this.options.onOverflow(limit);
    // Not synchronously: the caller may acquire again from within `done`, for each of many endpoints.
    setImmediate(done, undefined, failure);
  }

  get #connectionsFull(): UpstreamFailure {
    const { connectionsPerEndpointMax } = this.options.limits;
    return {
      kind: 'overflow',
      why: `limit of connections to this endpoint reached (${connectionsPerEndpointMax})`,
      isOfEndpoint: true,
    };
  }

  /** Opens a connection. False: the cluster's limits do not allow it now. `isNeeded`: requests wait for it. */
  protected open(isNeeded = true): boolean {
    const { cluster } = this.options;
    const held = cluster.takeConnection(isNeeded ? this : undefined);
    if (!held) return false;
    this.opening++;
    this.options.dial().then(
      (stream) => {
        this.opening--;
        const release = (): void => cluster.releaseConnection(held);
        if (stream.closed) release();
        else stream.once('close', release);
        this.onOpen(stream);
      },
      (error: unknown) => {
        this.opening--;
        cluster.releaseConnection(held);
        this.onOpenFailed(connectFailure(error));
      },
    );
    return true;
  }

  openBlocked(): void {
    if (this.pending.size > 0) this.openMore();
  }

  /**
   * Requests for which a connection is being opened stay: their connection, or its failure, comes. If a policy says how long they may wait, they
   * do not stay.
   */
  #expire(): void {
    const { cluster } = this.options;
    const isStrict = cluster.pendingTimeoutMs !== undefined;
    while (this.pending.isOverdue && (isStrict || this.pending.size > this.opening)) {
      this.options.onOverflow('upstream-connections');
      this.pending.fail(this.isFull ? this.#connectionsFull : cluster.connectionFailure(this));
    }
  }
}

/** A failure that the endpoint did not cause, or of its TLS, keeps its own code in the request's record. */
function connectFailure(error: unknown): UpstreamFailure {
  const why = errorText(error);
  if (error instanceof WeftError && (!isEndpointFailure(error) || error.code === 'WEFT_UPSTREAM_TLS'))
    return { kind: 'connect', why, code: error.code };
  const action = causedAction(error);
  return { kind: 'connect', why, ...(action ? { action } : {}) };
}
