/**
 * Limits the token reviews that unauthenticated callers cause at the API server: a check of the token's claims, a short-lived cache, one
 * review for concurrent calls with equal tokens, and a rate limit per peer address and in total.
 */
import { createHash } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { WeftError } from '../../src/base/errors.js';
import { tokenAudience } from './join-tokens.js';
import { RateLimiter } from '../../src/base/rate-limiter.js';
import { Turns } from '../../src/base/turns.js';

const tokenBytesMax = 16 << 10;
const cache: { readonly ms: number; readonly max: number } = { ms: 30_000, max: 4_096 };
/** Allowed difference between the clocks of the API server and of this machine. */
const skewS = 60;
const reviewLimits = {
  /** Per address. A node's agent needs one review a minute, and one more when its token is renewed. */
  perAddress: { perSecond: 2, burst: 20 },
  /** All addresses together that have presented no valid token recently. */
  unknownAddresses: { perSecond: 20, burst: 100 },
  underWayMax: 16,
  waitingMax: 256,
  /** For this long after presenting a valid token, an address does not share the rate of the others. */
  knownMs: 3_600_000,
  knownMax: 8_192,
} as const;

export type ReviewLimit = 'token-review-rate' | 'token-review-waiting';

/** Whether a token's claims are those of a service account token for Weft's audience. The API server would refuse any other. Pure. */
export function isPlausible(token: string, nowMs = Date.now()): boolean {
  if (token.length > tokenBytesMax || token.split('.').length !== 3) return false;
  try {
    const { alg } = decodeProtectedHeader(token);
    const { aud, exp, sub, iss } = decodeJwt(token);
    const nowS = nowMs / 1000;
    return (
      typeof alg === 'string' &&
      /^(RS|ES|PS)(256|384|512)$|^EdDSA$/.test(alg) &&
      [aud].flat().includes(tokenAudience) &&
      typeof exp === 'number' &&
      exp > nowS - skewS &&
      typeof iss === 'string' &&
      /^system:serviceaccount:[^:]+:[^:]+$/.test(sub ?? '')
    );
  } catch {
    return false;
  }
}

interface Cached<T> {
  readonly value: T | undefined;
  readonly untilMs: number;
}

/** A map of limited size that evicts the entry set least recently. */
class Recent<V> {
  readonly #entries = new Map<string, V>();
  constructor(private readonly max: number) {}
  get(key: string): V | undefined {
    return this.#entries.get(key);
  }
  set(key: string, value: V): void {
    this.#entries.delete(key);
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined && this.#entries.size >= this.max) this.#entries.delete(oldest);
    this.#entries.set(key, value);
  }
}

export class ReviewLimits<T> {
  // Two caches, so that forged tokens cannot evict valid ones.
  readonly #good = new Recent<Cached<T>>(cache.max);
  readonly #bad = new Recent<Cached<T>>(cache.max);
  readonly #underWayByToken = new Map<string, Promise<T | undefined>>();
  readonly #known = new Recent<number>(reviewLimits.knownMax);
  readonly #perAddress = new RateLimiter(reviewLimits.perAddress);
  readonly #unknownAddresses = new RateLimiter(reviewLimits.unknownAddresses);
  readonly #turns: Turns;

  constructor(
    private readonly onLimit: (limit: ReviewLimit) => void = () => undefined,
    private readonly cacheMs = cache.ms,
  ) {
    this.#turns = new Turns(reviewLimits, () => {
      this.onLimit('token-review-waiting');
      return new WeftError('WEFT_TOKEN_REVIEW_LIMIT', 'too many tokens wait for their review: try again', {
        source: 'internal',
        retryable: true,
      });
    });
  }

  /**
   * Returns the review of a token; undefined if the token is not valid. Errors: those of `ask`; WEFT_TOKEN_REVIEW_LIMIT, if a limit is
   * reached and the token cannot be reviewed.
   */
  async review(token: string, address: string, ask: () => Promise<T | undefined>): Promise<T | undefined> {
    if (!isPlausible(token)) return undefined;
    const key = createHash('sha256').update(token).digest('base64');
    for (const cached of [this.#good.get(key), this.#bad.get(key)])
      if (cached && cached.untilMs > performance.now()) return cached.value;
    const underWay = this.#underWayByToken.get(key);
    if (underWay) return underWay;
    const known = (this.#known.get(address) ?? 0) > performance.now();
    // The address's own rate is checked first: an address over its rate must not use up the shared rate.
    if (!this.#perAddress.take(address) || (!known && !this.#unknownAddresses.take(''))) {
      this.onLimit('token-review-rate');
      throw new WeftError(
        'WEFT_TOKEN_REVIEW_LIMIT',
        `rate limit of token reviews reached (peer ${address}): try again`,
        {
          source: 'downstream',
          retryable: true,
        },
      );
    }
    const result = this.#turns.run(ask).then((value) => {
      const untilMs = performance.now() + this.cacheMs;
      (value === undefined ? this.#bad : this.#good).set(key, { value, untilMs });
      if (value !== undefined) this.#known.set(address, performance.now() + reviewLimits.knownMs);
      return value;
    });
    this.#underWayByToken.set(key, result);
    try {
      return await result;
    } finally {
      this.#underWayByToken.delete(key);
    }
  }
}
