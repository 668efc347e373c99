/** Token buckets, one per key (for example a peer's address, a caller, a pod or a namespace), in bounded memory. */

export interface Rate {
  readonly perSecond: number;
  /** Number of events that may arrive at once after a pause. */
  readonly burst: number;
}
interface Bucket {
  tokens: number;
  atMs: number;
}

export class RateLimiter {
  readonly #buckets = new Map<string, Bucket>();

  constructor(
    private readonly rate: Rate,
    /** Number of keys that are kept; the least recently used key is dropped first. */
    private readonly keysMax = 8_192,
  ) {}

  /** Number of keys that are kept. */
  get size(): number {
    return this.#buckets.size;
  }

  /** True if one more event is within the rate of `key`. A clock jump gives at most one burst and takes no tokens away. */
  take(key: string, nowMs = performance.now()): boolean {
    return this.takeOrWait(key, nowMs) === 0;
  }

  /** Like `take`: 0 if the event is within the rate, otherwise the ms until it can be; infinite if the rate is 0. */
  takeOrWait(key: string, nowMs = performance.now()): number {
    const { perSecond, burst } = this.rate;
    let bucket = this.#buckets.get(key);
    if (bucket) {
      // Set again below, which moves the key to the end: the map is ordered by last use.
      this.#buckets.delete(key);
      const seconds = Math.max(0, nowMs - bucket.atMs) / 1000;
      bucket.tokens = Math.min(burst, bucket.tokens + seconds * perSecond);
      bucket.atMs = nowMs;
    } else {
      if (this.#buckets.size >= this.keysMax) {
        // A dropped key returns with a full bucket. The limit of all keys together is enforced elsewhere.
        const [oldest] = this.#buckets.keys();
        if (oldest !== undefined) this.#buckets.delete(oldest);
      }
      bucket = { tokens: burst, atMs: nowMs };
    }
    this.#buckets.set(key, bucket);
    if (bucket.tokens < 1) return ((1 - bucket.tokens) / perSecond) * 1000;
    bucket.tokens--;
    return 0;
  }
}
