/** Token buckets, one per key (a peer's address, a caller, a pod, a namespace), in bounded memory. */

export interface Rate {
  readonly perSecond: number;
  /** How many may come at once after a pause. */
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
    /** Keys that are kept; the one that was used least recently goes first. */
    private readonly keysMax = 8_192,
  ) {}

  /** Keys of which something is kept. */
  get size(): number {
    return this.#buckets.size;
  }

  /** True where one more is within the rate of `key`. A clock that jumps gives at most one burst, and takes nothing away. */
  take(key: string, nowMs = performance.now()): boolean {
    return this.takeOrWait(key, nowMs) === 0;
  }

  /** As `take`: 0 where it is true. Else in how many ms it can be; infinite where the rate is 0. */
  takeOrWait(key: string, nowMs = performance.now()): number {
    const { perSecond, burst } = this.rate;
    let bucket = this.#buckets.get(key);
    if (bucket) {
      // To the end: the order is that of the last use.
      this.#buckets.delete(key);
      const seconds = Math.max(0, nowMs - bucket.atMs) / 1000;
      bucket.tokens = Math.min(burst, bucket.tokens + seconds * perSecond);
      bucket.atMs = nowMs;
    } else {
      if (this.#buckets.size >= this.keysMax) {
        // A key that is forgotten comes back with a full bucket: the limit of all keys together is kept elsewhere.
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
