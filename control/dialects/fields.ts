/**
 * What Weft does with each field of another mesh's API: one table per kind, beside the code that translates the kind. The status of objects,
 * `weft migrate check` and the tables of docs/istio.md and docs/smi.md come from these tables.
 */
import { isRecord } from '../../src/base/record.js';

export type FieldSupport =
  /** The field does what its own mesh documents. */
  | { readonly does: 'works' }
  /** It is carried out with this difference. */
  | { readonly does: 'differs'; readonly how: string }
  /** It has no effect. `instead`: what does the same in Weft. */
  | { readonly does: 'nothing'; readonly because: string; readonly instead?: string }
  /** What has the field is closed: the rule, or the object. */
  | { readonly does: 'closes'; readonly because: string; readonly instead?: string };

/**
 * By path: `http[].match[].uri.exact`. `[]` stands for each entry of a list, `{}` for each value of a map. An entry for a field holds for all
 * that is in it, unless a longer path has an entry. `resolution=DNS` is an entry for one value of a field. The empty path holds for all fields.
 */
export type FieldTable = Readonly<Record<string, FieldSupport>>;

export const works: FieldSupport = { does: 'works' };
export const differs = (how: string): FieldSupport => ({ does: 'differs', how });
export const nothing = (because: string, instead?: string): FieldSupport => ({
  does: 'nothing',
  because,
  ...(instead === undefined ? {} : { instead }),
});
export const closes = (because: string, instead?: string): FieldSupport => ({
  does: 'closes',
  because,
  ...(instead === undefined ? {} : { instead }),
});

/** A field that an object has. `path` with the positions in lists: `http[0].mirror`. */
export interface UsedField {
  readonly path: string;
  /** The path in the table, if the table had one for each field. */
  readonly entry: string;
  /** The table's own entry, which may be that of a field which contains it, and its place in the object: `http[].corsPolicy`, `http[0].corsPolicy`. */
  readonly within: { readonly entry: string; readonly path: string };
  readonly value: unknown;
  readonly support: FieldSupport;
}

/** The entry of the longest path of the table that contains the field. Undefined: the table does not know the field. */
export function supportOf(table: FieldTable, entry: string): FieldSupport | undefined {
  for (let at = entry; at !== ''; at = at.replace(/(\.[^.[\]{}]+|\[\]|\{\}|^[^.[\]{}]+)$/, '')) {
    const found = ownEntry(table, at);
    if (found) return found;
  }
  return ownEntry(table, '');
}

const isContainer = (table: FieldTable, entry: string): boolean =>
  Object.keys(table).some((one) => one.startsWith(`${entry}.`) || one.startsWith(`${entry}[`));
const ownEntry = (table: FieldTable, path: string): FieldSupport | undefined =>
  Object.hasOwn(table, path) ? table[path] : undefined;

/** The entry for one value of a field: `resolution=DNS`. */
const supportOfValue = (table: FieldTable, entry: string, value: unknown): FieldSupport | undefined =>
  (isRecord(value) || value === null ? undefined : ownEntry(table, `${entry}=${String(value)}`)) ??
  supportOf(table, entry);

/** The paths of maps that a table looks into. */
const mapsOf = (table: FieldTable): ReadonlySet<string> => {
  let found = knownMaps.get(table);
  if (!found) {
    found = new Set(
      Object.keys(table).flatMap((path) =>
        [...path.matchAll(/\{\}/g)].map(({ index }) => path.slice(0, index)),
      ),
    );
    knownMaps.set(table, found);
  }
  return found;
};
const knownMaps = new WeakMap<FieldTable, ReadonlySet<string>>();

/** The fields of a spec that hold values, with what Weft does with each. A field that the table does not know closes. */
export function usedFields(spec: unknown, table: FieldTable): UsedField[] {
  const found: UsedField[] = [];
  const maps = mapsOf(table);
  const visit = (value: unknown, path: string, entry: string, outer: UsedField['within']): void => {
    const isMap = maps.has(entry);
    const within = ownEntry(table, entry) ? { entry, path } : outer;
    if (Array.isArray(value)) value.forEach((one, i) => visit(one, `${path}[${i}]`, `${entry}[]`, within));
    else if (isRecord(value) && Object.keys(value).length > 0)
      for (const [name, one] of Object.entries(value))
        visit(
          one,
          path === '' ? name : `${path}.${name}`,
          isMap ? `${entry}{}` : entry === '' ? name : `${entry}.${name}`,
          within,
        );
    else if (path !== '' && value !== undefined) {
      const support = supportOfValue(table, entry, value);
      // An empty object that has no entry of its own says nothing.
      if (!support && isRecord(value) && isContainer(table, entry)) return;
      const own = { path, entry };
      // A value with an entry of its own, and a field that has none at all, stand for themselves.
      const isOwn = support === undefined || support !== supportOf(table, entry) || within.entry === '';
      found.push({
        ...own,
        within: isOwn ? own : within,
        value,
        support: support ?? closes('this version does not know the field'),
      });
    }
  };
  visit(spec, '', '', { entry: '', path: '' });
  return found;
}
