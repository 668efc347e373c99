/**
 * Limits what is under way to a cluster, of all clients together and of each client identity (Envoy: circuit breakers; bulkheads). Counts are
 * those of all workers of the waypoint. A change of the limits changes no count.
 */
import type { FairLimit } from '../../../base/fair-limit.js';
import type { Client } from '../../listener/client.js';
import {
  blocked,
  connections,
  countsAlone,
  pending,
  requests,
  type SharedCounters,
} from '../../shared/shared-counters.js';
import type { ActionObserver } from '../../telemetry/request-record.js';
import { noLimits, type BreakerLimits, type Limit } from './limits.js';
import { Tally, type SharedCountsOf } from './tally.js';

/** What was taken, for its release. */
export type Reservation = Tally;

/** Where a breaker's counts are shared. */
export interface BreakerScope {
  readonly counters: SharedCounters;
  /** Shares of the places for counts, by the Service's namespace. */
  readonly places: FairLimit;
  /** Unique among all clusters of the waypoint, and equal in its workers. */
  readonly name: string;
  /** The Service's namespace. */
  readonly namespace: string;
}

/** Clients without limits of their own are not counted one by one. Its counts mean nothing. */
export const allClients: Reservation = new Tally();

export class CircuitBreaker {
  #limits: BreakerLimits = noLimits;
  readonly #all: Tally;
  readonly #clients = new Map<string, Tally>();
  #sweeps = 0;
  /** The limit because of which `take` has just refused. */
  refused: Limit | undefined;

  /** @param scope undefined: this worker counts for itself */
  constructor(private readonly scope?: BreakerScope) {
    this.#all = new Tally(scope && this.#sharedCountsOf(''));
  }

  get limits(): BreakerLimits {
    return this.#limits;
  }

  /** The counts of the whole cluster. */
  get all(): Tally {
    return this.#all;
  }

  /** A policy limits this kind. */
  isLimited(kind: number): boolean {
    const { max, action } = this.#limits.all[kind] ?? unlimited;
    return max !== Infinity && action !== undefined;
  }

  get hasLimits(): boolean {
    return this.isLimited(connections) || this.isLimited(pending) || this.isLimited(requests);
  }

