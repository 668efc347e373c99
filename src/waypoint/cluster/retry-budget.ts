/**
 * A limit of a cluster's retries, as a share of its requests. Without it, retries of an overloaded Service multiply its load. Two bounds hold
 * at once. Retries under way are a share of the requests under way (Envoy: retry_budget). Retries over time are the same share of the requests
 * over time (Finagle and Linkerd: a balance that requests fill and retries empty), because a retry may be much shorter than its request.
 */

export interface RetryBudgetConfig {
  /** Retries in percent of the requests (Envoy's default: 20). */
  readonly percent: number;
  /**
   * Retries under way that are always allowed, so that a Service with few requests has retries at all (Envoy's default: 3); and as many
   * retries per second beyond the share.
   */
  readonly retriesMin: number;
}

/** Time after which requests no longer allow a retry (Linkerd: ttl). */
const windowMs = 10_000;

export class RetryBudget {
  /** Retries under way, and those that wait for their backoff. */
  active = 0;
  /** Requests that have begun. Their retries do not count. */
  requests = 0;
  #config: RetryBudgetConfig | undefined;
  /** The requests that the balance contains. */
  #counted = 0;
  /** Retries that the requests of the last seconds allow. */
  #balance = 0;
  /** Retries of the minimum per second that are left. */
  #reserve = 0;
  #filledMs: number;

  constructor(config: RetryBudgetConfig | undefined, nowMs: number) {
    this.#filledMs = nowMs;
    this.configure(config);
  }

  /** Applies another configuration. What is counted stays. Undefined: no limit. */
  configure(config: RetryBudgetConfig | undefined): void {
    if (config && config.retriesMin !== this.#config?.retriesMin) this.#reserve = config.retriesMin;
    this.#config = config;
  }

  /**
   * Counts a retry, until `release`. False: the budget is used up, and nothing was counted.
   * @param underWay all requests under way, retries included
   * @param nowMs by the monotonic clock
   */
  take(underWay: number, nowMs: number): boolean {
    const config = this.#config;
    if (config) {
      if (this.active >= Math.max(config.retriesMin, Math.floor((underWay * config.percent) / 100)))
        return false;
      this.#fill(config, nowMs);
      if (this.#balance >= 1) this.#balance--;
      else if (this.#reserve >= 1) this.#reserve--;
      else return false;
    }
    this.active++;
    return true;
  }

  release(): void {
    this.active--;
  }

  #fill({ percent, retriesMin }: RetryBudgetConfig, nowMs: number): void {
    const passedMs = Math.max(0, nowMs - this.#filledMs);
    const begun = this.requests - this.#counted;
    this.#filledMs = nowMs;
    this.#counted = this.requests;
    // When each of the requests began is unknown: in a longer time than the window they count as evenly spread.
    const recent = begun * Math.min(1, windowMs / Math.max(1, passedMs));
    this.#balance = this.#balance * Math.exp(-passedMs / windowMs) + (recent * percent) / 100;
    this.#reserve = Math.min(retriesMin, this.#reserve + (retriesMin * passedMs) / 1000);
  }
}
