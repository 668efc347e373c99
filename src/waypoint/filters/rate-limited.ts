/**
 * The response to a request beyond a rate limit: 429 with Retry-After (RFC 9110, section 10.2.3), RateLimit and RateLimit-Policy
 * (draft-ietf-httpapi-ratelimit-headers-10). gRPC clients get UNAVAILABLE, as from Envoy by default.
 */
import type { LocalReply } from '../http/local-reply.js';

export interface ReachedLimit {
  /** The policy and its part: `TrafficPolicy shop/limits per-client`. Clients see the part's name alone. */
  readonly name: string;
  readonly requests: number;
  readonly perMs: number;
  /** Until the next request would be allowed. */
  readonly waitMs: number;
}

export function rateLimitedReply({ name, requests, perMs, waitMs }: ReachedLimit): LocalReply {
  const waitS = String(Math.max(1, Math.ceil(waitMs / 1_000)));
  const shown = quoted(name.slice(name.lastIndexOf(' ') + 1));
  // The draft's windows are whole seconds.
  const windowS = Math.max(1, Math.round(perMs / 1_000));
  const quota = Math.max(1, Math.round((requests * windowS * 1_000) / perMs));
  return {
    status: 429,
    flag: 'RL',
    code: 'WEFT_RATE_LIMITED',
    why: `rate limit ${name} reached (${requests} in ${perMs} ms)`,
    policy: name,
    headers: [
      ...['retry-after', waitS],
      ...['ratelimit', `${shown};r=0;t=${waitS}`],
      ...['ratelimit-policy', `${shown};q=${quota};w=${windowS}`],
    ],
  };
}

/** A string of structured fields (RFC 9651, section 3.3.3). Characters that it cannot have are left out. */
const quoted = (text: string): string => `"${text.replace(/[^\x20-\x7e]|["\\]/g, '')}"`;
