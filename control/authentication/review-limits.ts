/**
 * Limits of the token reviews that unauthenticated callers cause at the API server: a check of the token's claims, a short-lived cache, one
 * review for equal tokens under way, and a rate by peer address and in all.
 */
import { createHash } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { WeftError } from '../../src/base/errors.js';
import { tokenAudience } from './join-tokens.js';
import { RateLimiter } from '../../src/base/rate-limiter.js';

const tokenBytesMax = 16 << 10;
const cache: { readonly ms: number; readonly max: number } = { ms: 30_000, max: 4_096 };
/** Allowed difference between the clocks of the API server and of this machine. */
const skewS = 60;
const reviewLimits = {
  /** By address: a node's agent asks once a minute, and again when its token is renewed. */
  perAddress: { perSecond: 2, burst: 20 },
  /** Of all addresses that have shown no good token of late. */
  strangers: { perSecond: 20, burst: 100 },
  underWayMax: 16,
  waitingMax: 256,
  /** Addresses that showed a good token: they do not share the rate with the rest. */
  knownMs: 3_600_000,
  knownMax: 8_192,
} as const;

export type ReviewLimit = 'token-review-rate' | 'token-review-waiting';

/** Whether a token's claims are those of a service account token for our audience. The API server would refuse any other. Pure. */
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

/** A map that forgets the entry that was set least recently. */
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
  // Two caches: made-up tokens must not evict the good ones.
  readonly #good = new Recent<Cached<T>>(cache.max);
  readonly #bad = new Recent<Cached<T>>(cache.max);
  readonly #underWayByToken = new Map<string, Promise<T | undefined>>();
  readonly #known = new Recent<number>(reviewLimits.knownMax);
  readonly #perAddress = new RateLimiter(reviewLimits.perAddress);
  readonly #strangers = new RateLimiter(reviewLimits.strangers);
  #underWay = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    private readonly onLimit: (limit: ReviewLimit) => void = () => undefined,
    private readonly cacheMs = cache.ms,
  ) {}

  /**
   * The review of a token; undefined where it is not valid. Errors: those of `ask`; WEFT_TOKEN_REVIEW_LIMIT, where a limit was reached and
   * the token could not be reviewed.
   */
  async review(token: string, address: string, ask: () => Promise<T | undefined>): Promise<T | undefined> {
    if (!isPlausible(token)) return undefined;
    const key = createHash('sha256').update(token).digest('base64');
    for (const cached of [this.#good.get(key), this.#bad.get(key)])
      if (cached && cached.untilMs > performance.now()) return cached.value;
    const underWay = this.#underWayByToken.get(key);
    if (underWay) return underWay;
    const known = (this.#known.get(address) ?? 0) > performance.now();
    // The address's own rate first: an address that is over it takes nothing from the shared rate.
    if (!this.#perAddress.take(address) || (!known && !this.#strangers.take(''))) {
      this.onLimit('token-review-rate');
      throw new WeftError('WEFT_TOKEN_REVIEW_LIMIT', `too many tokens to review from ${address}: try again`, {
        source: 'downstream',
        retryable: true,
      });
    }
    const result = this.#inTurn(ask).then((value) => {
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

  async #inTurn(ask: () => Promise<T | undefined>): Promise<T | undefined> {
    if (this.#underWay >= reviewLimits.underWayMax) {
      if (this.#waiting.length >= reviewLimits.waitingMax) {
        this.onLimit('token-review-waiting');
        throw new WeftError('WEFT_TOKEN_REVIEW_LIMIT', 'too many tokens wait for their review: try again', {
          source: 'internal',
          retryable: true,
        });
      }
      // A review that ends hands its place to the next one, so the count stays.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#underWay++;
    try {
      return await ask();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#underWay--;
    }
  }
}
