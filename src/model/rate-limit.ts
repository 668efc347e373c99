/** What Weft's rate limit service and its clients agree on. */
import { spiffeIdOf, type SpiffeId, type TrustDomain } from './identity.js';

/** The units of time of Envoy's rate limit API, in milliseconds, by their number there (envoy.type.v3.RateLimitUnit). */
const units: Readonly<Record<number, number>> = { 1: 1_000, 2: 60_000, 3: 3_600_000, 4: 86_400_000 };

/** Milliseconds of a unit; undefined for one that Weft does not have. */
export const unitMs = (unit: number): number | undefined => units[unit];

/** The unit of a period; undefined if it is not exactly one unit. */
export function unitOf(periodMs: number): number | undefined {
  const found = Object.entries(units).find(([, ms]) => ms === periodMs);
  return found && Number(found[0]);
}

/** Service account of Weft's rate limit service. Its namespace is the mesh's root namespace. */
export const rateLimiterAccount = 'weft-rate-limiter';
export const rateLimiterPort = 15013;

export const rateLimiterIdentity = (trustDomain: TrustDomain, rootNamespace: string): SpiffeId =>
  spiffeIdOf({ trustDomain, namespace: rootNamespace, serviceAccount: rateLimiterAccount });

/** Entries of a descriptor to Weft's own service that name the client whose request is counted. They are no part of the counter's key. */
export const clientEntryKeys = { client: 'client', group: 'client group' } as const;
/** Name of the limit in a response, if the client is beyond its share of counters: what is counted are all its further values. */
export const restCounterName = 'client-rest';
