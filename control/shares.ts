/** Shares of namespaces in what the control plane asks of others: host names to resolve, and key sets to fetch. Pure. */

/** Something that a namespace's objects want. */
export interface Wanted {
  readonly namespace: string;
  readonly name: string;
}
/** What is known about it. */
export interface Known {
  readonly dueMs: number;
  readonly isUnderWay: boolean;
}
export interface Admitted {
  /** What is wanted and within the limits; each with the namespaces that want it. */
  readonly names: ReadonlyMap<string, readonly string[]>;
  /** How many exceed a limit. */
  readonly refused: number;
}

/**
 * Each namespace in turn gets a place for its next name, in the order of names, so that all replicas agree. While the total is contested, a namespace
 * has as many places as any other that wants more: it loses none of these, whatever the others want. A name that several namespaces want
 * takes one place.
 */
export function admitShares(
  wanted: Iterable<Wanted>,
  limits: { readonly total: number; readonly ofNamespace: number },
): Admitted {
  const byNamespace = new Map<string, Set<string>>();
  const all = new Set<string>();
  for (const { namespace, name } of wanted) {
    all.add(name);
    let names = byNamespace.get(namespace);
    if (!names) byNamespace.set(namespace, (names = new Set()));
    names.add(name);
  }
  const shares = [...byNamespace]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([namespace, names]) => ({ namespace, own: [...names].sort().slice(0, limits.ofNamespace) }));
  const names = new Map<string, string[]>();
  for (let turn = 0; turn < limits.ofNamespace; turn++)
    for (const { namespace, own } of shares) {
      const name = own[turn];
      if (name === undefined) continue;
      const of = names.get(name);
      if (of) of.push(namespace);
      else if (names.size < limits.total) names.set(name, [namespace]);
    }
  return { names, refused: all.size - names.size };
}

/** What to ask for now, that which is due longest first. */
export function dueShares(
  admitted: Admitted['names'],
  known: ReadonlyMap<string, Known>,
  nowMs: number,
  limits: { readonly underWay: number; readonly underWayOfNamespace: number },
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
    if (total >= limits.underWay) break;
    const namespace = freest(namespaces);
    if (countOf(namespace) >= limits.underWayOfNamespace) continue;
    count(namespace);
    chosen.push(name);
  }
  return chosen;
}
