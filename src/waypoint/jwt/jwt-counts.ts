/** Counts of tokens, by policy, issuer and result. They are apart from the filters, so that they survive changes of configuration. */
import type { Refusal } from './issuer.js';

/** `absent`: the request has no token and needs none. `missing`: it needs one. `busy`: too many tokens are being verified. */
export type JwtResult = 'valid' | 'absent' | 'missing' | 'busy' | Refusal;

/** Policies and issuers with counts of their own. Further ones are counted as `other`. */
const seriesMax = 2_000;

export type ResultCounts = Map<JwtResult, number>;

export class JwtCounts {
  /** Look-ups in the caches, and signatures that were verified. */
  hits = 0;
  misses = 0;
  verifications = 0;
  /** Requests to fetch a key set again. */
  refetches = 0;
  readonly #byIssuer = new Map<string, { policy: string; issuer: string; results: ResultCounts }>();

  /** The counts of a policy's issuer. @param issuer one of the configuration; empty: unknown */
  of(policy: string, issuer: string): ResultCounts {
    const key = `${policy} ${issuer}`;
    let found = this.#byIssuer.get(key);
    if (!found) {
      if (this.#byIssuer.size >= seriesMax && policy !== 'other') return this.of('other', 'other');
      this.#byIssuer.set(key, (found = { policy, issuer, results: new Map() }));
    }
    return found.results;
  }

  *[Symbol.iterator](): Iterator<{
    readonly policy: string;
    readonly issuer: string;
    readonly results: ResultCounts;
  }> {
    yield* this.#byIssuer.values();
  }
}
