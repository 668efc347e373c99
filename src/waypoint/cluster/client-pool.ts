/** The common part of the HTTP/1 and HTTP/2 pools. A pool holds the connections to one endpoint for one client. */
import type { Duplex } from 'node:stream';
import { errorText, WeftError } from '../../base/errors.js';
import { isEndpointFailure } from '../../hbone/endpoint-failure.js';
import type { UpstreamFailure } from '../http/http-stream.js';
import type { WaypointLimits } from '../limits.js';
import { causedAction } from './caused-action.js';
import { PendingQueue, type Acquired, type Pending } from './pending-queue.js';

export type PoolLimit = 'pending-requests' | 'upstream-connections';

export interface ClientPoolOptions {
  readonly limits: WaypointLimits;
  /** Opens a connection. Rejects within the connect timeout. */
  dial(): Promise<Duplex>;
  /** Takes one of the client's share of the limit of pending requests. False: the share is used up. */
  takeShare(): boolean;
  releaseShare(): void;
  /** Nothing is left of the pool: drop it. */
  forget(): void;
  /** A request was refused because of a limit. */
  onOverflow(limit: PoolLimit): void;
}

export abstract class ClientPool {
  protected readonly pending: PendingQueue;
  /** Connections that are being opened. */
  protected opening = 0;
  protected draining = false;

  constructor(protected readonly options: ClientPoolOptions) {
    this.pending = new PendingQueue({
      waitMsMax: options.limits.connectTimeoutMsMax,
      onLeave: () => options.releaseShare(),
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

  /** Closes connections that have been idle since before this time (Date.now). False: nothing is left of the pool. */
  sweep(beforeMs: number): boolean {
    this.closeIdleSince(beforeMs);
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
    if (!this.options.takeShare()) {
      this.#overflow(done, 'pending-requests', pendingFull);
      return undefined;
    }
    const pending = this.pending.add(done, fresh);
    this.openMore();
    return pending;
  }

  protected get isFull(): boolean {
    return this.size >= this.options.limits.connectionsPerEndpointMax;
  }

  #overflow(done: Acquired, limit: PoolLimit, why: string): void {
    this.options.onOverflow(limit);
    // Not synchronously: the caller may acquire again from within `done`, for each of many endpoints.
    setImmediate(done, undefined, { kind: 'overflow', why });
  }

  get #connectionsFull(): string {
    return `limit of connections to this endpoint reached (${this.options.limits.connectionsPerEndpointMax})`;
  }

  protected open(): void {
    this.opening++;
    this.options.dial().then(
      (stream) => {
        this.opening--;
        this.onOpen(stream);
      },
      (error: unknown) => {
        this.opening--;
        this.onOpenFailed(connectFailure(error));
      },
    );
  }

  /** Requests for which a connection is being opened stay: their connection, or its failure, comes. */
  #expire(): void {
    while (this.pending.isOverdue && this.pending.size > this.opening) {
      this.options.onOverflow('upstream-connections');
      this.pending.fail({ kind: 'overflow', why: this.#connectionsFull });
    }
  }
}

const pendingFull = 'limit of requests that wait for a connection reached';

/** A failure that the endpoint did not cause, or of its TLS, keeps its own code in the request's record. */
function connectFailure(error: unknown): UpstreamFailure {
  const why = errorText(error);
  if (error instanceof WeftError && (!isEndpointFailure(error) || error.code === 'WEFT_UPSTREAM_TLS'))
    return { kind: 'connect', why, code: error.code };
  const action = causedAction(error);
  return { kind: 'connect', why, ...(action ? { action } : {}) };
}
