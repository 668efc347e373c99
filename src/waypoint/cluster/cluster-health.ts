/**
 * The health of a cluster's endpoints: ejections by their failures, and results of health checks. Without a policy for outlier detection
 * the waypoint's own rule applies: an endpoint is ejected while connections to it fail (endpoint-health.ts).
 */
import { performance } from 'node:perf_hooks';
import { namespaceOfKey } from '../../model/ownership.js';
import { originOf, type ServicePolicy } from '../../model/service-policy.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import { isEjected, observeConnect } from './endpoint-health.js';
import type { Endpoint } from './endpoint.js';
import type { HealthEvents, HealthSubject } from './health-events.js';
import { IntervalTimer, type PeriodicWork } from './interval-timer.js';
import type { Outcome } from './outcome.js';
import { OutlierDetector } from './outlier/detector.js';
import type { EjectionKind, OutlierMonitor } from './outlier/monitor.js';
import { SharedHealth, type HealthChange } from './shared-health.js';

/** Shorter intervals are raised to this. */
const intervalMsMin = 100;

/** Makes the health checks, if this worker is the one that does. */
export interface ClusterChecker {
  /** The endpoints or the settings of a cluster may have changed. */
  sync(cluster: ClusterHealth): void;
  /** A cluster got its first request. */
  onUsed(cluster: ClusterHealth): void;
  /** A cluster is gone. */
  forget(cluster: ClusterHealth): void;
}

/** What the clusters of a worker share. */
export interface HealthContext {
  readonly checker?: ClusterChecker;
  readonly timer: IntervalTimer;
  readonly shared: SharedHealth;
  readonly events: HealthEvents;
}

/** Of a worker without others, whose events nobody reads. */
export const standaloneHealth = (events: Partial<HealthEvents> = {}): HealthContext => ({
  timer: new IntervalTimer(),
  shared: new SharedHealth(),
  events: {
    onDetected: () => undefined,
    onEjected: () => undefined,
    onReturned: () => undefined,
    onAction: () => undefined,
    share: () => undefined,
    ...events,
  },
});

export class ClusterHealth implements PeriodicWork {
  #detector: OutlierDetector<Endpoint> | undefined;
  #settings: ServicePolicy | undefined;
  #at: HealthSubject | undefined;
  #endpoints: ReadonlyMap<string, Endpoint> = new Map();
  /** A request was sent to an endpoint, by any worker of the waypoint. */
  isUsed = false;
  #isUseShared = false;
  /** The current interval of outlier detection has begun. */
  #tickedMs = 0;

  constructor(
    /** The cluster's. */
    readonly name: string,
    private readonly context: HealthContext,
    /** Called when an endpoint may have become usable, or unusable. */
    private readonly changed: () => void,
    private readonly random: () => number = Math.random,
  ) {}

  get settings(): ServicePolicy | undefined {
    return this.#settings;
  }

  /** The settings ask for work that does not depend on requests. */
  get isWatched(): boolean {
    return this.#settings !== undefined && isWatched(this.#settings);
  }

  get endpoints(): ReadonlyMap<string, Endpoint> {
    return this.#endpoints;
  }

  /** Where an event happens. `setting`: the one whose origin is named. */
  subjectOf(settings: ServicePolicy, setting: 'outlierDetection' | 'healthChecks'): HealthSubject {
    const policy = originOf(settings, setting) ?? 'TrafficPolicy';
    return { cluster: this.name, namespace: namespaceOfKey(settings.service), policy };
  }

