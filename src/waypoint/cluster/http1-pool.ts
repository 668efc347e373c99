/** HTTP/1.1 connections to one endpoint for one client. A request that finds none idle waits: the first one that becomes free serves it. */
import type { Duplex } from 'node:stream';
import { Http1ClientConnection } from '../http1/client.js';
import type { UpstreamFailure } from '../http/http-stream.js';
import { ClientPool } from './client-pool.js';
import type { Acquired, Pending } from './pending-queue.js';

interface Idle {
  readonly connection: Http1ClientConnection;
  readonly sinceMs: number;
}

export class Http1Pool extends ClientPool {
  /** The longest idle first. */
  readonly #idle: Idle[] = [];
  /** Connections that are open. */
  #open = 0;

  get size(): number {
    return this.#open + this.opening;
  }

  acquire(fresh: boolean, done: Acquired): Pending | undefined {
    while (!fresh && this.#idle.length > 0) {
      const found = this.#idle.pop();
      if (found?.connection.isOpen === true) {
        found.connection.requests++;
        done(found.connection, undefined);
        return undefined;
      }
    }
    return this.wait(fresh, done);
  }

  protected closeIdleSince(beforeMs: number): void {
    while (this.#idle[0] && this.#idle[0].sinceMs < beforeMs) this.#idle.shift()?.connection.cancel();
  }

  protected onOpen(stream: Duplex): void {
    this.#open++;
    const connection = new Http1ClientConnection(stream, {
      limits: this.options.limits,
      onFree: (free) => this.#onFree(free),
      onClosed: (closed) => this.#onClosed(closed),
    });
    const done = this.pending.take(false);
    if (done) {
      connection.requests++;
      return done(connection, undefined);
    }
    // The request that it was opened for was served by another connection, or has ended.
    connection.keepIdle();
    this.#keep(connection);
  }

  /** Each connection was opened for one request, so one that nothing else can serve fails with it. */
  protected onOpenFailed(failure: UpstreamFailure): void {
    if (this.pending.size > this.opening) this.pending.fail(failure);
    this.openMore();
  }

  closeOneIdle(): boolean {
    const oldest = this.#idle.shift();
    oldest?.connection.cancel();
    return oldest !== undefined;
  }

  protected closeIdle(): void {
    for (const { connection } of this.#idle.splice(0)) connection.cancel();
  }

  /** One connection for each request that waits, up to the limit. */
  protected openMore(): void {
    while (this.pending.size > this.opening && !this.isFull) if (!this.open()) return;
  }

  #onFree(connection: Http1ClientConnection): void {
    const { cluster } = this.options;
    if (connection.requests >= cluster.requestsPerConnectionMax) return connection.cancel();
    if (this.pending.size > 0 && cluster.shouldYield(this)) return connection.cancel();
    const done = this.pending.take(true);
    if (done) {
      connection.requests++;
      return done(connection, undefined);
    }
    // At the limit, requests that need a fresh connection take the place of one that has served requests.
    if (this.pending.size > this.opening) connection.cancel();
    else this.#keep(connection);
  }

  #keep(connection: Http1ClientConnection): void {
    if (this.draining || this.options.cluster.isWanted(this)) connection.cancel();
    else this.#idle.push({ connection, sinceMs: Date.now() });
  }

  #onClosed(closed: Http1ClientConnection): void {
    this.#open--;
    const at = this.#idle.findIndex(({ connection }) => connection === closed);
    if (at >= 0) this.#idle.splice(at, 1);
    this.openMore();
  }
}
