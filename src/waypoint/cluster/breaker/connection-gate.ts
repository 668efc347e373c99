/**
 * Opens connections of a cluster as far as its limit of connections allows, and wakes the pools that wait for one. A pool belongs to one client
 * at one endpoint, so a connection that becomes free in one pool does not serve another: it is closed if another pool waits, in this worker or in
 * another one.
 */
import { performance } from 'node:perf_hooks';
import type { Client } from '../../listener/client.js';
import { blocked, connections } from '../../shared/shared-counters.js';
import type { ActionObserver } from '../../telemetry/request-record.js';
import type { CircuitBreaker, Reservation } from './circuit-breaker.js';
import type { Limit } from './limits.js';

/** A pool that waits until it may open a connection. */
export interface BlockedPool {
  /** Tries again, and waits again if it still may not. */
  openBlocked(): void;
}

interface Waiting {
  /** The limit that is reached. */
  readonly limit: Limit | undefined;
  /** The client whose own limit it is; undefined: it is the limit of all. */
  readonly client: Client['name'] | undefined;
}

/** How often blocked pools try: other workers do not say that they have closed a connection. */
const retryMs = 20;
/** Time between two connections that are closed after a request although a request of their own pool waits. */
const yieldMsMin = 20;

export class ConnectionGate {
  /** Pools that wait, whoever has waited longest first, with the limit that each has reached. */
  readonly #blocked = new Map<BlockedPool, Waiting>();
  /** Clients of whom the other workers know that requests wait here because of the client's own limit. */
  readonly #clients = new Map<Client['name'], { pools: number; readonly held: Reservation }>();
  #timer: NodeJS.Timeout | undefined;
  #isWaking = false;
  #yieldedMs = 0;
  /** The pool that tries again now. */
  #retrying: BlockedPool | undefined;

  constructor(
    private readonly breaker: CircuitBreaker,
    /** Closes an idle connection of the cluster; of this client only, if it is given. */
    private readonly closeIdle: (client: Client['name'] | undefined) => void,
  ) {}

  /** Counts a connection. Undefined: the limit is reached, and the pool, if any, is woken later. The caller releases it once. */
  take(
    client: Client,
    pool: BlockedPool | undefined,
    events: ActionObserver & { onBlocked(): void },
  ): Reservation | undefined {
    const held = this.breaker.take(connections, client, events);
    if (held || !pool) return held;
    const { refused, limits } = this.breaker;
    // A pool that tries again is not counted again, and has had an idle connection closed for it.
    const isNew = !this.#blocked.has(pool) && this.#retrying !== pool;
    const waiting = { limit: refused, client: refused === limits.all[connections] ? undefined : client.name };
    this.#add(pool, waiting);
    if (isNew) {
      events.onBlocked();
      this.closeIdle(waiting.client);
    }
    this.#arm();
    return undefined;
  }

  release(held: Reservation): void {
    this.breaker.release(connections, held);
    if (this.#blocked.size > 0) this.#wakeSoon();
  }

  /** The limit because of which a pool waits; undefined if it does not. */
  reachedBy(pool: BlockedPool): Limit | undefined {
    return this.#blocked.get(pool)?.limit;
  }

  /** The pool no longer waits. */
  leave(pool: BlockedPool): void {
    if (this.#delete(pool)) this.#mark();
  }

  /** Another pool than this one waits, here or in another worker: a connection that becomes idle is to be closed. */
  isWanted(pool?: BlockedPool, client?: Client['name']): boolean {
    const { all, limits } = this.breaker;
    const own = pool && this.#blocked.has(pool) ? 1 : 0;
    if (this.#blocked.size > own) return true;
    if (client !== undefined && this.breaker.isWantedBy(client)) return true;
    if (!Number.isFinite(limits.all[connections].max)) return false;
    all.share(blocked);
    return all.total(blocked) > all.own(blocked);
  }

  /**
   * A connection of the pool is free, and a request of the pool waits for it. True: the pool closes it, because otherwise pools without a
   * connection would wait as long as this pool has requests.
   */
  shouldYield(pool: BlockedPool, client: Client['name']): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#yieldedMs < yieldMsMin || !this.isWanted(pool, client)) return false;
    this.#yieldedMs = nowMs;
    return true;
  }

  /** Ends the timer. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const pool of [...this.#blocked.keys()]) this.#delete(pool);
    this.#mark();
  }

  #arm(): void {
    this.#mark();
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#wake();
    }, retryMs);
  }

  #wakeSoon(): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    setImmediate(() => {
      this.#isWaking = false;
      this.#wake();
    });
  }

  /** Each pool tries once, whoever has waited longest first. Those that are blocked again come last. */
  #wake(): void {
    for (const pool of [...this.#blocked.keys()]) {
      if (!this.#delete(pool)) continue;
      this.#retrying = pool;
      pool.openBlocked();
      this.#retrying = undefined;
    }
    this.#mark();
    if (this.#blocked.size > 0) this.#arm();
  }

  /** Tells the other workers whether a pool waits here. */
  #mark(): void {
    const { all, limits } = this.breaker;
    if (Number.isFinite(limits.all[connections].max)) all.share(blocked);
    const isMarked = all.own(blocked) > 0;
    if (isMarked === this.#blocked.size > 0) return;
    if (isMarked) all.release(blocked);
    else all.add(blocked);
  }

  #add(pool: BlockedPool, waiting: Waiting): void {
    const { client } = waiting;
    const before = this.#blocked.get(pool);
    if (before && before.client !== client) this.#delete(pool);
    // A pool that waits already keeps its place in the order.
    this.#blocked.set(pool, waiting);
    if (client === undefined || before?.client === client) return;
    const known = this.#clients.get(client);
    if (known) known.pools++;
    else this.#clients.set(client, { pools: 1, held: this.breaker.markBlocked(client) });
  }

  /** False: the pool does not wait. */
  #delete(pool: BlockedPool): boolean {
    const waiting = this.#blocked.get(pool);
    if (!waiting) return false;
    this.#blocked.delete(pool);
    const { client } = waiting;
    const known = client === undefined ? undefined : this.#clients.get(client);
    if (client === undefined || !known || --known.pools > 0) return true;
    known.held.release(blocked);
    this.#clients.delete(client);
    return true;
  }
}
