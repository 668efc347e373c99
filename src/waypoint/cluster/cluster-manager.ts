/**
 * All clusters of a worker, by Service port and by dialed workload. A cluster exists from its first use until its Service's port is
 * removed. Its endpoints are compared with the mesh state when it is used, and within a few seconds of an update if it is not, so that
 * connections to removed endpoints do not stay.
 */
import { performance } from 'node:perf_hooks';
import { FairLimit } from '../../base/fair-limit.js';
import type { IpAddress, SocketAddress } from '../../model/address.js';
import { namespaceOfKey } from '../../model/ownership.js';
import { clusterNameOf } from '../../model/subset.js';
import type { ServiceKey, Workload, WorkloadUid } from '../../model/workload.js';
import type { WaypointLimits } from '../limits.js';
import { sharedNamesMax, type SharedCounters } from '../shared/shared-counters.js';
import type { WaypointState } from '../state/waypoint-state.js';
import { assignmentOfWorkload, type Assignment } from './assignment.js';
import type { ClientPool } from './client-pool.js';
import { CircuitBreaker } from './breaker/circuit-breaker.js';
import { Cluster } from './cluster.js';
import { isWatched, standaloneHealth, type ClusterHealth, type HealthContext } from './cluster-health.js';
import type { Dial, PoolContext } from './connection-pool.js';
import type { Endpoint } from './endpoint.js';
import { clusterPolicyOf } from './policy.js';
import type { HealthChange } from './shared-health.js';

const sweepMs = 1_000;
/** Clusters of dialed workloads from which idle ones are forgotten at once. Clients choose how many there are. */
const workloadsMin = 16_384;
/** Sweeps until an idle cluster of a dialed workload is forgotten. */
const workloadIdleSweeps = 60;
/** Time of one turn in which clusters that are not used are compared with the mesh state. */
const turnMsMax = 2;

export class ClusterManager {
  readonly #services = new Map<ServiceKey, Map<number, Cluster>>();
  /** By workload, address and port: without a key that is put together for each request. */
  readonly #workloads = new Map<WorkloadUid, Map<IpAddress, Map<number, Cluster>>>();
  #workloadCount = 0;
  #sweepWorkloadsAt = workloadsMin;
  /** Clusters with removed endpoints that still have requests or connections. */
  readonly #draining = new Set<Cluster>();
  readonly #pools = new Set<ClientPool>();
  /** Shares of the names with counts in shared memory, by namespace. */
  readonly #places = new FairLimit(sharedNamesMax);
  readonly #context: PoolContext;
  readonly #timer: NodeJS.Timeout;
  #sweeps = 0;
  /** The version of the mesh state with which all clusters were compared. */
  #comparedVersion = 0;
  #isComparing = false;
  #watchesAll = false;
  #watchedVersion = -1;

