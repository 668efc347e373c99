/** A cluster's limits, as the connection pool of one client at one endpoint needs them. */
import type { FairLimit } from '../../../base/fair-limit.js';
import type { UpstreamFailure } from '../../http/http-stream.js';
import type { Client } from '../../listener/client.js';
import { pending } from '../../shared/shared-counters.js';
import type { ActionObserver } from '../../telemetry/request-record.js';
import type { CircuitBreaker, Reservation } from './circuit-breaker.js';
import type { BlockedPool, ConnectionGate } from './connection-gate.js';
import type { Limit } from './limits.js';

/** What the pools of a cluster share. */
export interface ClusterLimits {
  readonly breaker: CircuitBreaker;
  readonly gate: ConnectionGate;
  /** Clients' shares of the requests of this worker that wait for a connection. */
  readonly shares: FairLimit;
}

export class PoolLimits {
  constructor(
    private readonly cluster: ClusterLimits,
    private readonly client: Client,
    private readonly events: ActionObserver & {
      /** The pool may not open a connection, and is woken when it may. */
      onBlocked(): void;
    },
  ) {}

  /** Counts a connection that is about to be opened. Undefined: it may not be opened now. `pool`, if given, is woken when it may. */
  takeConnection(pool: BlockedPool | undefined): Reservation | undefined {
    return this.cluster.gate.take(this.client, pool, this.events);
  }

  releaseConnection(held: Reservation): void {
    this.cluster.gate.release(held);
  }

  /** Why no connection was opened in time. `pool`: the one that waited. */
  connectionFailure(pool: BlockedPool): UpstreamFailure {
    const { gate, breaker } = this.cluster;
    const reached = gate.reachedBy(pool);
    if (reached) return overflowOf(reached);
    const { pendingTimeoutAction: action } = breaker.limits;
    return { kind: 'overflow', why: 'no connection became free in time', ...(action ? { action } : {}) };
  }

  /** Counts a request that waits. A limit is reached: the failure. */
  takePending(): Reservation | UpstreamFailure {
    const { breaker, shares } = this.cluster;
    const { name, group } = this.client;
    if (shares.take(name, group) !== undefined) return overflowOf(breaker.limits.all[pending]);
    const held = breaker.take(pending, this.client, this.events);
    if (held) return held;
    shares.release(name, group);
    return overflowOf(breaker.refused ?? breaker.limits.all[pending]);
  }

  releasePending(held: Reservation): void {
    const { breaker, shares } = this.cluster;
    shares.release(this.client.name, this.client.group);
    breaker.release(pending, held);
  }

  /** How long a request waits for a connection. Undefined: as long as the connection that is opened for it takes. */
  get pendingTimeoutMs(): number | undefined {
    return this.cluster.breaker.limits.pendingTimeoutMs;
  }

  get requestsPerConnectionMax(): number {
    return this.cluster.breaker.limits.requestsPerConnectionMax;
  }

  /** No request of the pool waits any more. */
  leave(pool: BlockedPool): void {
    this.cluster.gate.leave(pool);
  }

  /** Another pool of the cluster may not open a connection, so one of this pool that becomes idle is to be closed. */
  isWanted(pool: BlockedPool): boolean {
    return this.cluster.gate.isWanted(pool, this.client.name);
  }

  /** The same of a connection for which a request of this pool waits. */
  shouldYield(pool: BlockedPool): boolean {
    return this.cluster.gate.shouldYield(pool, this.client.name);
  }
}

/** The failure of a request because of a limit. */
export const overflowOf = ({ why, action }: Limit): UpstreamFailure => ({
  kind: 'overflow',
  why,
  ...(action ? { action } : {}),
});
