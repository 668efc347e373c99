/**
 * The health checks of a waypoint. One worker makes them and tells the others their results (shared-health.ts). Each endpoint has a timer
 * for each check; so many checks are under way at most.
 */
import type { Duplex } from 'node:stream';
import { FairLimit } from '../../../base/fair-limit.js';
import type { HealthCheck } from '../../../discovery/gen/weft.js';
import { timerMsMax } from '../../../model/duration.js';
import { namespaceOfKey } from '../../../model/ownership.js';
import type { ServiceKey } from '../../../model/workload.js';
import { waypointClient } from '../../listener/client.js';
import type { WaypointLimits } from '../../limits.js';
import type { TrafficAction } from '../../telemetry/request-record.js';
import type { ClusterChecker, ClusterHealth } from '../cluster-health.js';
import type { HealthSubject } from '../health-events.js';
import type { Dial } from '../connection-pool.js';
import { Endpoint } from '../endpoint.js';
import { versionOf } from '../http-version.js';
import { nameOfCheck, runCheck } from './check.js';
import { newCheckState, onResult, type CheckResult } from './check-state.js';

/** Checks under way in the worker that makes them. Namespaces have shares. */
const checksMax = 256;
/** Shorter intervals are raised to this. */
const intervalMsMin = 100;
/** The interval until the first request to the Service (Envoy: no_traffic_interval). */
const idleIntervalMs = 60_000;
/** A check that found no free place is tried again after this. */
const busyMs = 200;

export interface CheckEvents {
  /** A check has ended. */
  onChecked(at: HealthSubject, result: CheckResult['kind']): void;
  /** An endpoint's health has changed. `failure`: the check that fails, and why; undefined: it is healthy. */
  onHealthChanged(at: HealthSubject, endpoint: Endpoint, failure: string | undefined, dryRun: boolean): void;
  /** A check is impossible for a reason that is not the endpoint's. */
  onImpossible(at: HealthSubject, endpoint: Endpoint, why: string): void;
  onAction(action: TrafficAction, namespace: string): void;
  onLimitReached(limit: 'health-checks'): void;
}

export interface CheckerOptions {
  readonly dial: Dial;
  readonly limits: WaypointLimits;
  readonly events: CheckEvents;
}

export class HealthChecker implements ClusterChecker {
  /** By endpoint: its targets in the order of the checks. */
  readonly #clusters = new Map<ClusterHealth, Map<Endpoint, Target[]>>();
  readonly shares = new FairLimit(checksMax);
  #isActive = false;

  constructor(readonly options: CheckerOptions) {}

  /** This worker makes the checks from now on. */
  start(clusters: Iterable<ClusterHealth>): void {
    this.#isActive = true;
    for (const cluster of clusters) this.sync(cluster);
  }

