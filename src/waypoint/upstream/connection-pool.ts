/**
 * Pooled connections to endpoints. A connection is reused for the same client only, because the destination's policies and logs see the
 * client's identity.
 */
import type { Duplex } from 'node:stream';
import { performance } from 'node:perf_hooks';
import { errorText, WeftError } from '../../base/errors.js';
import { isEndpointFailure } from '../../hbone/endpoint-failure.js';
import { Http1ClientConnection } from '../http1/client.js';
import { Http2ClientConnection } from '../http2/client.js';
import { transportOf } from '../http2/transport.js';
import type { WaypointLimits } from '../limits.js';
import type { Upstream, UpstreamFailure } from '../http/http-stream.js';
import type { Client } from '../listener/client.js';
import type { Endpoint } from './endpoint.js';
import type { HttpVersion } from './http-version.js';
import { observeConnect } from './endpoint-health.js';

/** Opens a connection to an endpoint on behalf of a client. Rejects within the connect timeout. */
export type Dial = (endpoint: Endpoint, client: Client) => Promise<Duplex>;

interface Idle {
  readonly connection: Http1ClientConnection;
  readonly sinceMs: number;
}

interface Entry {
  readonly idle: Idle[];
  readonly http2: Http2ClientConnection[];
  opening2: Promise<Http2ClientConnection> | undefined;
  /** HTTP/1 connections: idle, in use, or being opened. */
  count: number;
}

const sweepMs = 1_000;
/** HTTP/2 connections to one endpoint for one client. Below this, a request that failed on one of them gets a new connection. */
const freshConnectionsMax = 4;

export class UpstreamPool {
  readonly #entries = new Map<string, Entry>();
  readonly #timer: NodeJS.Timeout;
  #draining = false;

  constructor(
    private readonly connect: Dial,
    private readonly limits: WaypointLimits,
    private readonly onLimit: (limit: 'upstream-connections') => void,
  ) {
    this.#timer = setInterval(() => this.#sweep(), sweepMs);
    this.#timer.unref();
  }

  get size(): number {
    let count = 0;
    for (const entry of this.#entries.values()) count += entry.count + entry.http2.length;
    return count;
  }

  /**
   * Opens a connection that only the caller uses. The result counts once for the endpoint's health, however many requests wait for the
   * connection. Errors: those of the pool's `Dial`.
   */
  async dial(endpoint: Endpoint, client: Client): Promise<Duplex> {
    const beganMs = performance.now();
    try {
      const stream = await this.connect(endpoint, client);
      observeConnect(endpoint.health, true, beganMs, performance.now());
      return stream;
    } catch (error) {
      if (isEndpointFailure(error)) observeConnect(endpoint.health, false, beganMs, performance.now());
      throw error;
    }
  }

  /**
   * Gets a connection for one request. `done` is called once: synchronously with an open connection, never synchronously with a failure.
   * @param fresh do not use a connection that served a request before
   */
  acquire(
    endpoint: Endpoint,
    client: Client,
    version: HttpVersion,
    fresh: boolean,
    done: (upstream: Upstream | undefined, failure: UpstreamFailure | undefined) => void,
  ): void {
    const key = `${client.key} ${endpoint.key}`;
    let entry = this.#entries.get(key);
    if (!entry) this.#entries.set(key, (entry = { idle: [], http2: [], opening2: undefined, count: 0 }));
    if (version === 'http2') this.#acquire2(entry, endpoint, client, fresh, done);
    else this.#acquire1(entry, endpoint, client, fresh, done);
  }

  #acquire1(
    entry: Entry,
    endpoint: Endpoint,
    client: Client,
    fresh: boolean,
    done: (upstream: Upstream | undefined, failure: UpstreamFailure | undefined) => void,
  ): void {
    while (!fresh && entry.idle.length > 0) {
      const found = entry.idle.pop();
      if (found?.connection.isOpen === true) return done(found.connection, undefined);
    }
    if (entry.count >= this.limits.connectionsPerEndpointMax) {
      this.onLimit('upstream-connections');
      // Not synchronously: the caller may call `acquire` again from within `done`, for each of many endpoints.
      setImmediate(done, undefined, {
        kind: 'overflow',
        why: `limit of connections to this endpoint reached (${this.limits.connectionsPerEndpointMax})`,
      });
      return;
    }
    entry.count++;
    this.dial(endpoint, client).then(
      (stream) => {
        const connection = new Http1ClientConnection(stream, {
          limits: this.limits,
          onFree: (free) => {
            if (this.#draining) free.cancel();
            else entry.idle.push({ connection: free, sinceMs: Date.now() });
          },
          onClosed: (closed) => {
            entry.count--;
            const at = entry.idle.findIndex((one) => one.connection === closed);
            if (at >= 0) entry.idle.splice(at, 1);
          },
        });
        done(connection, undefined);
      },
      (error: unknown) => {
        entry.count--;
        done(undefined, connectFailure(error));
      },
    );
  }

  #acquire2(
    entry: Entry,
    endpoint: Endpoint,
    client: Client,
    fresh: boolean,
    done: (upstream: Upstream | undefined, failure: UpstreamFailure | undefined) => void,
  ): void {
    // Bounded: an endpoint that refuses all streams must not get a connection for each request.
    const mayOpen = fresh && entry.http2.length < freshConnectionsMax;
    const found = mayOpen ? undefined : entry.http2.find((connection) => connection.isOpen);
    if (found) return done(found.request(), undefined);
    if (!entry.opening2) {
      const opening = this.dial(endpoint, client).then((stream) => {
        const connection = new Http2ClientConnection(transportOf(stream), this.limits, (closed) => {
          const at = entry.http2.indexOf(closed);
          if (at >= 0) entry.http2.splice(at, 1);
        });
        entry.http2.push(connection);
        return connection;
      });
      entry.opening2 = opening;
      const clear = (): void => {
        entry.opening2 = undefined;
      };
      opening.then(clear, clear);
    }
    entry.opening2.then(
      (connection) => {
        if (connection.isOpen) done(connection.request(), undefined);
        // Other requests have taken all streams of the connection.
        else this.#acquire2(entry, endpoint, client, fresh, done);
      },
      (error: unknown) => done(undefined, connectFailure(error)),
    );
  }

  #sweep(): void {
    const before = Date.now() - this.limits.idleUpstreamMsMax;
    for (const [key, entry] of this.#entries) {
      while (entry.idle[0] && entry.idle[0].sinceMs < before) entry.idle.shift()?.connection.cancel();
      for (const connection of [...entry.http2]) {
        if (connection.streams === 0 && connection.idleSinceMs < before) connection.close();
      }
      if (entry.count === 0 && entry.http2.length === 0 && !entry.opening2) this.#entries.delete(key);
    }
  }

  /** Closes idle connections; those in use are closed after their request. */
  drain(): void {
    this.#draining = true;
    clearInterval(this.#timer);
    for (const entry of this.#entries.values()) {
      for (const { connection } of entry.idle.splice(0)) connection.cancel();
      for (const connection of entry.http2) connection.close();
    }
  }
}

/** A failure that the endpoint did not cause keeps its own code in the request's record. */
function connectFailure(error: unknown): UpstreamFailure {
  const why = errorText(error);
  return error instanceof WeftError && !isEndpointFailure(error)
    ? { kind: 'connect', why, code: error.code }
    : { kind: 'connect', why };
}
