/**
 * The local rate limits of a worker. They are apart from the filters that use them, so that buckets survive changes of configuration. A limit is
 * forgotten when no request has used it for some time.
 */
import { FairLimit } from '../../base/fair-limit.js';
import { namespaceOfKey } from '../../model/ownership.js';
import type { ServicePort } from '../authorization/reachable.js';
import { ownRow, type BucketRows } from './bucket-rows.js';
import { LimitBuckets, type AllBuckets } from './limit-buckets.js';

/** Buckets of all limits of a worker. One limit has at most half of them, one namespace two thirds. */
export const bucketsMax = 65_536;
/** Longer than Prometheus' lookback (5 min), since a limit's counts go with it. */
const idleNsMax = 15 * 60e9;
/** Buckets of one limit that one sweep looks at. */
const sweepSteps = 1_024;

export class RateLimits {
  readonly #limits = new Map<string, LimitBuckets>();
  readonly #all: AllBuckets;

  /** Limits that this process counts alone, for tests. */
  static inMemory(
    nowNs: () => number = () => performance.now() * 1e6,
    onShareUsed: () => void = () => undefined,
  ): RateLimits {
    return new RateLimits({ hold: ownRow, release: () => undefined }, nowNs, onShareUsed);
  }

  /**
   * @param nowNs a monotonic clock that all workers of the waypoint share
   * @param onShareUsed called when a client or a limit has used up its share of buckets
   */
  constructor(
    rows: BucketRows,
    private readonly nowNs: () => number,
    onShareUsed: () => void,
    max = bucketsMax,
  ) {
    this.#all = { rows, shares: new FairLimit(max), onShareUsed };
  }

  /** The limits by policy, for metrics. */
  *[Symbol.iterator](): Iterator<{ readonly policy: string; readonly buckets: LimitBuckets }> {
    for (const [name, buckets] of this.#limits) yield { policy: policyOf(name), buckets };
  }

  now(): number {
    return this.nowNs();
  }

  /**
   * The buckets of a limit. Callers keep them while they are not forgotten.
   * @param policy names the policy and its part
   * @param keys the keys: buckets of other keys mean something else
   */
  of({ service, port }: ServicePort, policy: string, keys: string): LimitBuckets {
    const name = `${policy}\0${service} ${port} ${keys}`;
    let limit = this.#limits.get(name);
    if (!limit) {
      limit = new LimitBuckets(this.#all, name, namespaceOfKey(service));
      limit.usedNs = this.nowNs();
      this.#limits.set(name, limit);
    }
    return limit;
  }

  /** Drops buckets and limits that are not in use. Called about once a second. */
  sweep(): void {
    const nowNs = this.nowNs();
    for (const [name, limit] of this.#limits) {
      limit.sweep(nowNs, sweepSteps);
      if (nowNs - limit.usedNs < idleNsMax) continue;
      limit.forget(nowNs);
      this.#limits.delete(name);
    }
  }
}

const policyOf = (name: string): string => name.slice(0, name.indexOf('\0'));
