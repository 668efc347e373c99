/** A client's connection from its start: it is counted, drained and destroyed even before its protocol is known. */
import type { Duplex } from 'node:stream';
import type { ActiveConnection, ConnectionContext } from '../worker/context.js';
import type { Client } from './client.js';
import { notServed, type Destination } from './destination.js';

/** Handles a connection once its protocol is known: an HTTP codec, or the TCP proxy. */
interface ConnectionHandler {
  drain(): void;
  destroy(): void;
  /** Of the TCP proxy: authorizes the relayed connection again, and ends it. */
  readonly relay?: {
    /** Why the connection is no longer allowed; undefined if it is. */
    forbidden(): string | undefined;
    cut(why: string): void;
  };
}

export class ClientConnection implements ActiveConnection {
  #handler: ConnectionHandler | undefined;
  #draining = false;
  #closed = false;
  /** Ends the connection if its client stays silent while the waypoint drains. */
  #silent: NodeJS.Timeout | undefined;
  /** Its index in the context's connections (IntrusiveSet). */
  slot = -1;

  constructor(
    readonly context: ConnectionContext,
    readonly stream: Duplex,
    readonly client: Client,
    readonly destination: Destination,
  ) {
    context.connections.add(this);
  }

  handOver(handler: ConnectionHandler): void {
    this.#handler = handler;
    clearTimeout(this.#silent);
    if (this.#draining) handler.drain();
  }

  /** Call it when the connection has ended. Further calls do nothing. */
  readonly closed = (): void => {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#silent);
    this.context.connections.delete(this);
    this.context.connectionShares.release(this.client.name, this.client.group);
  };

  /** A client that has not sent anything yet gets as long as between two requests. */
  drain(): void {
    this.#draining = true;
    if (this.#handler) this.#handler.drain();
    else this.#silent ??= setTimeout(() => this.destroy(), this.context.limits.drainIdleMs);
  }

  destroy(): void {
    if (this.#handler) this.#handler.destroy();
    else this.stream.destroy();
  }

  recheck(): void {
    const lost = notServed(this.context.state, this.destination);
    const relay = this.#handler?.relay;
    if (relay) {
      const why = lost ?? relay.forbidden();
      if (why !== undefined) relay.cut(why);
      return;
    }
    if (lost === undefined) return;
    // Requests under way are rechecked one by one; later requests are refused.
    if (this.#handler) this.drain();
    else this.destroy();
  }
}
