/** Limits responses that are computed, for each user and for all. */
import { RateLimiter } from '../../src/base/rate-limiter.js';
import type { User } from './front-proxy.js';
import { StatusError } from './status.js';

/** With 10000 edges one response takes a tenth of a second, in which the control plane does nothing else. */
export const computedRates = {
  perUser: { perSecond: 2, burst: 40 },
  all: { perSecond: 10, burst: 100 },
} as const;

export class ComputedRates {
  readonly #perUser = new RateLimiter(computedRates.perUser, 1_024);
  readonly #all = new RateLimiter(computedRates.all);

  constructor(private readonly onLimit: (limit: string) => void) {}

  /** Error: StatusError TooManyRequests. */
  take({ user }: User): void {
    // The user's own rate is checked first: a user above it must not use up the rate of all.
    const waitMs = this.#perUser.takeOrWait(user) || this.#all.takeOrWait('');
    if (waitMs === 0) return;
    this.onLimit('metrics-api-rate');
    throw new StatusError('TooManyRequests', 'too many requests: try again', Math.ceil(waitMs / 1000));
  }
}
