/** What `weft migrate check` says about Linkerd's objects: the control plane does not read them, and convert writes what does the same. Pure. */
import { usedFields, works, type FieldTable } from '../../dialects/fields.js';
import { groupOf, type SourceObject } from '../load.js';
import type { MigrateFinding } from '../report.js';
import { linkerdErrors } from './schemas.js';
import { linkerdTables, type LinkerdSupport, type LinkerdTable } from './tables.js';

/** The name of a kind in the tables. */
const linkerdKindOf = ({ apiVersion, kind }: SourceObject): string => `${groupOf(apiVersion)}/${kind}`;

export interface LinkerdField {
  readonly path: string;
  readonly support: LinkerdSupport;
}

const asFieldTable = (table: LinkerdTable): FieldTable =>
  Object.fromEntries(Object.keys(table).map((path) => [path, works]));
/** The path of the table's entry that holds for a field. */
function entryOf(table: LinkerdTable, entry: string): string | undefined {
  const holds = Object.keys(table).filter(
    (path) => entry === path || (entry.startsWith(path) && /^[.[{]/.test(entry.slice(path.length))),
  );
  return holds.sort((a, b) => b.length - a.length)[0];
}

/** The fields of a spec with what does the same in Weft: one per entry of the table. */
function linkerdFields(spec: unknown, table: LinkerdTable): LinkerdField[] {
  const found = new Map<string, LinkerdField>();
  for (const { path, entry } of usedFields(spec, asFieldTable(table))) {
    const name = entryOf(table, entry);
    const support = name === undefined ? { lacks: 'this version does not know the field' } : table[name];
    if (support && !found.has(name ?? entry))
      found.set(name ?? entry, { path: shortened(path, name), support });
  }
  return [...found.values()];
}

/** The part of a path that an entry of the table names: `routes[0].condition` of `routes[0].condition.all[1].method`. */
function shortened(path: string, entry: string | undefined): string {
  if (entry === undefined) return path;
  const parts = entry.split('.').length;
  return path.split('.').slice(0, parts).join('.');
}

const unread = 'no effect: Weft does not read the kind';

function fieldFinding({ path, support }: LinkerdField): MigrateFinding {
  if ('becomes' in support)
    return {
      result: 'missing',
      field: path,
      message: unread,
      instead: `${support.becomes}, which weft migrate convert writes`,
    };
  if ('needless' in support)
    return { result: 'differs', field: path, message: `nothing is needed: ${support.needless}` };
  return {
    result: 'missing',
    field: path,
    message: `nothing does the same: ${support.lacks}`,
    ...(support.instead === undefined ? {} : { instead: support.instead }),
  };
}

/** The findings about each object of a kind that `weft migrate` reads. Objects of other kinds are left out. */
export function linkerdFindings(
  sources: readonly SourceObject[],
): ReadonlyMap<SourceObject, readonly MigrateFinding[]> {
  const found = new Map<SourceObject, readonly MigrateFinding[]>();
  for (const source of sources) {
    const name = linkerdKindOf(source);
    const table = linkerdTables[name];
    const errors = linkerdErrors(name, source.value['spec'] ?? {});
    if (!table || !errors) continue;
    found.set(source, [
      { result: 'missing', message: unread, instead: 'what weft migrate convert writes' },
      ...errors.map((message): MigrateFinding => ({ result: 'missing', message })),
      ...(errors.length > 0 ? [] : linkerdFields(source.value['spec'], table).map(fieldFinding)),
    ]);
  }
  return found;
}
