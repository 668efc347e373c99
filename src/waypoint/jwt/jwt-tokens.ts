/**
 * What a worker knows of tokens. A cached token says which public key verified it, and nothing of configuration: issuer, audience, times and
 * whether the key is still one of the issuer's are checked for each request. A removed key is therefore of no use at once.
 */
import { hash } from 'node:crypto';
import { compactVerify, errors } from 'jose';
import { FairLimit } from '../../base/fair-limit.js';
import type { WaypointLimit } from '../limits.js';
import type { Client } from '../listener/client.js';
import { FairCache } from './fair-cache.js';
import type { VerificationKey } from './key-set.js';
import type { ValidToken } from './issuer.js';
import { JwtCounts } from './jwt-counts.js';
import { KeyRefetches } from './key-refetches.js';
import { decodeToken, type DecodedToken, type Faulty } from './token.js';

export interface JwtLimits {
  /** Bytes of tokens that were verified, and of those that were refused. Estimated. */
  readonly verifiedBytesMax: number;
  readonly verifiedMax: number;
  readonly refusedBytesMax: number;
  readonly refusedMax: number;
  /** Time for which a refused token is remembered. */
  readonly refusedMs: number;
  /** Tokens whose signatures are being verified. */
  readonly verificationsMax: number;
}
export const jwtLimits: JwtLimits = {
  verifiedBytesMax: 32 << 20,
  verifiedMax: 20_000,
  refusedBytesMax: 4 << 20,
  refusedMax: 8_192,
  refusedMs: 60_000,
  verificationsMax: 1_024,
};

/** A token that the client sent. */
export interface KnownToken {
  readonly decoded: DecodedToken | Faulty;
  /** Keys that have verified the signature, and those that have not, by `VerificationKey.id`. */
  readonly verifiedBy: Set<string>;
  readonly refusedBy: Set<string>;
  /** A signature is being verified. */
  pending: Promise<void> | undefined;
  /** What the issuer with this serial made of the token. */
  view: { readonly serial: number; readonly valid: ValidToken } | undefined;
}

/** Memory of an entry apart from its claims, of the claims' objects and lists, of any value, of a character: `jwt-tokens.test.ts` measures it. */
const entryBytes = 768;
const containerBytes = 128;
const valueBytes = 48;
const charBytes = 2;
function bytesOf({ decoded }: KnownToken, token: string): number {
  if ('fault' in decoded) return entryBytes;
  const { containers, values } = decoded.size;
  return entryBytes + containerBytes * containers + valueBytes * values + charBytes * token.length;
}

export interface JwtTokensOptions {
  readonly limits?: JwtLimits;
  readonly nowMs?: () => number;
  /** Called for a key set that lacks the key of a token: rarely, whatever clients send (key-refetches.ts). Absent: nobody can fetch it again. */
  readonly onUnknownKey?: (uri: string) => void;
}

type Asking = Pick<Client, 'name' | 'group'>;

export class JwtTokens {
  readonly counts = new JwtCounts();
  /** Key sets that lack the key of a token. */
  readonly refetches: KeyRefetches;
  readonly #verified: FairCache<KnownToken>;
  readonly #refused: FairCache<KnownToken>;
  readonly #verifying: FairLimit;
  /** Tokens whose signatures are being verified, by group and digest. */
  readonly #pending = new Map<string, KnownToken>();

  private readonly limits: JwtLimits;
  private readonly nowMs: () => number;

  constructor(
    readonly onLimitReached: (limit: WaypointLimit) => void,
    { limits = jwtLimits, nowMs = () => performance.now(), onUnknownKey }: JwtTokensOptions = {},
  ) {
    this.limits = limits;
    this.nowMs = nowMs;
    this.refetches = new KeyRefetches((uri) => {
      this.counts.refetches++;
      onUnknownKey?.(uri);
    }, nowMs);
    const evicted = (): void => onLimitReached('jwt-tokens');
    this.#verified = new FairCache({ bytes: limits.verifiedBytesMax, entries: limits.verifiedMax }, evicted);
    this.#refused = new FairCache({ bytes: limits.refusedBytesMax, entries: limits.refusedMax });
    this.#verifying = new FairLimit(limits.verificationsMax);
  }