  /** Applies the settings of the Service's port. Ejections and counts stay. */
  configure(settings: ServicePolicy | undefined): void {
    if (!isEnforced(settings)) this.#forgetChecks();
    this.#settings = settings;
    const config = settings?.outlierDetection;
    if (!settings || !config) this.#stop();
    else {
      this.#at = this.subjectOf(settings, 'outlierDetection');
      if (this.#detector) this.#detector.config = config;
      else this.#start(config);
      this.#project();
      // The timer notices a shorter interval. The interval does not begin again, however often the configuration changes.
      this.context.timer.add(this);
    }
    this.#readChecks();
    this.changed();
    if (this.isUsed) this.#shareUse();
    this.context.checker?.sync(this);
  }

  /** The endpoints of the cluster. Those that were ejected, removed and added again are still ejected. */
  update(endpoints: ReadonlyMap<string, Endpoint>): void {
    this.#endpoints = endpoints;
    const detector = this.#detector;
    if (detector) {
      for (const endpoint of detector.monitors.keys())
        if (endpoints.get(endpoint.key) !== endpoint) detector.remove(endpoint);
      for (const endpoint of endpoints.values())
        if (!detector.monitors.has(endpoint)) this.#watch(detector, endpoint);
    }
    if (this.#hasChecks) {
      this.#readChecks();
      this.context.checker?.sync(this);
    }
    this.changed();
  }

  /** Number of ejections that this worker decided and that are enforced now. */
  get ejectedHere(): number {
    if (!this.#detector || this.#isDryRun) return 0;
    let count = 0;
    for (const { ejected, isEjectedElsewhere } of this.#detector.monitors.values())
      if (ejected && !isEjectedElsewhere) count++;
    return count;
  }

  /** Reports how an attempt ended. Returns what outlier detection did about it, for the access log. */
  report(endpoint: Endpoint, outcome: Outcome, latencyMs: number, nowMs?: number): TrafficAction | undefined {
    if (!this.isUsed) {
      this.isUsed = true;
      this.#shareUse();
    }
    const isOfConnection = outcome === 'connected' || outcome === 'connect-failed';
    if (!this.#detector && !isOfConnection) return undefined;
    nowMs ??= performance.now();
    if (isOfConnection && (!this.#detector || this.#isDryRun)) {
      const { failures } = endpoint.health;
      observeConnect(endpoint.health, outcome === 'connected', nowMs - latencyMs, nowMs);
      if (endpoint.health.failures !== failures) this.changed();
    }
    const kind = this.#detector && this.#detect(this.#detector, endpoint, outcome, nowMs);
    return kind && this.#action;
  }

  /** The next tick of outlier detection. */
  get dueMs(): number {
    return this.#tickedMs + Math.max(intervalMsMin, this.#detector?.config.intervalMs ?? Infinity);
  }

  run(nowMs: number): void {
    this.#tickedMs = nowMs;
    this.#detector?.tick(nowMs);
  }

  /** Another worker changed its mind about an endpoint. */
  apply({ endpoint: key, change }: HealthChange): void {
    if (change.what === 'used') return this.#onUsedElsewhere();
    const endpoint = this.#endpoints.get(key);
    if (!endpoint) return;
    if (change.what === 'checked') return this.#setFailure(endpoint, change.failure);
    if (change.what === 'ejected')
      this.#detector?.ejectedElsewhere(endpoint, change.kind, change, performance.now());
    else this.#detector?.return(endpoint, performance.now());
  }

  /** This worker has checked an endpoint. `failure`: the check that fails; undefined: none does. */
  setChecked(endpoint: Endpoint, failure: string | undefined): void {
    if (endpoint.health.checkFailure === failure) return;
    this.#setFailure(endpoint, failure);
    this.#share(endpoint.key, { what: 'checked', failure });
  }

  /** A health check of an endpoint succeeded: it returns at once (Envoy: successful_active_health_check_uneject_host). */
  onCheckSucceeded(endpoint: Endpoint): void {
    if (endpoint.health.checkFailure !== undefined || this.#isDryRun) return;
    const monitor = this.#detector?.monitors.get(endpoint);
    if (!monitor?.ejected) return;
    this.#detector?.return(endpoint, performance.now());
    this.#share(endpoint.key, { what: 'returned' });
  }

  /** What people are shown of an endpoint. */
  describe(endpoint: Endpoint, nowMs: number): object {
    const { health } = endpoint;
    const monitor = this.#detector?.monitors.get(endpoint);
    const ejectedForMs = monitor?.ejected
      ? (this.#detector?.endsMs(monitor) ?? 0) - nowMs
      : health.ejectedUntilMs - nowMs;
    return {
      state: stateOf(endpoint, nowMs),
      failures: health.failures,
      ...(health.checkFailure === undefined ? {} : { failedCheck: health.checkFailure }),
      ...(ejectedForMs > 0 || monitor?.ejected
        ? { ejectedBecause: monitor?.ejected ?? 'connect_failure', ejectedForMs: Math.round(ejectedForMs) }
        : {}),
      ...(monitor?.ejected && this.#isDryRun ? { dryRun: true } : {}),
      ...(monitor
        ? {
            consecutive: {
              errors: monitor.errors,
              gatewayErrors: monitor.gatewayErrors,
              localFailures: monitor.localFailures,
            },
          }
        : {}),
    };
  }

  /** The cluster is gone. Updates that follow begin nothing. */
  close(): void {
    this.#stop();
    this.#settings = undefined;
    this.context.checker?.forget(this);
  }

  get #isDryRun(): boolean {
    return this.#detector?.config.dryRun === true;
  }

  get #action(): TrafficAction {
    return {
      feature: 'outlier-detection',
      mode: this.#isDryRun ? 'would' : 'did',
      policy: this.#at?.policy ?? '',
    };
  }

  #start(config: NonNullable<ServicePolicy['outlierDetection']>): void {
    const { events } = this.context;
    const detector = (this.#detector = new OutlierDetector<Endpoint>(
      config,
      {
        onDetected: () => undefined,
        onOverflow: (endpoint, kind) => {
          if (this.#at) events.onDetected(this.#at, endpoint, kind, 'overflow');
        },
        onEjected: (endpoint, kind, forMs, monitor) => this.#onEjected(endpoint, kind, forMs, monitor),
        onReturned: (endpoint, { ejected, isEjectedElsewhere }) => {
          endpoint.health.isOutlier = false;
          this.changed();
          if (this.#at && ejected && !isEjectedElsewhere)
            events.onReturned(this.#at, endpoint, ejected, this.#isDryRun);
        },
      },
      this.random,
    ));
    this.#tickedMs = performance.now();
    for (const endpoint of this.#endpoints.values()) this.#watch(detector, endpoint);
  }

  #stop(): void {
    if (!this.#detector) return;
    for (const { health } of this.#detector.monitors.keys()) health.isOutlier = false;
    this.#detector = this.#at = undefined;
    this.context.timer.remove(this);
  }

  #watch(detector: OutlierDetector<Endpoint>, endpoint: Endpoint): void {
    detector.add(endpoint);
    const of = this.#sharedName(endpoint.key);
    const ejection = of && this.context.shared.ejection(of);
    if (ejection) detector.ejectedElsewhere(endpoint, ejection.kind, ejection, performance.now());
    else endpoint.health.isOutlier = false;
  }

  #onEjected(endpoint: Endpoint, kind: EjectionKind, forMs: number, monitor: OutlierMonitor): void {
    const isDryRun = this.#isDryRun;
    if (!isDryRun) this.#eject(endpoint);
    if (monitor.isEjectedElsewhere || !this.#at) return;
    const { events } = this.context;
    events.onDetected(this.#at, endpoint, kind, isDryRun ? 'would' : 'ejected');
    events.onEjected(this.#at, endpoint, kind, forMs, isDryRun);
    events.onAction(this.#action, this.#at.namespace);
    const { factor, jitterMs } = monitor;
    this.#share(endpoint.key, { what: 'ejected', kind, factor, jitterMs, agoMs: 0, leftMs: forMs });
  }

  #eject({ health }: Endpoint): void {
    health.isOutlier = true;
    // From now on the policy decides, not the waypoint's own rule.
    health.failures = 0;
    health.ejectedUntilMs = 0;
    this.changed();
  }

  /** Applies a change between dry run and enforcement to the ejections under way. */
  #project(): void {
    for (const [endpoint, { ejected }] of this.#detector?.monitors ?? []) {
      if (ejected && !this.#isDryRun) this.#eject(endpoint);
      else endpoint.health.isOutlier = false;
    }
  }

  #detect(
    detector: OutlierDetector<Endpoint>,
    endpoint: Endpoint,
    outcome: Outcome,
    nowMs: number,
  ): EjectionKind | undefined {
    switch (outcome) {
      case 'relayed':
        return detector.responded(endpoint, 200, nowMs);
      case 'connect-failed':
      case 'reset':
        return detector.failed(endpoint, 503, nowMs);
      case 'timeout':
        return detector.failed(endpoint, 504, nowMs);
      case 'connected':
      case 'overflow':
      case 'stale':
      case 'abandoned':
        return undefined;
      default:
        return detector.responded(endpoint, outcome, nowMs);
    }
  }

  #sharedName(endpoint: string): Omit<HealthChange, 'change'> | undefined {
    return this.#settings && { service: this.#settings.service, port: this.#settings.port, endpoint };
  }

  #share(endpoint: string, change: HealthChange['change']): void {
    const of = this.#sharedName(endpoint);
    if (!of) return;
    this.context.shared.apply({ ...of, change });
    this.context.events.share({ ...of, change });
  }

  /** Tells the worker that makes the checks that the Service is used. */
  #shareUse(): void {
    if (this.#isUseShared || !this.#hasChecks) return;
    this.#isUseShared = true;
    this.#share('', { what: 'used' });
    this.context.checker?.onUsed(this);
  }

  #onUsedElsewhere(): void {
    if (this.isUsed) return;
    this.isUsed = this.#isUseShared = true;
    this.context.checker?.onUsed(this);
  }

  get #hasChecks(): boolean {
    return (this.#settings?.healthChecks?.length ?? 0) > 0;
  }

  /** Applies the results of health checks, made by one worker of the waypoint. */
  #readChecks(): void {
    if (!this.#hasChecks) return;
    if (isEnforced(this.#settings)) {
      for (const endpoint of this.#endpoints.values()) {
        const of = this.#sharedName(endpoint.key);
        endpoint.health.checkFailure = of && this.context.shared.failure(of);
      }
    }
    const used = this.#sharedName('');
    if (used && this.context.shared.isUsed(used)) this.#onUsedElsewhere();
  }

  #forgetChecks(): void {
    if (!isEnforced(this.#settings)) return;
    for (const endpoint of this.#endpoints.values()) this.setChecked(endpoint, undefined);
  }

  #setFailure(endpoint: Endpoint, failure: string | undefined): void {
    const { health } = endpoint;
    // As in Envoy, slow start begins again when an endpoint passes its health check.
    if (failure === undefined && health.checkFailure !== undefined)
      endpoint.warmingSinceMs = performance.now();
    health.checkFailure = failure;
    this.changed();
  }
}

export const isWatched = ({ healthChecks, outlierDetection }: ServicePolicy): boolean =>
  outlierDetection !== undefined || (healthChecks?.length ?? 0) > 0;

const isEnforced = (settings: ServicePolicy | undefined): boolean =>
  settings?.healthChecks?.some(({ dryRun }) => !dryRun) === true;

function stateOf(endpoint: Endpoint, nowMs: number): string {
  if (endpoint.isDraining) return 'draining';
  if (endpoint.health.checkFailure !== undefined) return 'unhealthy';
  return isEjected(endpoint.health, nowMs) ? 'ejected' : 'healthy';
}
