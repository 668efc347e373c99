/** Decides when key sets are fetched: which URIs, and how long after a success or a failure. Pure. */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { admitShares, dueShares, type Admitted, type Known, type Wanted } from '../shares.js';

/** Limits of docs/limits.md. */
export const jwksLimits = {
  uris: 500,
  /** Of one namespace. */
  ofNamespace: 20,
  /** Requests under way; of one namespace. */
  underWay: 8,
  underWayOfNamespace: 2,
  /** Of a request, from the name lookup to the last byte. */
  timeoutMs: 5_000,
  /** The time between two requests: `max-age` of the response, but at least and at most this. */
  intervalMsMin: 60_000,
  intervalMsMax: 900_000,
  /** Without `max-age`. */
  intervalMs: 300_000,
  /** After a failure the time doubles from the first to the last of these. */
  retryMsMin: 2_000,
  retryMsMax: 300_000,
  /** The least time between two requests for a set that waypoints ask for, because a token names a key that is not in it. */
  refetchMs: 30_000,
} as const;

export interface KnownUri extends Known {
  /** Failures since the last success. */
  readonly failures: number;
  /** When the last request began; absent: there was none. */
  readonly begunMs?: number;
}

/** The URIs that are fetched at all, with a share for each namespace. */
export const admitUris = (wanted: Iterable<Wanted>): Admitted =>
  admitShares(wanted, { total: jwksLimits.uris, ofNamespace: jwksLimits.ofNamespace });

/** The URIs to fetch now, those that are due longest first. */
export const dueUris = (
  admitted: Admitted['names'],
  known: ReadonlyMap<string, KnownUri>,
  nowMs: number,
): readonly string[] => dueShares(admitted, known, nowMs, jwksLimits);

/** `max-age` in seconds of a Cache-Control header (RFC 9111); 0 for `no-store` and `no-cache`. Undefined: it says nothing. */
export function maxAgeOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const directives = header
    .toLowerCase()
    .split(',')
    .map((one) => one.trim());
  if (directives.some((one) => one === 'no-store' || one === 'no-cache')) return 0;
  const found = directives.map((one) => /^max-age="?([0-9]{1,9})"?$/.exec(one)?.[1]).find((one) => one);
  return found === undefined ? undefined : Number(found);
}

/**
 * The state after a success. Each replica fetches for itself, so the times are spread.
 * @param random from 0 to 1
 */
export function afterSuccess(nowMs: number, maxAgeS: number | undefined, random: number): KnownUri {
  const wantedMs = maxAgeS === undefined ? jwksLimits.intervalMs : maxAgeS * 1_000;
  const intervalMs = Math.min(Math.max(wantedMs, jwksLimits.intervalMsMin), jwksLimits.intervalMsMax);
  return { dueMs: nowMs + intervalMs * (1 - random / 10), isUnderWay: false, failures: 0 };
}

/** `planned`: the set is fetched now. `later`: it was fetched a short time ago, so it waits. `failing`: it is fetched as after any failure. */
export type Refetch = 'planned' | 'later' | 'failing';

/**
 * The state once a waypoint has asked for the set. A set that cannot be fetched keeps its backoff: an issuer that does not respond gets no more
 * requests because of what clients send.
 */
export function afterRefetchRequest(
  known: KnownUri,
  nowMs: number,
): { readonly known: KnownUri; readonly result: Refetch } {
  if (known.failures > 0) return { known, result: 'failing' };
  if (known.isUnderWay) return { known, result: 'later' };
  const earliestMs = (known.begunMs ?? -Infinity) + jwksLimits.refetchMs;
  const dueMs = Math.min(known.dueMs, Math.max(nowMs, earliestMs));
  return { known: { ...known, dueMs }, result: dueMs <= nowMs ? 'planned' : 'later' };
}

/** The state after a failure: exponential backoff with jitter. */
export function afterFailure(
  nowMs: number,
  { failures }: Pick<KnownUri, 'failures'>,
  random: number,
): KnownUri {
  const fullMs = Math.min(jwksLimits.retryMsMin * 2 ** Math.min(failures, 20), jwksLimits.retryMsMax);
  return { dueMs: nowMs + fullMs * (0.5 + random / 2), isUnderWay: false, failures: failures + 1 };
}

/** What the operator allows beyond https to public addresses. */
export interface JwksAllowance {
  readonly http: boolean;
  /** Address blocks that are not public, as CIDRs. */
  readonly blocks: readonly [ipaddr.IPv4 | ipaddr.IPv6, number][];
}

/** Parses address blocks. Error: the text that is none. */
export const allowedBlocks = (cidrs: readonly string[]): JwksAllowance['blocks'] =>
  cidrs.map((text) => {
    const full = text.includes('/') ? text : `${text}/${isIP(text) === 6 ? 128 : 32}`;
    if (!ipaddr.isValidCIDR(full)) throw new Error(`${JSON.stringify(text)} is no address block`);
    return ipaddr.parseCIDR(full);
  });

/**
 * Whether keys may be fetched from an address. Every range that is not public is refused: an author of a policy must not make the control
 * plane call what only the control plane reaches, such as the metadata service of a cloud.
 */
export function mayDial(address: string, { blocks }: Pick<JwksAllowance, 'blocks'>): boolean {
  if (isIP(address) === 0) return false;
  const ip = ipaddr.process(address);
  if (ip.range() === 'unicast') return true;
  return blocks.some(([block, bits]) => block.kind() === ip.kind() && ip.match(block, bits));
}
