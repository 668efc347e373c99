/**
 * Outlier detection of one cluster, with Envoy's semantics (source/common/upstream/outlier_detection_impl.cc): which endpoints are ejected
 * for their failures, and for how long. Pure: the caller passes the time, of a monotonic clock, and calls `tick` once in each interval.
 */
import type { OutlierDetection } from '../../../discovery/gen/weft.js';
import { newMonitor, type EjectionKind, type OutlierMonitor } from './monitor.js';
import { belowMean, type Rate } from './success-rate.js';

export interface DetectorEvents<E> {
  /** An endpoint was found to be an outlier. */
  onDetected(kind: EjectionKind): void;
  /** It was not ejected, because too many others are. */
  onOverflow(endpoint: E, kind: EjectionKind): void;
  /** `forMs`: until it returns, if the configuration stays. */
  onEjected(endpoint: E, kind: EjectionKind, forMs: number, monitor: OutlierMonitor): void;
  onReturned(endpoint: E, monitor: OutlierMonitor): void;
}

/** Why a request failed without a response: no connection or a reset, or no response in time. As statuses they count like Envoy's. */
export type LocalFailure = 503 | 504;

const isGatewayError = (status: number): boolean => status >= 502 && status <= 504;
const isReached = (count: number, max: number): boolean => max > 0 && count >= max;

export class OutlierDetector<E> {
  readonly #monitors = new Map<E, OutlierMonitor>();
  #ejected = 0;

  constructor(
    public config: OutlierDetection,
    private readonly events: DetectorEvents<E>,
    private readonly random: () => number = Math.random,
  ) {}

  /** Number of ejected endpoints. */
  get ejected(): number {
    return this.#ejected;
  }

  get monitors(): ReadonlyMap<E, OutlierMonitor> {
    return this.#monitors;
  }

  /** Watches an endpoint. `monitor`: its state, if it was watched before. */
  add(endpoint: E, monitor: OutlierMonitor = newMonitor()): void {
    this.#monitors.set(endpoint, monitor);
    if (monitor.ejected) this.#ejected++;
  }

  /** No longer watches an endpoint. Returns its state. */
  remove(endpoint: E): OutlierMonitor | undefined {
    const monitor = this.#monitors.get(endpoint);
    if (!monitor) return undefined;
    this.#monitors.delete(endpoint);
    if (monitor.ejected) this.#ejected--;
    return monitor;
  }

  /** An endpoint responded. Returns why it was ejected for that; undefined: it was not. `status`: for gRPC by `httpStatusOfGrpc`. */
  responded(endpoint: E, status: number, nowMs: number): EjectionKind | undefined {
    const monitor = this.#monitors.get(endpoint);
    if (!monitor) return undefined;
    monitor.localFailures = 0;
    return this.#count(endpoint, monitor, status, nowMs);
  }

  /**
   * A request to an endpoint ended without a response. It counts as a failure of its own kind, and as a 503 or 504 too, unless the
   * configuration splits them (Envoy: split_external_local_origin_errors). Only a response ends a series: an endpoint may accept connections and never respond. In Envoy a
   * connection ends it.
   */
  failed(endpoint: E, as: LocalFailure, nowMs: number): EjectionKind | undefined {
    const monitor = this.#monitors.get(endpoint);
    if (!monitor) return undefined;
    monitor.localFailures++;
    let kind: EjectionKind | undefined;
    if (isReached(monitor.localFailures, this.config.consecutiveLocalFailures)) {
      kind = this.#detect(endpoint, monitor, 'consecutive_local_origin_failure', nowMs);
      monitor.localFailures = 0;
    }
    if (this.config.splitsLocalErrors) return kind;
    return this.#count(endpoint, monitor, as, nowMs) ?? kind;
  }

