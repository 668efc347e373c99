/**
 * A request's attempts: the one under way, the endpoints that were tried, the number of retries, and the decision after a failure (Envoy:
 * UpstreamRequest and RetryState).
 */
import { performance } from 'node:perf_hooks';
import type { RouteRetry } from '../../model/route.js';
import type { Cluster, Excluded, NoEndpoint } from '../cluster/cluster.js';
import { backoffMs, retryLimitsOf, retriesOfRule, type FailedAttempt } from './retry-policy.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { Outcome } from '../cluster/outcome.js';
import type { Pending } from '../cluster/pending-queue.js';
import type { Upstream } from '../http/http-stream.js';
import type { TrafficAction } from '../telemetry/request-record.js';

export type Next =
  /** No further attempt. `flag`: the retry limit is reached (URX), or the cluster's retry budget is used up (UO). */
  | { readonly kind: 'none'; readonly flag: 'URX' | 'UO' | undefined }
  /** Retry at the same endpoint, by a new connection. */
  | { readonly kind: 'fresh' }
  /** Retry in `inMs` at the endpoint that `pick` returns. */
  | { readonly kind: 'again'; readonly inMs: number };

export class Attempts {
  /** The retry settings of the request's rule; undefined if it has none. */
  retry: RouteRetry | undefined;
  /** The endpoint of the attempt under way. */
  endpoint: Endpoint | undefined;
  /** The upstream of the attempt under way; undefined while there is no connection. */
  upstream: Upstream | undefined;
  /** The attempt waits for a connection. */
  pending: Pending | undefined;
  /** Number of attempts so far. */
  count = 0;
  /** Incremented at each attempt's begin and end: events of an earlier attempt are ignored. */
  #serial = 0;
  #tried: Set<Endpoint> | undefined;
  #retries = 0;
  /** The cluster of the attempt under way. */
  #cluster: Cluster | undefined;
  /** The cluster whose retry budget counts this request. */
  #retriedAt: Cluster | undefined;
  #beganMs = 0;
  #timeout: NodeJS.Timeout | undefined;
  #backoff: NodeJS.Timeout | undefined;

  /** No endpoint has failed yet. */
  get isFirst(): boolean {
    return this.#tried === undefined;
  }

  pick(cluster: Cluster): Endpoint | NoEndpoint {
    return this.#tried ? cluster.pick({ excluded: this.#excluding(this.#tried) }) : cluster.pick();
  }

  #excluding(tried: ReadonlySet<Endpoint>): Excluded {
    return { endpoints: tried, mayRepeat: this.#retries <= retriesOfRule(this.retry) };
  }

  /**
   * Decides what follows a failed attempt, and counts the retry that it allows.
   * @param endpoint the endpoint of the failed attempt
   * @param ofConnection a reused connection failed, which says nothing about the endpoint
   * @param cluster the cluster that the request is sent to now
   */
  after(failed: FailedAttempt, endpoint: Endpoint, ofConnection: boolean, cluster: Cluster): Next {
    const { elsewhere, anywhere } = retryLimitsOf(failed, this.retry);
    if (this.#retries >= elsewhere) return { kind: 'none', flag: this.#retries > 0 ? 'URX' : undefined };
    // The retry that has failed no longer counts.
    this.#releaseRetry();
    if (!cluster.takeRetry()) return { kind: 'none', flag: 'UO' };
    this.#retriedAt = cluster;
    this.#retries++;
    if (ofConnection && this.#retries === 1) return { kind: 'fresh' };
    const tried = (this.#tried ??= new Set());
    tried.add(endpoint);
    // A request that was not executed goes at once to an endpoint that has not failed: the backoff protects endpoints that have.
    if (failed.execution === 'none' || failed.execution === 'unlikely') {
      if (cluster.hasOther(this.#excluding(tried))) return { kind: 'again', inMs: 0 };
    }
    return this.#retries <= anywhere
      ? { kind: 'again', inMs: backoffMs(this.retry?.backoffMs, this.#retries, Math.random()) }
      : { kind: 'none', flag: anywhere > 0 ? 'URX' : undefined };
  }

  /** An attempt at `endpoint` begins. Returns its number, for `isCurrent`. Undefined: the cluster's limit of requests is reached. */
  begin(cluster: Cluster, endpoint: Endpoint): number | undefined {
    this.leaveEndpoint();
    if (!cluster.admit(endpoint)) return undefined;
    this.#cluster = cluster;
    this.endpoint = endpoint;
    this.#beganMs = performance.now();
    this.count++;
    return ++this.#serial;
  }

  /**
   * Reports to the cluster how the attempt under way ended. Returns what outlier detection did about it. `nowMs`: by the monotonic clock.
   */
  report(outcome: Outcome, nowMs: number): TrafficAction | undefined {
    return this.endpoint && this.#cluster?.report(this.endpoint, outcome, nowMs - this.#beganMs);
  }

  isCurrent(serial: number): boolean {
    return serial === this.#serial;
  }

  /** Sets the attempt's timeout, which includes the whole response. */
  limit(ms: number, onTimeout: () => void): void {
    this.#timeout = setTimeout(onTimeout, ms);
  }

  clearLimit(): void {
    clearTimeout(this.#timeout);
  }

  /** Ends the attempt before another one: later events of this one are ignored. */
  leave(): void {
    this.leaveEndpoint();
    this.#serial++;
  }

  backOff(ms: number, next: () => void): void {
    this.#backoff = setTimeout(next, ms);
  }

  /** Cancels the upstream: the rest of the endpoint's response is discarded. An attempt that waits for a connection no longer waits. */
  cancelUpstream(): void {
    const { upstream } = this;
    this.upstream = undefined;
    this.#cancelPending();
    upstream?.cancel();
  }

  leaveEndpoint(): void {
    this.#cancelPending();
    if (this.endpoint) this.#cluster?.release(this.endpoint);
    this.endpoint = this.#cluster = undefined;
  }

  /** The request ends: no attempt follows. */
  end(): void {
    clearTimeout(this.#timeout);
    clearTimeout(this.#backoff);
    this.leaveEndpoint();
    this.#releaseRetry();
  }

  #cancelPending(): void {
    this.pending?.cancel();
    this.pending = undefined;
  }

  #releaseRetry(): void {
    this.#retriedAt?.releaseRetry();
    this.#retriedAt = undefined;
  }
}
