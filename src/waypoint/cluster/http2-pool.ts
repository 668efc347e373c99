/**
 * HTTP/2 connections to one endpoint for one client. A request takes a stream of the connection with the fewest. Further connections are
 * opened if all are full, and already before that: each goes through a tunnel, whose connection one thread of the peer serves.
 */
import type { Duplex } from 'node:stream';
import { performance } from 'node:perf_hooks';
import { Http2ClientConnection } from '../http2/client.js';
import { transportOf } from '../http2/transport.js';
import type { UpstreamFailure } from '../http/http-stream.js';
import { ClientPool } from './client-pool.js';
import type { Acquired, Pending } from './pending-queue.js';

/** Connections that are opened although another one accepts streams. Further ones are opened only if all are full. */
const spreadConnectionsMax = 4;
/** Streams of each connection from which another one is opened. */
const spreadStreams = 32;
const spreadRetryMs = 1_000;

export class Http2Pool extends ClientPool {
  readonly #connections: Http2ClientConnection[] = [];
  #spreadAfterMs = 0;

  get size(): number {
    return this.#connections.length + this.opening;
  }

  acquire(fresh: boolean, done: Acquired): Pending | undefined {
    // Bounded: an endpoint that refuses all streams must not get a connection for each request.
    const needsFresh = fresh && this.size < spreadConnectionsMax;
    const found = needsFresh ? undefined : this.#leastBusy();
    if (found) {
      if (found.streams >= spreadStreams) this.#spread();
      done(found.request(), undefined);
      return undefined;
    }
    return this.wait(needsFresh, done);
  }

  protected closeIdleSince(beforeMs: number): void {
    for (const connection of [...this.#connections])
      if (connection.streams === 0 && connection.idleSinceMs < beforeMs) connection.close();
  }

  protected onOpen(stream: Duplex): void {
    const connection = new Http2ClientConnection(transportOf(stream), this.options.limits, {
      onFree: () => this.#onFree(connection),
      onClosed: () => this.#onClosed(connection),
    });
    this.#connections.push(connection);
    this.#serve(connection, false);
    if (this.draining) connection.close();
    this.openMore();
  }

  /** All requests that wait share the connection, and its failure. */
  protected onOpenFailed(failure: UpstreamFailure): void {
    this.#spreadAfterMs = performance.now() + spreadRetryMs;
    // Only those that wait now: a request that fails may be queued again at once.
    for (let left = this.pending.size; left > 0; left--) this.pending.fail(failure);
  }

  closeOneIdle(): boolean {
    const idle = this.#connections.find(({ streams, isOpen }) => streams === 0 && isOpen);
    idle?.close();
    return idle !== undefined;
  }

  protected closeIdle(): void {
    for (const connection of [...this.#connections]) connection.close();
  }

  protected openMore(): void {
    if (this.pending.size === 0 || this.opening > 0 || this.isFull) return;
    // It is unknown yet how many streams a new connection accepts.
    if (this.#connections.every(({ isSettled }) => isSettled)) this.open();
  }

  #leastBusy(): Http2ClientConnection | undefined {
    let found: Http2ClientConnection | undefined;
    for (const connection of this.#connections) {
      if (this.#accepts(connection) && (!found || connection.streams < found.streams)) found = connection;
    }
    return found;
  }

  #accepts(connection: Http2ClientConnection): boolean {
    return connection.isOpen && connection.requests < this.options.cluster.requestsPerConnectionMax;
  }

  #spread(): void {
    if (this.opening > 0 || this.size >= spreadConnectionsMax || this.draining || this.isFull) return;
    if (performance.now() >= this.#spreadAfterMs) this.open(false);
  }

  #onFree(connection: Http2ClientConnection): void {
    const { cluster } = this.options;
    if (connection.streams === 0) {
      const isUsedUp = connection.requests >= cluster.requestsPerConnectionMax;
      if (isUsedUp || (this.pending.size === 0 && connection.requests > 0 && cluster.isWanted(this)))
        connection.close();
    }
    if (this.pending.size === 0) return;
    if (connection.isOpen && cluster.shouldYield(this)) connection.close();
    this.#serve(connection, connection.hasResponded);
    this.openMore();
  }

  #serve(connection: Http2ClientConnection, used: boolean): void {
    while (this.pending.size > 0 && this.#accepts(connection)) {
      const done = this.pending.take(used);
      if (!done) return;
      done(connection.request(), undefined);
    }
  }

  #onClosed(connection: Http2ClientConnection): void {
    const at = this.#connections.indexOf(connection);
    if (at >= 0) this.#connections.splice(at, 1);
    this.openMore();
  }
}
