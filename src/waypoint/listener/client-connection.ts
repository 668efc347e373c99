/** A client's connection from its first moment: counted, drained and ended also while nobody knows yet what it speaks. */
import type { Duplex } from 'node:stream';
import type { ChangeImpact } from '../state/change-impact.js';
import type { ActiveConnection, ConnectionContext } from '../worker/context.js';
import type { Client } from './client.js';
import { notServed, type Destination } from './destination.js';

/** What reads a connection once it is known what the client speaks: a codec of HTTP, or the TCP proxy. */
interface ConnectionHandler {
  drain(): void;
  destroy(): void;
  /** Of the TCP proxy: where the bytes go, and their end. */
  readonly relay?: {
    isAffected(impact: ChangeImpact): boolean;
    /** Why it may not go on. */
    forbidden(): string | undefined;
    cut(why: string): void;
  };
}

export class ClientConnection implements ActiveConnection {
  #handler: ConnectionHandler | undefined;
  #draining = false;
  #closed = false;

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
    if (this.#draining) handler.drain();
  }

  /** The connection is over. Called once or more, whatever reads it. */
  readonly closed = (): void => {
    if (this.#closed) return;
    this.#closed = true;
    this.context.connections.delete(this);
    this.context.connectionShares.release(this.client.name, this.client.group);
  };

  drain(): void {
    this.#draining = true;
    this.#handler?.drain();
  }

  destroy(): void {
    if (this.#handler) this.#handler.destroy();
    else this.stream.destroy();
  }

  isAffected(impact: ChangeImpact): boolean {
    return impact.destination(this.destination) || this.#handler?.relay?.isAffected(impact) === true;
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
    // Requests under way end each by itself, those that follow are refused.
    if (this.#handler) this.drain();
    else this.destroy();
  }
}
