/**
 * The endpoints of one Service port at run time, and what is counted and limited for them together (Envoy: cluster). A workload that is
 * dialed by its own address has a cluster of one endpoint. The object survives updates of its endpoints and of its policy.
 */
import { performance } from 'node:perf_hooks';
import type { Duplex } from 'node:stream';
import type { ServicePolicy } from '../../model/service-policy.js';
import type { UpstreamFailure } from '../http/http-stream.js';
import type { Client } from '../listener/client.js';
import { pending, requests } from '../shared/shared-counters.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import type { Assignment } from './assignment.js';
import { newBalancer, type Balancer } from './balancer.js';
import { allClients, CircuitBreaker, type Reservation } from './breaker/circuit-breaker.js';
import { overflowOf } from './breaker/pool-limits.js';
import { ConnectionPool, type PoolContext } from './connection-pool.js';
import { Endpoint, endpointKey, type EndpointConfig } from './endpoint.js';
import { isEjected, observeConnect } from './endpoint-health.js';
import type { HttpVersion } from './http-version.js';
import type { Outcome } from './outcome.js';
import type { Acquired, Pending } from './pending-queue.js';
import { defaultPolicy, type ClusterPolicy } from './policy.js';
import { RetryBudget } from './retry-budget.js';

/** Endpoints that a request has tried. */
export interface Excluded {
  readonly endpoints: ReadonlySet<Endpoint>;
  /** Whether one of these may be picked if there is no other endpoint. */
  readonly mayRepeat: boolean;
}

export interface PickOptions {
  readonly excluded?: Excluded | undefined;
  /** For a balancer that chooses by a property of the request. */
  readonly hash?: number | undefined;
}

/** Why no endpoint was picked. `none`: the cluster has no endpoint. `excluded`: the request has tried all of them. */
export type NoEndpoint = 'none' | 'excluded';

const nothingExcluded: PickOptions = {};

export class Cluster {
  #assignment: Assignment | undefined;
  #byKey = new Map<string, Endpoint>();
  /** By priority: the nearest first. No level is empty. */
  #levels: readonly (readonly Endpoint[])[] = [];
  /** Removed endpoints that still have requests or connections. */
  readonly #draining = new Set<Endpoint>();
  /** Made with the first connection: clients can make a cluster of each port of each pod, and most of them stay unused. */
  #connections: ConnectionPool | undefined;
  #policy: ClusterPolicy = defaultPolicy;
  #balancer: Balancer = newBalancer(defaultPolicy.balancer);
  #retries = new RetryBudget(defaultPolicy.retryBudget);
  /** No endpoint is ejected from this time on. */
  #ejectionsEndMs = 0;
  /** The mesh state by which the endpoints were assigned (ClusterManager). */
  version = -1;
  isClosed = false;
  /** The settings of the Service's port that are applied; undefined: none. */
  settings: ServicePolicy | undefined;
  /** When the cluster was last asked for, by the manager's count of sweeps. */
  usedAt = 0;

  constructor(
    /** `outbound|PORT||HOST`, as Istio names clusters. */
    readonly name: string,
    private readonly context: PoolContext,
    /** Compares the endpoints with the mesh state. */
    private readonly refresh: () => unknown = () => undefined,
    /** Limits what is under way, and counts it. */
    readonly breaker = new CircuitBreaker(),
  ) {}

