/** A request's attempts: where it was tried, how often it was sent again, and what follows a failure. */
import { performance } from 'node:perf_hooks';
import type { RouteRetry } from '../../model/route.js';
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

export class RetryState {
  #tried: Set<Endpoint> | undefined;
  #repeats = 0;

  /** Of the rule that holds for the request; undefined where it has none. */
  retry: RouteRetry | undefined;

  /** No endpoint has failed yet. */
  get isFirst(): boolean {
    return this.#tried === undefined;
  }

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    const mayRepeat = this.#repeats <= retriesOfRule(this.retry);
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
    if (this.#repeats >= elsewhere) return { kind: 'none', usedUp: this.#repeats > 0 };
    this.#repeats++;
    if (ofConnection && this.#repeats === 1) return { kind: 'fresh' };
    const tried = (this.#tried ??= new Set());
    tried.add(endpoint);
    // What nobody has executed goes at once to an endpoint that did not fail yet: the backoff spares those that did.
    if (failed.execution === 'none' || failed.execution === 'unlikely') {
      const next = this.choose(endpoints);
      if (next && !tried.has(next)) return { kind: 'again', inMs: 0 };
    }
    return this.#repeats <= anywhere
      ? { kind: 'again', inMs: backoffMs(this.retry?.backoffMs, this.#repeats, Math.random()) }
      : { kind: 'none', usedUp: anywhere > 0 };
  }
}
