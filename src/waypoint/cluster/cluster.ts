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
import type { ActionObserver, TrafficAction } from '../telemetry/request-record.js';
import type { Assignment } from './assignment.js';
import { allClients, CircuitBreaker, type Reservation } from './breaker/circuit-breaker.js';
import { overflowOf } from './breaker/pool-limits.js';
import { ConnectionPool, type PoolContext } from './connection-pool.js';
import { noConnectionTimeouts } from './connection-timeouts.js';
import { Endpoint, endpointKey, type EndpointConfig } from './endpoint.js';
import { ClusterHealth } from './cluster-health.js';
import type { HttpVersion } from './http-version.js';
import { countOutcome, type Outcome } from './outcome.js';
import { Levels, type Excluded } from './levels.js';
import type { Acquired, Pending } from './pending-queue.js';
import { defaultPolicy, type ClusterPolicy } from './policy.js';
import type { RequestHash } from './request-hash.js';
import { RetryBudget } from './retry-budget.js';

export type { Excluded } from './levels.js';

export interface PickOptions {
  readonly excluded?: Excluded | undefined;
  /** For a balancer that chooses by a property of the request. */
  readonly hash?: number | undefined;
}

export interface Balancing {
  readonly total: number;
  readonly healthy: number;
  readonly panic: number;
  readonly nearest: number;
  readonly further: number;
  readonly hasLocality: boolean;
}

/** Why no endpoint was picked. `none`: the cluster has no usable endpoint. `excluded`: the request has tried all of them. */
export type NoEndpoint = 'none' | 'excluded';

const nothingExcluded: PickOptions = {};

export class Cluster {
  #assignment: Assignment | undefined;
  #byKey = new Map<string, Endpoint>();
  readonly #levels = new Levels(defaultPolicy.balancers);
  /** Removed endpoints that still have requests or connections. */
  readonly #draining = new Set<Endpoint>();
  /** Made with the first connection: clients can make a cluster of each port of each pod, and most of them stay unused. */
  #connections: ConnectionPool | undefined;
  #policy: ClusterPolicy = defaultPolicy;
  readonly #retries = new RetryBudget(defaultPolicy.retryBudget, performance.now());
  /** The mesh state by which the endpoints were assigned (ClusterManager). */
  version = -1;
  isClosed = false;
  /** The settings of the Service's port that are applied; undefined: none. */
  settings: ServicePolicy | undefined;
  /** When the cluster was last asked for, by the manager's count of sweeps. */
  usedAt = 0;
  readonly health: ClusterHealth;

