/**
 * A limit of a cluster's retries under way, as a share of its requests under way (Envoy: retry_budget). Without it, retries of an
 * overloaded Service multiply its load.
 */

export interface RetryBudgetConfig {
  /** Retries under way, in percent of the requests under way (Envoy's default: 20). */
  readonly percent: number;
  /** Retries that are always allowed, so that a Service with few requests has retries at all (Envoy's default: 3). */
  readonly retriesMin: number;
}

export class RetryBudget {
  /** Retries under way, and those that wait for their backoff. */
  active = 0;

  constructor(private readonly config: RetryBudgetConfig | undefined) {}

  /** The same retries under way, by another configuration. Undefined: no limit. */
  with(config: RetryBudgetConfig | undefined): RetryBudget {
    const next = new RetryBudget(config);
    next.active = this.active;
    return next;
  }

  /** Counts a retry, until `release`. False: the budget is used up, and nothing was counted. `requests`: all requests under way, retries included. */
  take(requests: number): boolean {
    if (this.config && this.active >= this.#max(this.config, requests)) return false;
    this.active++;
    return true;
  }

  release(): void {
    this.active--;
  }

  #max({ percent, retriesMin }: RetryBudgetConfig, requests: number): number {
    return Math.max(retriesMin, Math.floor((requests * percent) / 100));
  }
}