  get #pool(): ConnectionPool {
    return (this.#connections ??= new ConnectionPool(
      this.name,
      this.context,
      this.breaker,
      (...outcome) => this.report(...outcome),
      () => this.refresh(),
    ));
  }

  #hasConnections(endpoint: Endpoint): boolean {
    return this.#connections?.isEmpty(endpoint) === false;
  }

  /** The endpoints that requests go to now: those of the nearest level. */
  get endpoints(): readonly Endpoint[] {
    return this.#levels[0] ?? none;
  }

  /** Requests and relayed connections under way. */
  get active(): number {
    return this.breaker.all.own(requests);
  }

  /** Requests that wait for a connection. */
  get waiting(): number {
    return this.#connections?.waiting ?? 0;
  }

  /** Replaces the endpoints. Those that stay keep their state; those that are gone drain. */
  update(assignment: Assignment): void {
    if (assignment === this.#assignment) return;
    this.#assignment = assignment;
    const before = this.#byKey;
    const after = new Map<string, Endpoint>();
    const levels: Endpoint[][] = [];
    for (const [priority, configs] of assignment.entries()) {
      const level: Endpoint[] = [];
      for (const config of configs) {
        const key = endpointKey(config);
        // Two endpoints of a Service that state the same address of the same workload are one.
        if (after.has(key)) continue;
        const known = before.get(key);
        const endpoint = known && isSame(known, config) ? known : this.#revive(key, config);
        endpoint.workload = config.workload;
        endpoint.priority = priority;
        after.set(key, endpoint);
        level.push(endpoint);
      }
      if (level.length > 0) levels.push(level);
    }
    this.#byKey = after;
    this.#levels = levels;
    for (const [key, endpoint] of before) if (after.get(key) !== endpoint) this.#drain(endpoint);
    this.forgetDrained();
  }

  /** Applies another policy. Counts and connections stay. @param settings the Service's settings that it was made of */
  configure(policy: ClusterPolicy, settings?: ServicePolicy): void {
    this.settings = settings;
    if (policy.balancer !== this.#policy.balancer) this.#balancer = newBalancer(policy.balancer);
    this.breaker.configure(policy.breaker);
    this.#connections?.configure();
    this.#retries = this.#retries.with(policy.retryBudget);
    this.#policy = policy;
  }

  /**
   * Picks the endpoint for an attempt, among the best that there are: endpoints that are not ejected and were not tried; those that were
   * tried; those that are ejected. If all are ejected, those with the fewest failures are picked from: the last endpoint stays.
   */
  pick({ excluded, hash }: PickOptions = nothingExcluded): Endpoint | NoEndpoint {
    const eligible = this.#eligible(excluded);
    return this.#balancer.choose(eligible, hash) ?? (this.endpoints.length > 0 ? 'excluded' : 'none');
  }

  /** Whether `pick` would return an endpoint that the request has not tried. */
  hasOther(excluded: Excluded): boolean {
    // All eligible endpoints have the same rank, so either all of them were tried, or none.
    const [first] = this.#eligible(excluded);
    return first !== undefined && !excluded.endpoints.has(first);
  }

  /**
   * Counts a request to an endpoint, before its connection is acquired. Undefined: a limit of requests is reached (`overflow`), and nothing was
   * counted. The caller releases the result once, with the same endpoint.
   * @param onDryRun called for each limit in dry run that is reached
   */
  admit(
    endpoint: Endpoint,
    client?: Client,
    onDryRun: (action: TrafficAction) => void = ignored,
  ): Reservation | undefined {
    const held = this.breaker.take(requests, client, onDryRun);
    if (held) endpoint.active++;
    else this.context.onOverflow('cluster-requests', this.name, endpoint);
    return held;
  }

  /** Why `admit` has just refused a request. */
  get overflow(): UpstreamFailure {
    return overflowOf(this.breaker.refused ?? this.breaker.limits.all[requests]);
  }

  release(endpoint: Endpoint, held: Reservation = allClients): void {
    this.breaker.release(requests, held);
    endpoint.active--;
  }

  /** Counts a connection that the caller dials (ConnectionPool.takeConnection). */
  takeConnection(
    endpoint: Endpoint,
    client: Client,
    onDryRun: (action: TrafficAction) => void,
  ): Reservation | undefined {
    const held = this.#pool.takeConnection(client, onDryRun);
    if (!held) this.context.onOverflow('cluster-connections', this.name, endpoint);
    return held;
  }

  releaseConnection(held: Reservation): void {
    this.#pool.releaseConnection(held);
  }

  /** Counts a retry, from the decision to the end of its attempt. False: the retry budget is used up, and nothing was counted. */
  takeRetry(): boolean {
    return this.#retries.take(this.active);
  }

  releaseRetry(): void {
    this.#retries.release();
  }

  /** Reports how an attempt ended. `latencyMs`: from its begin to its outcome. */
  report(endpoint: Endpoint, outcome: Outcome, latencyMs: number): void {
    const { counts } = endpoint;
    switch (outcome) {
      case 'connected':
        counts.connected++;
        return this.#observe(endpoint, true, latencyMs);
      case 'connect-failed':
        counts.connectFailed++;
        return this.#observe(endpoint, false, latencyMs);
      case 'overflow':
        counts.overflow++;
        return;
      case 'reset':
        counts.reset++;
        return;
      case 'timeout':
        counts.timeout++;
        return;
      default:
        if (outcome < 500) counts.success++;
        else counts.error++;
    }
  }

  /** Gets a connection for one request (ClientPool.acquire). */
  acquire(
    endpoint: Endpoint,
    client: Client,
    version: HttpVersion,
    fresh: boolean,
    done: Acquired,
  ): Pending | undefined {
    return this.#pool.acquire(endpoint, client, version, fresh, done);
  }

  /** Opens a connection that only the caller uses (ConnectionPool.dial). */
  dial(endpoint: Endpoint, client: Client): Promise<Duplex> {
    return this.#pool.dial(endpoint, client);
  }

  /** The cluster gets no more requests: its endpoints drain. */
  close(): void {
    this.isClosed = true;
    this.update([]);
  }

  /** Nothing of the cluster is under way, and it is dropped. */
  forget(): void {
    this.#connections?.close();
    this.breaker.close();
    for (const endpoint of this.#byKey.values()) this.context.onForgotten(endpoint);
  }

  /** Nothing is under way or open, so nothing but counts is lost with the cluster. */
  get isIdle(): boolean {
    if (this.active > 0 || this.waiting > 0 || this.#draining.size > 0) return false;
    for (const endpoint of this.#byKey.values()) if (this.#hasConnections(endpoint)) return false;
    return true;
  }

  /** What the limits need periodically. */
  sweep(): void {
    this.#connections?.sweep();
    this.breaker.sweep();
  }

  /** Forgets removed endpoints that have neither requests nor connections left. */
  forgetDrained(): void {
    for (const endpoint of this.#draining) {
      if (endpoint.active === 0 && !this.#hasConnections(endpoint)) {
        this.#draining.delete(endpoint);
        this.context.onForgotten(endpoint);
      }
    }
  }

  get hasDraining(): boolean {
    return this.#draining.size > 0;
  }

  /** The cluster's state, for people: as JSON. */
  dump(): object {
    const nowMs = performance.now();
    const endpoints = [...this.#levels.flat(), ...this.#draining];
    const { breaker, ...policy } = this.#policy;
    return {
      name: this.name,
      policy: {
        ...policy,
        pendingRequestsMax: finite(breaker.all[pending].max),
        requestsMax: finite(breaker.all[requests].max),
      },
      circuitBreaker: this.breaker.dump(),
      active: this.active,
      pending: this.waiting,
      retries: this.#retries.active,
      endpoints: endpoints.map((endpoint) => ({
        address: endpoint.target.ip,
        port: endpoint.target.port,
        workload: endpoint.workload.uid,
        ...(endpoint.via ? { via: endpoint.via } : {}),
        ...(endpoint.workload.locality ? { locality: endpoint.workload.locality } : {}),
        protocol: endpoint.protocol,
        priority: endpoint.priority,
        state: stateOf(endpoint, nowMs),
        failures: endpoint.health.failures,
        active: endpoint.active,
        connections: this.#connections?.connections(endpoint) ?? 0,
        counts: endpoint.counts,
      })),
    };
  }

  #eligible(excluded: Excluded | undefined): readonly Endpoint[] {
    const { endpoints } = this;
    // Most of the time no endpoint is ejected, and then nothing is searched.
    const hasEjected = this.#ejectionsEndMs > 0 && this.#ejectionsEndMs > performance.now();
    if (!hasEjected && excluded === undefined) return endpoints;
    return best(endpoints, excluded, hasEjected ? performance.now() : Infinity);
  }

  #observe(endpoint: Endpoint, connected: boolean, latencyMs: number): void {
    const nowMs = performance.now();
    observeConnect(endpoint.health, connected, nowMs - latencyMs, nowMs);
    this.#ejectionsEndMs = Math.max(this.#ejectionsEndMs, endpoint.health.ejectedUntilMs);
  }

  /** A removed endpoint that comes back before it has drained keeps its state and its connections. */
  #revive(key: string, config: EndpointConfig): Endpoint {
    for (const endpoint of this.#draining) {
      if (endpoint.key !== key || !isSame(endpoint, config)) continue;
      this.#draining.delete(endpoint);
      endpoint.isDraining = false;
      this.#connections?.undrain(endpoint);
      return endpoint;
    }
    return new Endpoint(config);
  }

  #drain(endpoint: Endpoint): void {
    endpoint.isDraining = true;
    this.#draining.add(endpoint);
    this.#connections?.drain(endpoint);
  }
}

const none: readonly Endpoint[] = [];
const ignored = (): void => undefined;

/** JSON has no infinity. */
const finite = (limit: number): number | null => (Number.isFinite(limit) ? limit : null);

function stateOf(endpoint: Endpoint, nowMs: number): string {
  if (endpoint.isDraining) return 'draining';
  return isEjected(endpoint.health, nowMs) ? 'ejected' : 'healthy';
}

/** Connections that were opened to the one may be used for the other: the peer and the way to it are the same. */
function isSame({ workload: before }: Endpoint, { workload }: EndpointConfig): boolean {
  return before.identity === workload.identity && before.tunnel === workload.tunnel;
}

/** The endpoints of the best rank. */
function best(endpoints: readonly Endpoint[], excluded: Excluded | undefined, nowMs: number): Endpoint[] {
  let found: Endpoint[] = [];
  let lowest = Infinity;
  for (const endpoint of endpoints) {
    const isTried = excluded?.endpoints.has(endpoint) === true;
    if (isTried && !excluded.mayRepeat) continue;
    const { health } = endpoint;
    const rank = (isEjected(health, nowMs) ? 2 * health.failures : 0) + (isTried ? 1 : 0);
    if (rank > lowest) continue;
    if (rank < lowest) found = [];
    lowest = rank;
    found.push(endpoint);
  }
  return found;
}
