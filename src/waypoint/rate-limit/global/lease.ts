/**
 * The hits of one key that the rate limit service has granted in advance, in one worker. A lease ends with the window of the service's
 * count: hits that were not used by then are lost, so a limit is never exceeded by a lease.
 */
import type { RateLimitDescriptor_Entry as DescriptorEntry } from '../../../discovery/gen/ratelimit.js';

/** A lease is for the requests that are expected within this time. */
const leaseMs = 100;
/** Shorter times between two leases count as this long, so that a lease at most doubles. */
const measureMsMin = 50;
/** Part of what is left of the limit that one lease may have. Towards the end of the limit leases become single hits. */
const partOfLeft = 8;
/** Part of the limit that a lease may have while it is unknown what is left. */
const partOfLimit = 20;
/** The next lease is asked for ahead of its need only if it could have as many hits. */
const aheadMin = 4;

/** What a limit is, apart from what it counts. */
export interface LimitConfig {
  readonly requests: number;
  /** As Envoy's API numbers units (model/rate-limit.ts). */
  readonly unit: number;
}

/** `over`: the limit is reached. `failed`: the service has not responded. */
export type LeaseResult = 'ok' | 'over' | 'failed';
/** A request that waits for a lease. */
export type Waiter = (result: LeaseResult) => void;

/** A response of the service to one key. */
export interface Grant {
  readonly asked: number;
  readonly granted: number;
  /** When the call began, by the monotonic clock: the window ends here before it ends at the service. */
  readonly atMs: number;
  /** From then to the end of the window; undefined: the service does not say. */
  readonly resetMs: number | undefined;
  /** Hits that are left in the window; undefined: the service does not say. */
  readonly left: number | undefined;
  /** The service grants parts of what is asked for. Others grant all or nothing, and count hits that they refuse. */
  readonly isPartial: boolean;
}

export class Lease {
  /** Hits that are granted and not used. */
  #hits = 0;
  #isOver = false;
  /** A service that grants all or nothing has refused several hits together: in this window each is asked for alone. */
  #isSingle = false;
  /** Hits used since the last call. */
  #used = 0;
  #askedAtMs = 0;
  /** The end of the service's window, by the monotonic clock. */
  resetAtMs = 0;
  /** Hits that were left at the last response of this window; undefined: unknown. */
  left: number | undefined;
  /** The limit that the service states. */
  limit: number;
  usedAtMs = 0;
  readonly waiters = new Set<Waiter>();
  /** The owner is beyond its share of counters: the hits are those of all its further values, and count for no other client. */
  isOfOwner = false;
  /** A call with this key is under way, or is about to begin. */
  isAsking = false;

  constructor(
    readonly domain: string,
    readonly entries: readonly DescriptorEntry[],
    public config: LimitConfig,
    /** The client whose request made it. */
    readonly owner: string,
  ) {
    this.limit = config.requests;
  }

  /** Applies another limit. What was granted under the former one stays. */
  configure(config: LimitConfig): void {
    this.config = config;
    this.limit = config.requests;
    this.#isOver = false;
    this.left = undefined;
  }

  /** Takes one hit, if the result is known. Undefined: the service has to be asked. */
  take(nowMs: number): 'ok' | 'over' | undefined {
    this.usedAtMs = nowMs;
    if (nowMs >= this.resetAtMs) {
      this.#hits = 0;
      this.#isOver = false;
      this.#isSingle = false;
      this.left = undefined;
      return undefined;
    }
    if (this.#hits > 0) {
      this.#hits--;
      this.#used++;
      return 'ok';
    }
    return this.#isOver ? 'over' : undefined;
  }

  /** Little of the lease is left, and much of the limit: the next lease should be asked for before it is needed. */
  get isLow(): boolean {
    return (
      !this.#isOver &&
      this.#hits <= this.#used >> 1 &&
      this.#used > 1 &&
      (this.left ?? 0) >= aheadMin * partOfLeft
    );
  }

  /** The number of hits to ask for now, at least 1. */
  ask(nowMs: number, isPartial: boolean): number {
    const elapsedMs = Math.max(measureMsMin, nowMs - this.#askedAtMs);
    const expected = Math.ceil((this.#used / elapsedMs) * leaseMs);
    this.#used = 0;
    this.#askedAtMs = nowMs;
    const { left, limit } = this;
    const most = Math.floor(left === undefined ? limit / partOfLimit : left / partOfLeft);
    const wanted = Math.max(this.waiters.size, Math.min(expected, most));
    if (isPartial) return Math.max(1, Math.min(wanted, limit));
    return this.#isSingle ? 1 : Math.max(1, Math.min(wanted, left ?? most));
  }

  apply({ asked, granted, atMs, resetMs, left, isPartial }: Grant): void {
    // Without the end of the window, a result counts for the requests that wait, and for a moment.
    this.resetAtMs = atMs + (resetMs ?? leaseMs);
    this.left = left;
    const isShort = granted < asked;
    if (isShort && !isPartial && asked > 1) this.#isSingle = true;
    else this.#isOver = isShort;
    this.#hits += granted;
    for (const waiter of this.waiters) {
      if (this.#hits === 0) break;
      this.#hits--;
      this.#used++;
      this.#end(waiter, 'ok');
    }
    if (this.#isOver) this.#endAll('over');
  }

  failed(): void {
    this.#endAll('failed');
  }

  #endAll(result: LeaseResult): void {
    for (const waiter of this.waiters) this.#end(waiter, result);
  }

  #end(waiter: Waiter, result: LeaseResult): void {
    this.waiters.delete(waiter);
    waiter(result);
  }
}
