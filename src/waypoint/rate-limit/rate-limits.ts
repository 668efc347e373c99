/**
 * The local rate limits of a worker. They are apart from the filters that use them, so that buckets survive changes of configuration. A limit is
 * forgotten when no request has used it for some time.
 */
import { createHash } from 'node:crypto';
import { FairLimit } from '../../base/fair-limit.js';
import { namespaceOfKey } from '../../model/ownership.js';
import type { ServicePort } from '../authorization/reachable.js';
import { bucketSlots } from '../shared/bucket-layout.js';
import { ownRow, type BucketRows } from './bucket-rows.js';
import { LimitBuckets, type AllBuckets } from './limit-buckets.js';

/** Buckets of all limits of a waypoint: half of the places in the shared memory. One limit has at most half of them, one namespace two thirds. */
export const bucketsMax = bucketSlots / 2;
/** Longer than Prometheus' lookback (5 min), since a limit's counts go with it. */
const idleNsMax = 15 * 60e9;
/** Buckets of one limit that one sweep looks at. */
const sweepSteps = 1_024;

export class RateLimits {
  readonly #limits = new Map<string, LimitBuckets>();
  readonly #all: AllBuckets;
  readonly #max: number;

  /** Limits that this process counts alone, for tests. */
  static inMemory(
    nowNs: () => number = () => performance.now() * 1e6,
    onShareUsed: () => void = () => undefined,
  ): RateLimits {
    const rows: BucketRows = {
      hold: (_name, create = true) => (create ? ownRow() : undefined),
      release: () => undefined,
    };
    return new RateLimits(rows, 1, nowNs, onShareUsed);
  }

  /**
   * @param workers of the waypoint. Each makes its share of the buckets, and uses those of the others
   * @param nowNs a monotonic clock that all workers of the waypoint share
   * @param onShareUsed called when a client or a limit has used up its share of buckets
   */
  constructor(
    rows: BucketRows,
    workers: number,
    private readonly nowNs: () => number,
    onShareUsed: () => void,
    max = bucketsMax,
  ) {
    this.#max = Math.floor(max / workers);
    this.#all = { rows, nowNs, shares: new FairLimit(this.#max), onShareUsed };
  }

  /** The limits by policy, for metrics. */
  *[Symbol.iterator](): Iterator<{ readonly policy: string; readonly buckets: LimitBuckets }> {
    for (const [name, buckets] of this.#limits) yield { policy: policyOf(name), buckets };
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
      limit = new LimitBuckets(this.#all, digestOf(name), namespaceOfKey(service), this.#max / 2);
      limit.idleSinceNs = this.nowNs();
      this.#limits.set(name, limit);
    }
    return limit;
  }

  /** Drops buckets and limits that are not in use. Called about once a second. */
  sweep(): void {
    const nowNs = this.nowNs();
    for (const [name, limit] of this.#limits) {
      limit.sweep(nowNs, sweepSteps);
      if (limit.isUsed) limit.idleSinceNs = nowNs;
      limit.isUsed = false;
      if (nowNs - limit.idleSinceNs < idleNsMax) continue;
      limit.forget(nowNs);
      this.#limits.delete(name);
    }
  }
}

/** A short name of a limit: the name of each of its buckets begins with it. */
const digestOf = (name: string): string => createHash('sha256').update(name).digest('base64url').slice(0, 22);
const policyOf = (name: string): string => name.slice(0, name.indexOf('\0'));