  /** Applies other limits. Counts stay. */
  configure(limits: BreakerLimits): void {
    this.#limits = limits;
    apply(this.#all, limits.all);
    for (const tally of this.#clients.values()) apply(tally, limits.ofClient);
  }

  /**
   * Counts one more of a kind. Undefined: a limit is reached (`refused`), and nothing was counted. The caller releases it once.
   * @param observer called for each limit in dry run that is reached
   */
  take(kind: number, client: Client | undefined, observer: ActionObserver): Reservation | undefined {
    const { all, ofClient } = this.#limits;
    let held = allClients;
    if (ofClient && client) {
      held = this.#tallyOf(client.name);
      if (!this.#passes(held, kind, ofClient[kind], observer)) return undefined;
    } else allClients.add(kind);
    if (this.#passes(this.#all, kind, all[kind], observer)) return held;
    held.release(kind);
    return undefined;
  }

  release(kind: number, held: Reservation): void {
    held.release(kind);
    this.#all.release(kind);
  }

  /**
   * Counts that requests of a client wait here because of its limit of connections, for `clientsWanted` of the other workers. The caller releases
   * it once, with `blocked`.
   */
  markBlocked(client: string): Tally {
    const tally = this.#tallyOf(client);
    tally.share(blocked);
    tally.add(blocked);
    return tally;
  }

  /** Requests of the client wait in another worker because of the client's limit of connections. */
  isWantedBy(client: string): boolean {
    const tally = this.#hasClientConnectionsMax ? this.#clients.get(client) : undefined;
    return tally !== undefined && isWantedElsewhere(tally);
  }

  /** The clients with connections here of whom requests wait in another worker because of the client's limit of connections. */
  clientsWanted(): string[] {
    if (!this.#hasClientConnectionsMax) return [];
    return [...this.#clients].filter(([, tally]) => isWantedElsewhere(tally)).map(([name]) => name);
  }

  get #hasClientConnectionsMax(): boolean {
    return Number.isFinite(this.#limits.ofClient?.[connections].max ?? Infinity);
  }

  /** Forgets clients of which nothing is under way. Call it periodically. */
  sweep(): void {
    this.#sweeps++;
    for (const [name, tally] of this.#clients) {
      if (!tally.isEmpty) tally.usedAt = this.#sweeps;
      if (this.#sweeps - tally.usedAt < idleSweeps) continue;
      tally.close();
      this.#clients.delete(name);
    }
  }

  /** The cluster is no longer used: nothing is under way, and nothing will be. */
  close(): void {
    this.#all.close();
    for (const tally of this.#clients.values()) tally.close();
    this.#clients.clear();
  }

  /** The state, for people: as JSON. Limits in dry run have `dryRun`. */
  dump(): object {
    const { all, ofClient, requestsPerConnectionMax } = this.#limits;
    const counted = (tally: Tally, limits: BreakerLimits['all']): object =>
      Object.fromEntries(
        dumped.flatMap(([name, kind]) => {
          const { max, isDryRun } = limits[kind];
          if (!Number.isFinite(max)) return [];
          return [[name, { active: tally.total(kind), max, ...(isDryRun ? { dryRun: true } : {}) }]];
        }),
      );
    return {
      ...counted(this.#all, all),
      ...(Number.isFinite(requestsPerConnectionMax) ? { requestsPerConnectionMax } : {}),
      ...(ofClient
        ? {
            clients: [...this.#clients]
              .slice(0, dumpedClientsMax)
              .map(([client, tally]) => ({ client, ...counted(tally, ofClient) })),
          }
        : {}),
    };
  }

  #passes(tally: Tally, kind: number, limit: Limit | undefined, observer: ActionObserver): boolean {
    if (!limit || !limit.isDryRun) {
      if (tally.take(kind, limit?.max ?? Infinity)) return true;
      this.refused = limit;
      return false;
    }
    tally.share(kind);
    if (tally.total(kind) >= limit.max && limit.action) observer.act(limit.action);
    return tally.add(kind);
  }

  #tallyOf(client: string): Tally {
    let tally = this.#clients.get(client);
    if (!tally) {
      this.#clients.set(client, (tally = new Tally(this.scope && this.#sharedCountsOf(` ${client}`))));
      apply(tally, this.#limits.ofClient);
    }
    tally.usedAt = this.#sweeps;
    return tally;
  }

  #sharedCountsOf(suffix: string): SharedCountsOf {
    const { scope } = this;
    let hasPlace = false;
    return {
      open: () => {
        // A namespace whose Services have many clients must not take the places of others: its counts are then those of one worker.
        hasPlace = scope?.places.take(scope.name, scope.namespace) === undefined;
        return scope && hasPlace ? scope.counters.open(`${scope.name}${suffix}`) : countsAlone();
      },
      close: (counts) => {
        scope?.counters.close(counts);
        if (hasPlace) scope?.places.release(scope.name, scope.namespace);
      },
    };
  }
}

function isWantedElsewhere(tally: Tally): boolean {
  if (tally.own(connections) === 0) return false;
  tally.share(blocked);
  return tally.total(blocked) > tally.own(blocked);
}

const unlimited: Pick<Limit, 'max' | 'action'> = { max: Infinity, action: undefined };
/** Sweeps until a client without anything under way is forgotten. */
const idleSweeps = 10;
const dumpedClientsMax = 100;
const dumped = [
  ['connections', connections],
  ['pendingRequests', pending],
  ['requests', requests],
] as const;

/** Shares what has a limit now, and what is under way with it. */
function apply(tally: Tally, limits: BreakerLimits['all'] | undefined): void {
  for (let kind = 0; kind <= requests; kind++) {
    const isLimited = limits !== undefined && Number.isFinite(limits[kind]?.max ?? Infinity);
    if (!isLimited) tally.unshare(kind);
    else if (tally.own(kind) > 0) tally.share(kind);
  }
}
