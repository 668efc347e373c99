/** Token buckets, one per key (a peer's address, a caller), in bounded memory. */

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

  /** True where one more is within the rate of `key`. `nowMs` of a clock that does not jump. */
  take(key: string, nowMs = performance.now()): boolean {
    const { perSecond, burst } = this.rate;
    const known = this.#buckets.get(key);
    this.#buckets.delete(key);
    const tokens = known ? Math.min(burst, known.tokens + ((nowMs - known.atMs) / 1000) * perSecond) : burst;
    const allowed = tokens >= 1;
    if (!known && this.#buckets.size >= this.keysMax) {
      // A key that is forgotten comes back with a full bucket: the limit of all keys together is kept elsewhere.
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    this.#buckets.set(key, { tokens: allowed ? tokens - 1 : tokens, atMs: nowMs });
    return allowed;
  }
}