  get size(): { readonly entries: number; readonly bytes: number } {
    return {
      entries: this.#verified.size + this.#refused.size,
      bytes: this.#verified.bytes + this.#refused.bytes,
    };
  }

  /** The digest by which a token is remembered. */
  static digestOf(token: string): string {
    return hash('sha256', token, 'base64');
  }

  /** Reads a token, or remembers it. */
  of({ group }: Asking, digest: string, token: string): KnownToken {
    const now = this.nowMs();
    const known =
      this.#verified.get(group, digest, now) ??
      this.#refused.get(group, digest, now) ??
      (this.#pending.size > 0 ? this.#pending.get(pendingKey(group, digest)) : undefined);
    if (known) {
      this.counts.hits++;
      return known;
    }
    this.counts.misses++;
    const decoded = decodeToken(token);
    return { decoded, verifiedBy: new Set(), refusedBy: new Set(), pending: undefined, view: undefined };
  }

  /** Remembers that a token is of no use. */
  refuse({ group }: Asking, digest: string, token: string, known: KnownToken): void {
    if (known.verifiedBy.size > 0) return;
    this.#refused.set(group, digest, known, bytesOf(known, token), this.nowMs() + this.limits.refusedMs);
  }

  /**
   * Verifies a signature by the first key that does. False: no key does. `busy`: too many verifications are under way. Requests with the same
   * new token at once verify it once.
   */
  async verify(
    client: Asking,
    digest: string,
    token: string,
    known: KnownToken,
    keys: readonly VerificationKey[],
  ): Promise<boolean | 'busy'> {
    for (;;) {
      if (isVerifiedBy(known, keys)) return true;
      const key = keys.find(({ id }) => !known.refusedBy.has(id));
      if (!key) return false;
      if (!known.pending) {
        const { name, group } = client;
        if (this.#verifying.take(name, group) !== undefined) {
          this.onLimitReached('jwt-verifications');
          return 'busy';
        }
        const place = pendingKey(group, digest);
        this.#pending.set(place, known);
        known.pending = this.#try(client, digest, token, known, key).finally(() => {
          known.pending = undefined;
          this.#pending.delete(place);
          this.#verifying.release(name, group);
        });
      }
      await known.pending;
    }
  }

  async #try(
    client: Asking,
    digest: string,
    token: string,
    known: KnownToken,
    key: VerificationKey,
  ): Promise<void> {
    this.counts.verifications++;
    if (!(await isSignedBy(token, known.decoded, key))) {
      if (known.refusedBy.size >= refusedByMax) known.refusedBy.clear();
      known.refusedBy.add(key.id);
      return this.refuse(client, digest, token, known);
    }
    known.verifiedBy.add(key.id);
    this.#refused.delete(client.group, digest);
    const { decoded } = known;
    const leftMs = 'fault' in decoded ? 0 : Math.max(0, decoded.expires * 1_000 - Date.now());
    const untilMs = this.nowMs() + leftMs + clockSkewMsMax;
    this.#verified.set(client.group, digest, known, bytesOf(known, token), untilMs);
  }
}

/** The greatest difference of clocks that a policy may allow. */
const clockSkewMsMax = 600_000;
/** Keys that are remembered not to have signed a token. More than an issuer's keys that are tried. */
const refusedByMax = 64;

/** Whether one of the keys has verified the token. */
export const isVerifiedBy = ({ verifiedBy }: KnownToken, keys: readonly VerificationKey[]): boolean =>
  keys.some(({ id }) => verifiedBy.has(id));

const pendingKey = (group: string, digest: string): string => `${digest} ${group}`;

async function isSignedBy(
  token: string,
  decoded: KnownToken['decoded'],
  { key }: VerificationKey,
): Promise<boolean> {
  if ('fault' in decoded) return false;
  try {
    await compactVerify(token, key, { algorithms: [decoded.algorithm] });
    return true;
  } catch (error) {
    if (error instanceof errors.JOSEError) return false;
    throw error;
  }
}