  constructor(
    private readonly state: WaypointState,
    dial: Dial,
    private readonly limits: WaypointLimits,
    onOverflow: PoolContext['onOverflow'],
    private readonly healthContext: HealthContext = standaloneHealth(),
    /** Counts that other workers see. Undefined: there is no other worker. */
    private readonly counters?: SharedCounters,
  ) {
    const onForgotten = (endpoint: Endpoint): void => state.policies.forgetEndpoint(endpoint);
    this.#context = {
      dial,
      limits,
      pools: this.#pools,
      isDraining: false,
      onOverflow,
      onForgotten,
      health: healthContext,
    };
    this.#timer = setInterval(() => this.#sweep(), sweepMs);
    this.#timer.unref();
  }

  /** The cluster of a Service's port; undefined if the Service is unknown or has no such port. */
  ofService(key: ServiceKey, port: number): Cluster | undefined {
    const known = this.#services.get(key)?.get(port);
    return known?.version === this.state.version ? known : this.#compareService(key, port, known);
  }

  /** The cluster of a workload that the client dialed by the workload's own address. Its one endpoint is that address. */
  ofWorkload(dialed: Workload, { ip, port }: SocketAddress): Cluster {
    // A connection may be older than a change of the workload, and the cluster is also that of others.
    const workload = this.state.view.workload(dialed.uid) ?? dialed;
    const known = this.#workloads.get(workload.uid)?.get(ip)?.get(port);
    if (!known) return this.#addWorkload(workload, { ip, port });
    known.usedAt = this.#sweeps;
    if (known.version !== this.state.version) this.#compareWorkload(known, workload, { ip, port });
    return known;
  }

  /** Another worker of the waypoint changed its mind about an endpoint. */
  applyHealth(change: HealthChange): void {
    this.healthContext.shared.apply(change);
    this.#services.get(change.service)?.get(change.port)?.health.apply(change);
  }

  /** The health of all clusters. */
  *health(): Iterable<ClusterHealth> {
    for (const cluster of this.#all()) yield cluster.health;
  }

  /** From now on, clusters whose settings ask for health checks or outlier detection exist without a request. */
  watchAll(): void {
    this.#watchesAll = true;
    this.#watch();
  }

  #watch(): void {
    if (!this.#watchesAll || this.#watchedVersion === this.state.version) return;
    this.#watchedVersion = this.state.version;
    for (const policy of this.state.allPolicies())
      if (isWatched(policy)) this.ofService(policy.service, policy.port);
  }

  /** Number of connections to endpoints: open, or being opened. */
  get connections(): number {
    let count = 0;
    for (const pool of this.#pools) count += pool.size;
    return count;
  }

  /** The clusters of Service ports. */
  *ofServices(): Iterable<Cluster> {
    for (const ports of this.#services.values()) yield* ports.values();
  }

  /** The clusters in which a request waits for a connection. */
  waiting(): Cluster[] {
    return [...this.#all()].filter(({ waiting }) => waiting > 0);
  }

  /** The clusters of Service ports whose policy limits what is under way. */
  limited(): Cluster[] {
    const found: Cluster[] = [];
    for (const ports of this.#services.values())
      for (const cluster of ports.values()) if (cluster.breaker.hasLimits) found.push(cluster);
    return found;
  }

  /** Number of clusters in memory. */
  get size(): number {
    let count = this.#workloadCount;
    for (const ports of this.#services.values()) count += ports.size;
    for (const { isClosed } of this.#draining) if (isClosed) count++;
    return count;
  }

  dump(): object[] {
    return [...this.#all()].map((cluster) => cluster.dump());
  }

  /** Closes idle connections, also those that requests leave from now on. */
  drain(): void {
    clearInterval(this.#timer);
    this.healthContext.timer.close();
    this.#context.isDraining = true;
    for (const pool of this.#pools) pool.drain();
  }

  #compareService(key: ServiceKey, port: number, known: Cluster | undefined): Cluster | undefined {
    const assignment = this.state.assignment(key, port);
    if (!assignment) {
      if (known) this.#removeService(key, port, known);
      return undefined;
    }
    const cluster = known ?? this.#newService(key, port);
    if (!known) {
      let ports = this.#services.get(key);
      if (!ports) this.#services.set(key, (ports = new Map()));
      ports.set(port, cluster);
    }
    this.#update(cluster, assignment);
    const policy = this.state.policyOf(key, port);
    if (cluster.settings !== policy) cluster.configure(clusterPolicyOf(policy), policy);
    return cluster;
  }

  #newService(key: ServiceKey, port: number): Cluster {
    const namespace = namespaceOfKey(key);
    const { counters } = this;
    const scope = counters && { counters, places: this.#places, name: `${key}:${port}`, namespace };
    return new Cluster(
      clusterNameOf(key, port),
      this.#context,
      () => this.ofService(key, port),
      new CircuitBreaker(scope),
    );
  }

  #removeService(key: ServiceKey, port: number, cluster: Cluster): void {
    const ports = this.#services.get(key);
    ports?.delete(port);
    if (ports?.size === 0) this.#services.delete(key);
    this.#close(cluster);
  }

  #compareWorkload(cluster: Cluster, workload: Workload, target: SocketAddress): void {
    this.#update(cluster, assignmentOfWorkload(workload, target));
  }

  #update(cluster: Cluster, assignment: Assignment): void {
    cluster.update(assignment);
    cluster.version = this.state.version;
    if (cluster.hasDraining) this.#draining.add(cluster);
  }

  #addWorkload(workload: Workload, target: SocketAddress): Cluster {
    if (this.#workloadCount >= this.#sweepWorkloadsAt) this.#forgetWorkloads(0);
    const { ip, port } = target;
    const { uid } = workload;
    const cluster: Cluster = new Cluster(`outbound|${port}||${ip}`, this.#context, () =>
      this.#refreshWorkload(uid, target, cluster),
    );
    let ips = this.#workloads.get(workload.uid);
    if (!ips) this.#workloads.set(workload.uid, (ips = new Map()));
    let ports = ips.get(ip);
    if (!ports) ips.set(ip, (ports = new Map()));
    ports.set(port, cluster);
    this.#workloadCount++;
    cluster.usedAt = this.#sweeps;
    this.#compareWorkload(cluster, workload, target);
    return cluster;
  }

  #removeWorkload(uid: WorkloadUid, ip: IpAddress, port: number, cluster: Cluster): void {
    const ips = this.#workloads.get(uid);
    const ports = ips?.get(ip);
    if (!ips || ports?.delete(port) !== true) return;
    this.#workloadCount--;
    if (ports.size === 0) ips.delete(ip);
    if (ips.size === 0) this.#workloads.delete(uid);
    this.#close(cluster);
  }

  /** Forgets the clusters of dialed workloads that are idle and were not used in the last `sweeps`. */
  #forgetWorkloads(sweeps: number): void {
    for (const [uid, ips] of this.#workloads)
      for (const [ip, ports] of ips)
        for (const [port, cluster] of ports)
          if (this.#sweeps - cluster.usedAt >= sweeps && cluster.isIdle)
            this.#removeWorkload(uid, ip, port, cluster);
    this.#sweepWorkloadsAt = Math.max(workloadsMin, 2 * this.#workloadCount);
  }

  #close(cluster: Cluster): void {
    if (cluster.isIdle) return cluster.forget();
    cluster.close();
    if (cluster.hasDraining) this.#draining.add(cluster);
    else cluster.forget();
  }

  #sweep(): void {
    this.#sweeps++;
    const nowMs = Date.now();
    for (const pool of this.#pools) if (!pool.sweep(nowMs)) this.#pools.delete(pool);
    for (const cluster of this.#draining) {
      cluster.forgetDrained();
      if (cluster.hasDraining) continue;
      this.#draining.delete(cluster);
      if (cluster.isClosed) cluster.forget();
    }
    for (const ports of this.#services.values()) for (const cluster of ports.values()) cluster.sweep();
    if (this.#sweeps % workloadIdleSweeps === 0) this.#forgetWorkloads(workloadIdleSweeps);
    this.#compareAll();
    this.#watch();
  }

  /** Compares the clusters that were not used since the last update, a few in each turn of the event loop. */
  #compareAll(): void {
    const { version } = this.state;
    if (this.#isComparing || this.#comparedVersion === version) return;
    this.#isComparing = true;
    const left = [...this.#stale(version)];
    const turn = (): void => {
      const endMs = performance.now() + turnMsMax;
      while (left.length > 0 && performance.now() < endMs) left.pop()?.();
      if (left.length > 0) return void setImmediate(turn);
      this.#isComparing = false;
      this.#comparedVersion = version;
    };
    turn();
  }

  *#stale(version: number): Iterable<() => void> {
    for (const [key, ports] of this.#services)
      for (const [port, cluster] of ports)
        if (cluster.version !== version) yield () => void this.ofService(key, port);
    for (const [uid, ips] of this.#workloads)
      for (const [ip, ports] of ips)
        for (const [port, cluster] of ports)
          if (cluster.version !== version) yield () => this.#checkWorkload(uid, { ip, port }, cluster);
  }

  #refreshWorkload(uid: WorkloadUid, target: SocketAddress, cluster: Cluster): void {
    if (cluster.version !== this.state.version && !cluster.isClosed)
      this.#checkWorkload(uid, target, cluster);
  }

  #checkWorkload(uid: WorkloadUid, target: SocketAddress, cluster: Cluster): void {
    const workload = this.state.view.workload(uid);
    if (workload?.addresses.includes(target.ip)) this.#compareWorkload(cluster, workload, target);
    else this.#removeWorkload(uid, target.ip, target.port, cluster);
  }

  *#all(): Iterable<Cluster> {
    yield* this.ofServices();
    for (const ips of this.#workloads.values()) for (const ports of ips.values()) yield* ports.values();
    for (const cluster of this.#draining) if (cluster.isClosed) yield cluster;
  }
}
