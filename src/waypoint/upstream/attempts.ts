/**
 * A request's attempts: the one under way, where the request was tried, how often it was sent again, and what follows a failure (Envoy:
 * UpstreamRequest and RetryState).
 */
import { performance } from 'node:perf_hooks';
import type { RouteRetry } from '../../model/route.js';
import type { Upstream } from '../http/http-stream.js';
import { chooseEndpoint } from './load-balancer.js';
import { backoffMs, retryLimitsOf, retriesOfRule, type FailedAttempt } from './retry-policy.js';
import type { Endpoint } from './endpoint.js';

export type Next =
  /** `usedUp`: it was sent again as often as it may be. */
  | { readonly kind: 'none'; readonly usedUp: boolean }
  /** To the same endpoint, by a connection that was not used before. */
  | { readonly kind: 'fresh' }
  /** To the endpoint that `choose` gives. */
  | { readonly kind: 'again'; readonly inMs: number };

export class Attempts {
  /** Of the rule that holds for the request; undefined where it has none. */
  retry: RouteRetry | undefined;
  /** Where the attempt under way goes. */
  endpoint: Endpoint | undefined;
  /** Undefined while there is no connection. */
  upstream: Upstream | undefined;
  /** Attempts so far. */
  count = 0;
  /** Increased with each attempt and at its end: what belongs to a former one is not listened to. */
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
   * Counts the repeat that it allows.
   * @param endpoint where the attempt failed
   * @param ofConnection the failure is that of a kept connection, and says nothing of the endpoint
   * @param endpoints those that there are now
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
    // What nobody has executed goes at once to an endpoint that did not fail yet: the backoff spares those that did.
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

  /** How long the attempt may take, its whole response included. */
  limit(ms: number, onTimeout: () => void): void {
    this.#timeout = setTimeout(onTimeout, ms);
  }

  clearLimit(): void {
    clearTimeout(this.#timeout);
  }

  /** The attempt is over, another follows: what still comes of this one is not listened to. */
  leave(): void {
    this.leaveEndpoint();
    this.#serial++;
  }

  backOff(ms: number, next: () => void): void {
    this.#backoff = setTimeout(next, ms);
  }

  /** Nothing of the endpoint's response is wanted any more. */
  cancelUpstream(): void {
    const { upstream } = this;
    this.upstream = undefined;
    upstream?.cancel();
  }

  leaveEndpoint(): void {
    if (this.endpoint) this.endpoint.active--;
    this.endpoint = undefined;
  }

  /** No attempt follows. */
  clearTimers(): void {
    clearTimeout(this.#timeout);
    clearTimeout(this.#backoff);
  }
}
