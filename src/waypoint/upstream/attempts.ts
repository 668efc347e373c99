/**
 * A request's attempts: the one under way, the endpoints that were tried, the number of retries, and the decision after a failure (Envoy:
 * UpstreamRequest and RetryState).
 */
import { performance } from 'node:perf_hooks';
import type { RouteRetry } from '../../model/route.js';
import type { Upstream } from '../http/http-stream.js';
import { chooseEndpoint } from './load-balancer.js';
import { backoffMs, retryLimitsOf, retriesOfRule, type FailedAttempt } from './retry-policy.js';
import type { Endpoint } from './endpoint.js';

export type Next =
  /** No further attempt. `usedUp`: the retry limit is reached. */
  | { readonly kind: 'none'; readonly usedUp: boolean }
  /** Retry at the same endpoint, by a new connection. */
  | { readonly kind: 'fresh' }
  /** Retry in `inMs` at the endpoint that `choose` returns. */
  | { readonly kind: 'again'; readonly inMs: number };

export class Attempts {
  /** The retry settings of the request's rule; undefined if it has none. */
  retry: RouteRetry | undefined;
  /** The endpoint of the attempt under way. */
  endpoint: Endpoint | undefined;
  /** The upstream of the attempt under way; undefined while there is no connection. */
  upstream: Upstream | undefined;
  /** Number of attempts so far. */
  count = 0;
  /** Incremented at each attempt's begin and end: events of an earlier attempt are ignored. */
  #serial = 0;
  #tried: Set<Endpoint> | undefined;
  #retries = 0;
  #timeout: NodeJS.Timeout | undefined;
  #backoff: NodeJS.Timeout | undefined;

  /** No endpoint has failed yet. */
  get isFirst(): boolean {
    return this.#tried === undefined;
  }

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    const mayRepeat = this.#retries <= retriesOfRule(this.retry);
    const tried = this.#tried && { endpoints: this.#tried, mayRepeat };
    return chooseEndpoint(endpoints, tried, performance.now(), Math.random);
  }

  /**
   * Decides what follows a failed attempt, and counts the retry that it allows.
   * @param endpoint the endpoint of the failed attempt
   * @param ofConnection a reused connection failed, which says nothing about the endpoint
   * @param endpoints the current endpoints
   */
  after(
    failed: FailedAttempt,
    endpoint: Endpoint,
    ofConnection: boolean,
    endpoints: readonly Endpoint[],
  ): Next {
    const { elsewhere, anywhere } = retryLimitsOf(failed, this.retry);
    if (this.#retries >= elsewhere) return { kind: 'none', usedUp: this.#retries > 0 };
    this.#retries++;
    if (ofConnection && this.#retries === 1) return { kind: 'fresh' };
    const tried = (this.#tried ??= new Set());
    tried.add(endpoint);
    // A request that was not executed goes at once to an endpoint that has not failed: the backoff protects endpoints that have.
    if (failed.execution === 'none' || failed.execution === 'unlikely') {
      const next = this.choose(endpoints);
      if (next && !tried.has(next)) return { kind: 'again', inMs: 0 };
    }
    return this.#retries <= anywhere
      ? { kind: 'again', inMs: backoffMs(this.retry?.backoffMs, this.#retries, Math.random()) }
      : { kind: 'none', usedUp: anywhere > 0 };
  }

  /** An attempt at `endpoint` begins. Returns its number, for `isCurrent`. */
  begin(endpoint: Endpoint): number {
    this.leaveEndpoint();
    this.endpoint = endpoint;
    endpoint.active++;
    this.count++;
    return ++this.#serial;
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

  /** Cancels the upstream: the rest of the endpoint's response is discarded. */
  cancelUpstream(): void {
    const { upstream } = this;
    this.upstream = undefined;
    upstream?.cancel();
  }

  leaveEndpoint(): void {
    if (this.endpoint) this.endpoint.active--;
    this.endpoint = undefined;
  }

  /** Clears the timeout and the backoff. No attempt follows. */
  clearTimers(): void {
    clearTimeout(this.#timeout);
    clearTimeout(this.#backoff);
  }
}
