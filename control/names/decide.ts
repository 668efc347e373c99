/** Decides which host names of ServiceEntries the control plane resolves now. Pure. */
import { admitShares, dueShares, type Admitted, type Known, type Wanted } from '../shares.js';

/** Limits of docs/limits.md. */
export const nameLimits = {
  names: 2_000,
  /** Of one namespace. */
  ofNamespace: 100,
  /** Queries under way; of one namespace. */
  underWay: 16,
  underWayOfNamespace: 4,
  /** The time between two queries of a name: its TTL, but at least and at most this. */
  intervalMsMin: 30_000,
  intervalMsMax: 300_000,
  addresses: 32,
} as const;

export type WantedName = Wanted;
export type KnownName = Known;
export type AdmittedNames = Admitted;

const hostName = /^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names of the cluster belong to their Services. */
const isResolvable = (name: string): boolean =>
  hostName.test(name) && !/\.(localhost|svc|cluster\.local)$/.test(name);

/**
 * The names of one object that may be among those of its namespace: the first in the order of names, and one more if there are more, so that
 * these are counted.
 */
export const namesOfObject = (names: readonly string[]): readonly string[] =>
  names
    .filter(isResolvable)
    .sort()
    .slice(0, nameLimits.ofNamespace + 1);

/** The names that are resolved at all. */
export const admitNames = (wanted: Iterable<WantedName>): AdmittedNames =>
  admitShares(
    [...wanted].filter(({ name }) => isResolvable(name)),
    { total: nameLimits.names, ofNamespace: nameLimits.ofNamespace },
  );

/** The names to query now, those that are due longest first. */
export const dueNames = (
  admitted: AdmittedNames['names'],
  known: ReadonlyMap<string, KnownName>,
  nowMs: number,
): readonly string[] => dueShares(admitted, known, nowMs, nameLimits);

/** When a name is resolved again. @param ttlS the smallest TTL of its addresses */
export const intervalMsOf = (ttlS: number): number =>
  Math.min(Math.max(ttlS * 1000, nameLimits.intervalMsMin), nameLimits.intervalMsMax);
