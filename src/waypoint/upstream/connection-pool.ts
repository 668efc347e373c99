/**
 * Connections to endpoints, kept for the next request of the same client: the destination's policy and logs see whose they are,
 * so that none is shared between clients.
 */
import type { Duplex } from 'node:stream';
import { performance } from 'node:perf_hooks';
import { errorText, WeftError } from '../../base/errors.js';
import { isEndpointFailure } from '../../hbone/endpoint-failure.js';
import { Http1ClientConnection } from '../http1/client.js';
import { Http2ClientConnection } from '../http2/client.js';
import type { WaypointLimits } from '../limits.js';
import type { Upstream, UpstreamFailure } from '../http/http-stream.js';
import type { Client } from '../listener/client.js';
import type { Endpoint } from './endpoint.js';
import type { HttpVersion } from './http-version.js';
import { observeConnect } from './endpoint-health.js';

/** Opens a connection to an endpoint in a client's name. Rejects within the connect timeout. */
export type Dial = (endpoint: Endpoint, client: Client) => Promise<Duplex>;

interface Idle {
  readonly connection: Http1ClientConnection;
  readonly sinceMs: number;
}

interface Entry {
  readonly idle: Idle[];
  readonly http2: Http2ClientConnection[];
  opening2: Promise<Http2ClientConnection> | undefined;
  /** HTTP/1 connections, idle or not, and those that are being opened. */
  count: number;
}

const sweepMs = 1_000;
/** HTTP/2 connections to one endpoint for one client up to which a request that failed on one of them is given a new one. */
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
   * A connection to an endpoint that is the caller's alone. What comes of it is observed of the endpoint once, however many requests wait
   * for the connection. Errors: those of the pool's `Dial`.
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

  /** `done` is called once, at once where a connection is there, never at once where it fails. `fresh`: none that was used before. */
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
      // Not at once: the caller may ask again from within, for each of many endpoints.
      setImmediate(done, undefined, {
        kind: 'overflow',
        why: 'as many connections to this endpoint as there may be',
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
    // An endpoint that refuses all streams is not to be met with a connection for each.
    const mayOpen = fresh && entry.http2.length < freshConnectionsMax;
    const found = mayOpen ? undefined : entry.http2.find((connection) => connection.isOpen);
    if (found) return done(found.request(), undefined);
    if (!entry.opening2) {
      const opening = this.dial(endpoint, client).then((stream) => {
        const connection = new Http2ClientConnection(stream, this.limits, (closed) => {
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
        // Others were quicker than its streams go round.
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

  /** Idle connections end, those in use when their request does. */
  drain(): void {
    this.#draining = true;
    clearInterval(this.#timer);
    for (const entry of this.#entries.values()) {
      for (const { connection } of entry.idle.splice(0)) connection.cancel();
      for (const connection of entry.http2) connection.close();
    }
  }
}

/** A failure that is not the endpoint's has its own code in the request's record. */
function connectFailure(error: unknown): UpstreamFailure {
  const why = errorText(error);
  return error instanceof WeftError && !isEndpointFailure(error)
    ? { kind: 'connect', why, code: error.code }
    : { kind: 'connect', why };
}
