/**
 * Waypoints ask for key sets to be fetched again, because a token names a key that is not in its issuer's set. Clients cause these requests as
 * they like, and a waypoint may be compromised: a waypoint may ask only for the sets that its own resources name, and a set is fetched at most
 * once per interval, whoever asks.
 */
import { RateLimiter } from '../../src/base/rate-limiter.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import type { Refetch } from './decide.js';

/** Limits of docs/limits.md. */
export const refetchRequestLimits = {
  /** Requests of one waypoint, with all its replicas. A replica sends at most five per second. */
  perSecond: 50,
  burst: 500,
  /** Sets of one request. */
  uris: 500,
} as const;

export interface RefetchRequestsOptions {
  /** The URIs of the key sets that a waypoint's resources name. */
  readonly keySetsOf: (waypoint: string) => ReadonlySet<string>;
  readonly refetch: (uri: string) => Refetch | undefined;
  /** Called for each set that was asked for. */
  readonly onRequest: (result: Refetch | 'refused') => void;
  readonly onLimit: (limit: string) => void;
  readonly nowMs?: () => number;
}

export class RefetchRequests {
  readonly #rate = new RateLimiter(refetchRequestLimits);

  constructor(private readonly options: RefetchRequestsOptions) {}

  /** @param caller authenticated */
  take(caller: string, uris: readonly string[]): void {
    const { keySetsOf, refetch, onRequest, onLimit, nowMs = () => performance.now() } = this.options;
    if (!waypointOfCaller(caller)) return onRequest('refused');
    if (uris.length > refetchRequestLimits.uris || !this.#rate.take(caller, nowMs()))
      return onLimit('jwks-refetch-requests');
    const own = keySetsOf(caller);
    for (const uri of new Set(uris)) {
      const result = own.has(uri) ? refetch(uri) : undefined;
      onRequest(result ?? 'refused');
      if (result === 'later') onLimit('jwks-refetch');
    }
  }
}
