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

/**
 * The names of one object that may be among those of its namespace: the first in the order of names, and one more if there are more, so that
 * these are counted.
 */
export const namesOfObject = (names: readonly string[]): readonly string[] =>
  names
    .filter(isResolvable)
    .sort()
    .slice(0, nameLimits.ofNamespace + 1);

export interface AdmittedNames {
  /** The names to resolve; each with the namespaces that want it. */
  readonly names: ReadonlyMap<string, readonly string[]>;
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
  const names = new Map<string, string[]>();
  let refused = 0;
  for (const [namespace, all] of [...byNamespace].sort(([a], [b]) => (a < b ? -1 : 1))) {
    [...all].sort().forEach((name, i) => {
      const of = names.get(name);
      if (i >= nameLimits.ofNamespace) refused += of ? 0 : 1;
      else if (of) of.push(namespace);
      else if (names.size >= nameLimits.names) refused++;
      else names.set(name, [namespace]);
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
  const countOf = (namespace: string): number => underWay.get(namespace) ?? 0;
  // A name counts for the one of its namespaces that has the fewest: nobody's other names delay one that others want, too.
  const freest = (namespaces: readonly string[]): string =>
    namespaces.reduce((a, b) => (countOf(b) < countOf(a) ? b : a));
  const count = (namespace: string): void => {
    total++;
    underWay.set(namespace, countOf(namespace) + 1);
  };
  for (const [name, namespaces] of admitted) if (known.get(name)?.isUnderWay) count(freest(namespaces));
  const due = [...admitted]
    .filter(([name]) => {
      const state = known.get(name);
      return !state || (!state.isUnderWay && state.dueMs <= nowMs);
    })
    .sort(([a], [b]) => (known.get(a)?.dueMs ?? 0) - (known.get(b)?.dueMs ?? 0));
  const chosen: string[] = [];
  for (const [name, namespaces] of due) {
    if (total >= nameLimits.underWay) break;
    const namespace = freest(namespaces);
    if (countOf(namespace) >= nameLimits.underWayOfNamespace) continue;
    count(namespace);
    chosen.push(name);
  }
  return chosen;
}

/** When a name is resolved again. @param ttlS the smallest TTL of its addresses */
export const intervalMsOf = (ttlS: number): number =>
  Math.min(Math.max(ttlS * 1000, nameLimits.intervalMsMin), nameLimits.intervalMsMax);