  constructor(
    /** `outbound|PORT||HOST`, as Istio names clusters. */
    readonly name: string,
    private readonly context: PoolContext,
    /** Compares the endpoints with the mesh state. */
    private readonly refresh: () => unknown = () => undefined,
    /** Limits what is under way, and counts it. */
    readonly breaker = new CircuitBreaker(),
  ) {
    this.health = new ClusterHealth(name, context.health, () => this.#levels.changed());
  }

  get #pool(): ConnectionPool {
    return (this.#connections ??= new ConnectionPool(
      this.name,
      this.context,
      this.breaker,
      (...outcome) => this.report(...outcome),
      () => this.refresh(),
      () => this.#policy.connections,
    ));
  }

  #hasConnections(endpoint: Endpoint): boolean {
    return this.#connections?.isEmpty(endpoint) === false;
  }

  /** The endpoints that requests may go to (Levels.reachable). */
  get endpoints(): readonly Endpoint[] {
    return this.#levels.reachable;
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
        endpoint.weight = config.workload.weight ?? 1;
        // The endpoints that the cluster begins with are no newer than others.
        if (endpoint !== known && before.size > 0) endpoint.warmingSinceMs = performance.now();
        after.set(key, endpoint);
        level.push(endpoint);
      }
      if (level.length > 0) levels.push(level);
    }
    this.#byKey = after;
    this.#levels.update(levels);
    this.health.update(after);
    for (const [key, endpoint] of before) if (after.get(key) !== endpoint) this.#drain(endpoint);
    this.forgetDrained();
  }

  /** Applies another policy. Counts and connections stay. @param settings the Service's settings that it was made of */
  configure(policy: ClusterPolicy, settings?: ServicePolicy): void {
    this.settings = settings;
    this.#levels.configure(policy.balancers, policy.failover);
    this.breaker.configure(policy.breaker);
    this.#connections?.configure();
    this.#retries.configure(policy.retryBudget);
    this.health.configure(settings);
    this.#policy = policy;
  }

  /**
   * Picks the endpoint for an attempt: one that may be used and was not tried, if there is any. If all are ejected, those with the fewest
   * failures are picked from: the last endpoint stays. With a locality policy, see Levels.
   */
  pick({ excluded, hash }: PickOptions = nothingExcluded): Endpoint | NoEndpoint {
    const endpoint = this.#levels.pick(hash, excluded);
    return endpoint ?? (excluded && this.endpoints.length > 0 ? 'excluded' : 'none');
  }

  /** Whether a session may go on at an endpoint: it is not ejected, or too few are healthy. */
  mayUse(endpoint: Endpoint): boolean {
    return this.#levels.mayUse(endpoint);
  }

  /** What requests are balanced by; undefined: by nothing of them. */
  get requestHash(): RequestHash | undefined {
    return this.#policy.requestHash;
  }

  /** What the locality policy did to send a request to this endpoint; undefined: nothing, or there is no such policy. */
  localityAction(endpoint: Endpoint): TrafficAction | undefined {
    const { failover, failoverActions } = this.#policy;
    if (!failover) return undefined;
    const reason = this.#levels.reasonFor(endpoint);
    return reason && failoverActions[reason];
  }

  /** The numbers of endpoints, and of picks, for metrics. */
  get balancing(): Balancing {
    this.#levels.refresh();
    let total = 0;
    let healthy = 0;
    for (const level of this.#levels.all) {
      total += level.members.length;
      healthy += level.healthy;
    }
    return { ...this.#levels.counts, total, healthy, hasLocality: this.#policy.failover !== undefined };
  }

  /** Whether `pick` would return an endpoint that the request has not tried. */
  hasOther(excluded: Excluded): boolean {
    return this.#levels.hasOther(excluded);
  }

  /**
   * Counts a request to an endpoint, before its connection is acquired. Undefined: a limit of requests is reached (`overflow`), and nothing was
   * counted. The caller releases the result once, with the same endpoint.
   * @param observer called for each limit in dry run that is reached
   */
  admit(endpoint: Endpoint, client?: Client, observer: ActionObserver = nobody): Reservation | undefined {
    const held = this.breaker.take(requests, client, observer);
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

  /** Counts a request for the retry budget, once however many attempts it has. */
  countRequest(): void {
    this.#retries.requests++;
  }

  /** Counts a connection that the caller dials (ConnectionPool.takeConnection). */
  takeConnection(endpoint: Endpoint, client: Client, observer: ActionObserver): Reservation | undefined {
    const held = this.#pool.takeConnection(client, observer);
    if (!held) this.context.onOverflow('cluster-connections', this.name, endpoint);
    return held;
  }

  releaseConnection(held: Reservation): void {
    this.#pool.releaseConnection(held);
  }

  /** Counts a retry, from the decision to the end of its attempt. False: the retry budget is used up, and nothing was counted. */
  takeRetry(): boolean {
    return this.#retries.take(this.active, performance.now());
  }

  releaseRetry(): void {
    this.#retries.release();
  }

  /**
   * Reports how an attempt ended. Returns what outlier detection did about it.
   * @param latencyMs from its begin to its outcome
   * @param nowMs the monotonic clock, if the caller has read it
   */
  report(endpoint: Endpoint, outcome: Outcome, latencyMs: number, nowMs?: number): TrafficAction | undefined {
    this.#policy.balancers.observe?.(endpoint, outcome, latencyMs);
    countOutcome(endpoint.counts, outcome);
    return this.health.report(endpoint, outcome, latencyMs, nowMs);
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
  async dial(endpoint: Endpoint, client: Client): Promise<Duplex> {
    const stream = await this.#pool.dial(endpoint, client);
    this.report(endpoint, 'relayed', 0);
    return stream;
  }

  /** The cluster gets no more requests: its endpoints drain. */
  close(): void {
    this.isClosed = true;
    this.health.close();
    this.update([]);
  }

  /** Nothing of the cluster is under way, and it is dropped. */
  forget(): void {
    this.#connections?.close();
    this.breaker.close();
    this.health.close();
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
    this.#levels.refresh();
    const levels = this.#levels.all;
    const endpoints = [...levels.flatMap(({ members }) => members), ...this.#draining];
    const {
      balancers,
      failover,
      failoverActions: _a,
      requestHash: _h,
      breaker,
      connections,
      ...policy
    } = this.#policy;
    return {
      name: this.name,
      policy: {
        ...policy,
        balancer: balancers.kind,
        ...(failover && { failover }),
        ...(connections === noConnectionTimeouts ? {} : { connections }),
        pendingRequestsMax: finite(breaker.all[pending].max),
        requestsMax: finite(breaker.all[requests].max),
      },
      circuitBreaker: this.breaker.dump(),
      active: this.active,
      pending: this.waiting,
      retries: this.#retries.active,
      levels: levels.map(({ members, healthy, load, isPanicking }) => ({
        endpoints: members.length,
        healthy,
        loadPercent: load,
        panic: isPanicking,
      })),
      endpoints: endpoints.map((endpoint) => ({
        address: endpoint.target.ip,
        port: endpoint.target.port,
        workload: endpoint.workload.uid,
        ...(endpoint.via ? { via: endpoint.via } : {}),
        ...(endpoint.workload.locality ? { locality: endpoint.workload.locality } : {}),
        protocol: endpoint.protocol,
        priority: endpoint.priority,
        weight: endpoint.weight,
        ...this.health.describe(endpoint, nowMs),
        active: endpoint.active,
        connections: this.#connections?.connections(endpoint) ?? 0,
        counts: endpoint.counts,
      })),
    };
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

const nobody: ActionObserver = { act: () => undefined };

/** JSON has no infinity. */
const finite = (limit: number): number | null => (Number.isFinite(limit) ? limit : null);

/**
 * Connections that were opened to the one may be used for the other: the peer, the way to it and the certificate shown to it are the same. The
 * certificate is not in the endpoint's key, so that hashes and sessions stay when it is rotated.
 */
function isSame(known: Endpoint, { workload, clientCertificate }: EndpointConfig): boolean {
  const { workload: before } = known;
  return (
    before.identity === workload.identity &&
    before.tunnel === workload.tunnel &&
    known.clientCertificate === clientCertificate
  );
}
