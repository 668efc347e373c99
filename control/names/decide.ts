/** Decides which host names of ServiceEntries the control plane resolves now. Pure. */

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

/** A name that a namespace's objects want. */
export interface WantedName {
  readonly namespace: string;
  readonly name: string;
}
/** What is known about a name. */
export interface KnownName {
  readonly dueMs: number;
  readonly isUnderWay: boolean;
}

const hostName = /^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names of the cluster belong to their Services. */
const isResolvable = (name: string): boolean =>
  hostName.test(name) && !/\.(localhost|svc|cluster\.local)$/.test(name);

export interface AdmittedNames {
  /** The names to resolve; each with the first namespace that wants it. */
  readonly names: ReadonlyMap<string, string>;
  /** How many names exceed a limit, and are not resolved. */
  readonly refused: number;
}

/** The names that are resolved at all: of each namespace the first in the order of names, so that all replicas agree. */
export function admitNames(wanted: Iterable<WantedName>): AdmittedNames {
  const byNamespace = new Map<string, Set<string>>();
  for (const { namespace, name } of wanted) {
    if (!isResolvable(name)) continue;
    let names = byNamespace.get(namespace);
    if (!names) byNamespace.set(namespace, (names = new Set()));
    names.add(name);
  }
  const names = new Map<string, string>();
  let refused = 0;
  for (const [namespace, all] of [...byNamespace].sort(([a], [b]) => (a < b ? -1 : 1))) {
    [...all].sort().forEach((name, i) => {
      if (names.has(name)) return;
      if (i >= nameLimits.ofNamespace || names.size >= nameLimits.names) refused++;
      else names.set(name, namespace);
    });
  }
  return { names, refused };
}

/** The names to query now, those that are due longest first. */
export function dueNames(
  admitted: AdmittedNames['names'],
  known: ReadonlyMap<string, KnownName>,
  nowMs: number,
): readonly string[] {
  const underWay = new Map<string, number>();
  let total = 0;
  const count = (namespace: string): void => {
    total++;
    underWay.set(namespace, (underWay.get(namespace) ?? 0) + 1);
  };
  for (const [name, namespace] of admitted) if (known.get(name)?.isUnderWay) count(namespace);
  const due = [...admitted]
    .filter(([name]) => {
      const state = known.get(name);
      return !state || (!state.isUnderWay && state.dueMs <= nowMs);
    })
    .sort(([a], [b]) => (known.get(a)?.dueMs ?? 0) - (known.get(b)?.dueMs ?? 0));
  const chosen: string[] = [];
  for (const [name, namespace] of due) {
    if (total >= nameLimits.underWay) break;
    if ((underWay.get(namespace) ?? 0) >= nameLimits.underWayOfNamespace) continue;
    count(namespace);
    chosen.push(name);
  }
  return chosen;
}

/** When a name is resolved again. @param ttlS the smallest TTL of its addresses */
export const intervalMsOf = (ttlS: number): number =>
  Math.min(Math.max(ttlS * 1000, nameLimits.intervalMsMin), nameLimits.intervalMsMax);