  stop(): void {
    this.#isActive = false;
    for (const cluster of [...this.#clusters.keys()]) this.forget(cluster);
  }

  /** The checks of a cluster, for metrics. Undefined: it has none, or another worker makes them. */
  healthyOf(cluster: ClusterHealth): number | undefined {
    const endpoints = this.#clusters.get(cluster);
    if (!endpoints) return undefined;
    let count = 0;
    for (const targets of endpoints.values()) if (targets.every(({ isHealthy }) => isHealthy)) count++;
    return count;
  }

  /** The endpoints or the checks of a cluster may have changed. */
  sync(cluster: ClusterHealth): void {
    if (!this.#isActive) return;
    const { settings } = cluster;
    const checks = settings?.healthChecks ?? [];
    if (!settings || checks.length === 0) return this.forget(cluster);
    let known = this.#clusters.get(cluster);
    if (!known) this.#clusters.set(cluster, (known = new Map()));
    for (const [endpoint, targets] of known) {
      if (cluster.endpoints.get(endpoint.key) === endpoint) continue;
      for (const target of targets) target.stop();
      known.delete(endpoint);
    }
    for (const endpoint of cluster.endpoints.values()) {
      if (!isChecked(endpoint, settings.service)) continue;
      let targets = known.get(endpoint);
      if (!targets) known.set(endpoint, (targets = []));
      for (const [index, check] of checks.entries()) {
        const target = targets[index];
        if (target) target.update(check);
        else targets.push(new Target(this, cluster, endpoint, check));
      }
      const surplus = targets.splice(checks.length);
      for (const target of surplus) target.stop();
      if (surplus.length > 0) this.project(cluster, endpoint);
    }
  }

  forget(cluster: ClusterHealth): void {
    for (const targets of this.#clusters.get(cluster)?.values() ?? [])
      for (const target of targets) target.stop();
    this.#clusters.delete(cluster);
  }

  /** The first request was sent to a cluster's Service: its checks are due at their own interval from now on. */
  onUsed(cluster: ClusterHealth): void {
    for (const targets of this.#clusters.get(cluster)?.values() ?? [])
      for (const target of targets) target.hurry();
  }

  /** Sets an endpoint's health by all of its checks. */
  project(cluster: ClusterHealth, endpoint: Endpoint): void {
    const targets = this.#clusters.get(cluster)?.get(endpoint) ?? [];
    const failing = targets.find(({ check, isHealthy }) => !check.dryRun && !isHealthy);
    cluster.setChecked(endpoint, failing?.failure);
  }
}

/**
 * A Service may name endpoints of other namespaces, which the waypoint's identity must not be used to probe. Endpoints behind another
 * waypoint are that waypoint's to check.
 */
function isChecked({ via, workload }: Endpoint, service: ServiceKey): boolean {
  return !via && workload.namespace === namespaceOfKey(service);
}

/** One check of one endpoint. */
class Target {
  #state = newCheckState();
  #timer: NodeJS.Timeout | undefined;
  #isRunning = false;
  #isStopped = false;
  #lastWhy = '';
  #problem = '';

  constructor(
    private readonly checker: HealthChecker,
    private readonly cluster: ClusterHealth,
    readonly endpoint: Endpoint,
    public check: HealthCheck,
  ) {
    // Not all at once when a worker takes over.
    this.#schedule(Math.random() * Math.min(intervalMsMin, check.intervalMs));
  }

  get isHealthy(): boolean {
    return this.#state.isHealthy;
  }

  /** Why the endpoint fails the check; undefined: it does not. */
  get failure(): string | undefined {
    return this.isHealthy ? undefined : `${nameOfCheck(this.check)}: ${this.#lastWhy}`;
  }

  /** A changed configuration applies from the next check on. The state stays, unless another thing is checked. */
  update(check: HealthCheck): void {
    if (check === this.check) return;
    const before = this.check;
    this.check = check;
    const isSame = nameOfCheck(check) === nameOfCheck(before);
    if (!isSame) this.#state = newCheckState();
    if (!isSame || before.dryRun !== check.dryRun) this.checker.project(this.cluster, this.endpoint);
    if (!isSame || check.intervalMs < before.intervalMs) this.hurry();
  }

  hurry(): void {
    if (!this.#isRunning) this.#schedule(Math.min(this.#intervalMs, Math.random() * intervalMsMin));
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  get #intervalMs(): number {
    const base = this.cluster.isUsed
      ? this.check.intervalMs
      : Math.max(idleIntervalMs, this.check.intervalMs);
    const jitter = (base * this.check.jitterPercent * Math.random()) / 100;
    return Math.min(timerMsMax, Math.max(intervalMsMin, base + jitter));
  }

  #schedule(inMs: number): void {
    clearTimeout(this.#timer);
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => void this.#run(), inMs);
    this.#timer.unref();
  }

  async #run(): Promise<void> {
    const { checker, cluster, check } = this;
    const { settings } = cluster;
    if (!settings) return;
    const namespace = namespaceOfKey(settings.service);
    if (checker.shares.take(namespace) !== undefined) {
      checker.options.events.onLimitReached('health-checks');
      return this.#schedule(busyMs);
    }
    this.#isRunning = true;
    const result = await runCheck(check, {
      limits: checker.options.limits,
      version: this.#isAtOwnPort ? versionOf(this.endpoint, false, false) : 'http1',
      host: settings.service.slice(namespace.length + 1),
      dial: () => this.#dial(),
    });
    this.#isRunning = false;
    checker.shares.release(namespace);
    // The check may have ended after the endpoint was removed, or after the policy was changed to check another thing.
    if (!this.#isStopped && nameOfCheck(check) === nameOfCheck(this.check)) this.#onResult(result);
    this.#schedule(this.#intervalMs);
  }

  get #isAtOwnPort(): boolean {
    return this.check.port === 0 || this.check.port === this.endpoint.target.port;
  }

  #dial(): Promise<Duplex> {
    const { endpoint, check } = this;
    const to = this.#isAtOwnPort
      ? endpoint
      : new Endpoint({
          workload: endpoint.workload,
          target: { ip: endpoint.target.ip, port: check.port },
          protocol: 'unknown',
          via: undefined,
        });
    return this.checker.options.dial(to, waypointClient);
  }

  #onResult(result: CheckResult): void {
    const { checker, cluster, endpoint, check } = this;
    const { settings } = cluster;
    if (!settings) return;
    const { events } = checker.options;
    const at = cluster.subjectOf(settings, 'healthChecks');
    events.onChecked(at, result.kind);
    if (result.kind === 'none') {
      if (this.#problem !== result.why) events.onImpossible(at, endpoint, result.why);
      this.#problem = result.why;
      return;
    }
    this.#problem = '';
    const wasHealthy = this.isHealthy;
    if (result.kind !== 'ok') this.#lastWhy = result.why;
    const hasChanged = onResult(this.#state, result, check);
    if (hasChanged && !check.dryRun) checker.project(cluster, endpoint);
    if (this.isHealthy !== wasHealthy) this.#report(at);
    if (result.kind === 'ok' && this.isHealthy && !check.dryRun) cluster.onCheckSucceeded(endpoint);
  }

  #report(at: HealthSubject): void {
    const { endpoint, check } = this;
    const { events } = this.checker.options;
    events.onHealthChanged(at, endpoint, this.failure, check.dryRun);
    if (this.isHealthy) return;
    const mode = check.dryRun ? 'would' : 'did';
    events.onAction({ feature: 'health-check', mode, policy: at.policy }, at.namespace);
  }
}
