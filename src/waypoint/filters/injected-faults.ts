/** The faults that a worker injects, counted by policy. They are apart from the filters, so that counts survive changes of configuration. */

export interface FaultCounts {
  delays: number;
  aborts: number;
  /** Faults that were not injected, because too many requests were delayed. */
  overflows: number;
  /** Requests that are being delayed. */
  active: number;
}

/** Policies with counts. */
const policiesMax = 2_000;

export class InjectedFaults {
  readonly #counts = new Map<string, FaultCounts>();

  /** The counts of a policy. Callers look them up for each request: at the limit, counts of a policy that delays nothing are forgotten. */
  of(policy: string): FaultCounts {
    let counts = this.#counts.get(policy);
    if (counts) return counts;
    if (this.#counts.size >= policiesMax) this.#forgetOne();
    counts = { delays: 0, aborts: 0, overflows: 0, active: 0 };
    this.#counts.set(policy, counts);
    return counts;
  }

  #forgetOne(): void {
    for (const [policy, { active }] of this.#counts)
      if (active === 0) return void this.#counts.delete(policy);
  }

  *[Symbol.iterator](): Iterator<{ readonly policy: string; readonly counts: FaultCounts }> {
    for (const [policy, counts] of this.#counts) yield { policy, counts };
  }
}
