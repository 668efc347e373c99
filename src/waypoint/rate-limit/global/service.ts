/** A rate limit service, as the shield before it sees it: Weft's own, or one of the mesh. */
import type { RateLimitDescriptor, RateLimitResponse } from '../../../discovery/gen/ratelimit.js';

export interface RateLimitService {
  /** Descriptors of one call. */
  readonly descriptorsMax: number;
  /** Calls under way. */
  readonly callsMax: number;
  /**
   * The service may grant fewer hits than were asked for. Other services grant all or nothing, and count hits of a call that they refuse.
   */
  readonly grantsParts: boolean;
  /** Rejects if no response comes within `timeoutMs`. */
  call(
    domain: string,
    descriptors: readonly RateLimitDescriptor[],
    timeoutMs: number,
  ): Promise<RateLimitResponse>;
  /** Connects, so that the first call does not have to; absent: nothing is to be done. */
  connect?(): void;
  /** The calls hang: the next one should use another connection. */
  reset(): void;
  close(): void;
}