  #count(endpoint: E, monitor: OutlierMonitor, status: number, nowMs: number): EjectionKind | undefined {
    monitor.requests++;
    if (status < 500) {
      monitor.successes++;
      monitor.errors = monitor.gatewayErrors = 0;
      return undefined;
    }
    const { config } = this;
    let kind: EjectionKind | undefined;
    if (isGatewayError(status)) monitor.gatewayErrors++;
    else monitor.gatewayErrors = 0;
    monitor.errors++;
    // A counter that has reached its limit starts again, whether the endpoint was ejected or not.
    if (isReached(monitor.gatewayErrors, config.consecutiveGatewayErrors)) {
      kind = this.#detect(endpoint, monitor, 'consecutive_gateway_failure', nowMs);
      monitor.gatewayErrors = 0;
    }
    if (isReached(monitor.errors, config.consecutive5xx)) {
      kind = this.#detect(endpoint, monitor, 'consecutive_5xx', nowMs) ?? kind;
      monitor.errors = 0;
    }
    return kind;
  }

  /** An interval has ended: ejections that are over end, and the success rates of the interval are compared. */
  tick(nowMs: number): void {
    const rates: (Rate<E> & { readonly requests: number })[] = [];
    for (const [endpoint, monitor] of this.#monitors) {
      if (monitor.ejected && nowMs >= this.endsMs(monitor)) this.#return(endpoint, monitor, nowMs);
      const { requests, successes } = monitor;
      monitor.requests = monitor.successes = 0;
      if (!monitor.ejected && requests > 0)
        rates.push({ endpoint, percent: (100 * successes) / requests, requests });
    }
    this.#compare(rates, nowMs);
    for (const monitor of this.#monitors.values()) {
      const { returnedMs } = monitor;
      if (monitor.ejected || returnedMs === undefined) continue;
      if (nowMs - returnedMs >= this.config.intervalMs && monitor.factor > 0) monitor.factor--;
    }
  }

  #compare(all: readonly (Rate<E> & { readonly requests: number })[], nowMs: number): void {
    const { config } = this;
    if (config.successRateHostsMin > 0) {
      const rates = all.filter(({ requests }) => requests >= config.successRateRequestsMin);
      if (rates.length >= config.successRateHostsMin)
        for (const { endpoint } of belowMean(rates, config.successRateStdevFactor / 1000))
          this.#detectRate(endpoint, 'success_rate', nowMs);
    }
    if (config.failurePercent > 0) {
      const rates = all.filter(({ requests }) => requests >= config.failurePercentRequestsMin);
      if (rates.length >= config.failurePercentHostsMin)
        for (const { endpoint, percent } of rates)
          if (100 - percent >= config.failurePercent) this.#detectRate(endpoint, 'failure_percentage', nowMs);
    }
  }

  #detectRate(endpoint: E, kind: EjectionKind, nowMs: number): void {
    const monitor = this.#monitors.get(endpoint);
    if (monitor) this.#detect(endpoint, monitor, kind, nowMs);
  }

  /** Returns `kind` if the endpoint was ejected. */
  #detect(endpoint: E, monitor: OutlierMonitor, kind: EjectionKind, nowMs: number): EjectionKind | undefined {
    if (monitor.ejected) return undefined;
    this.events.onDetected(kind);
    if (!this.#mayEject) {
      this.events.onOverflow(endpoint, kind);
      return undefined;
    }
    const { baseEjectionMs, ejectionMsMax, ejectionJitterMs } = this.config;
    monitor.jitterMs = Math.floor(this.random() * (ejectionJitterMs + 1));
    if (monitor.factor * baseEjectionMs < ejectionMsMax + baseEjectionMs) monitor.factor++;
    this.#eject(monitor, kind, nowMs);
    this.events.onEjected(endpoint, kind, this.endsMs(monitor) - nowMs, monitor);
    return kind;
  }

  /** Of all endpoints at most this share may be ejected; Envoy compares it without regard to priorities. */
  get #mayEject(): boolean {
    const { ejectedPercentMax, alwaysEjectOne } = this.config;
    if (alwaysEjectOne && this.#ejected === 0) return true;
    return (100 * (this.#ejected + 1)) / this.#monitors.size <= Math.min(100, ejectedPercentMax);
  }

  #eject(monitor: OutlierMonitor, kind: EjectionKind, nowMs: number): void {
    this.#ejected++;
    monitor.ejected = kind;
    monitor.isEjectedElsewhere = false;
    monitor.ejectedMs = nowMs;
  }

  /** The time from which the next tick ends an endpoint's ejection. */
  endsMs({ ejectedMs, factor, jitterMs }: OutlierMonitor): number {
    const { baseEjectionMs, ejectionMsMax } = this.config;
    return ejectedMs + Math.min(baseEjectionMs * factor, ejectionMsMax) + jitterMs;
  }

  /** Another worker of the waypoint has ejected an endpoint. It returns here by this worker's own clock. */
  ejectedElsewhere(
    endpoint: E,
    kind: EjectionKind,
    { factor, jitterMs, agoMs }: SharedEjection,
    nowMs: number,
  ): void {
    const monitor = this.#monitors.get(endpoint);
    if (!monitor || monitor.ejected) return;
    monitor.factor = Math.max(factor, monitor.factor);
    monitor.jitterMs = jitterMs;
    this.#eject(monitor, kind, nowMs - agoMs);
    monitor.isEjectedElsewhere = true;
    this.events.onEjected(endpoint, kind, this.endsMs(monitor) - nowMs, monitor);
  }

  /** Ends an endpoint's ejection early. */
  return(endpoint: E, nowMs: number): void {
    const monitor = this.#monitors.get(endpoint);
    if (monitor?.ejected) this.#return(endpoint, monitor, nowMs);
  }

  #return(endpoint: E, monitor: OutlierMonitor, nowMs: number): void {
    this.#ejected--;
    this.events.onReturned(endpoint, monitor);
    monitor.ejected = undefined;
    monitor.isEjectedElsewhere = false;
    monitor.returnedMs = nowMs;
    // Otherwise few further failures would eject it again.
    monitor.errors = monitor.gatewayErrors = monitor.localFailures = 0;
  }
}

/** What workers tell each other about an ejection. */
export interface SharedEjection {
  readonly factor: number;
  readonly jitterMs: number;
  /** Time since the ejection. */
  readonly agoMs: number;
}
