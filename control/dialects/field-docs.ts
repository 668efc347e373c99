/**
 * The tables of docs/istio.md and docs/smi.md: what Weft does with each field of a kind, from the kind's `FieldTable` and its published
 * schema. Pure.
 */
import { supportOf, type FieldSupport, type FieldTable } from './fields.js';
import type { SchemaField } from './published-schema.js';

/** The table of each kind; undefined: it is not written yet. */
export type FieldTables = Readonly<Record<string, FieldTable | undefined>>;

const hasFields = ({ fields }: SchemaField): boolean => fields.length > 0;
function* all(field: SchemaField): Generator<SchemaField> {
  yield field;
  for (const one of field.fields) yield* all(one);
}

/** What is wrong with a table: a field of the schema that it does not cover, or a path that the schema does not have. */
export function tableProblems(table: FieldTable | undefined, schema: SchemaField | undefined): string[] {
  if (!table) return ['has no table of fields'];
  if (!schema) return ['has no published schema'];
  const fields = [...all(schema)];
  const known = new Set(
    fields.flatMap(({ path, values }) => [path, ...values.map((one) => `${path}=${one}`)]),
  );
  // Any value of a field without a list of values may have an entry.
  const isKnown = (path: string): boolean => {
    const [field = '', value] = path.split('=');
    const of = fields.find((one) => one.path === field);
    return known.has(path) || (value !== undefined && of !== undefined && of.values.length === 0);
  };
  const uncovered = fields.filter((one) => !hasFields(one) && one.path !== '' && !supportOf(table, one.path));
  return [
    ...uncovered.map(({ path }) => `${path} is not in the table`),
    ...Object.keys(table)
      .filter((path) => !isKnown(path))
      .map((path) => `${path} is not in the published schema`),
  ];
}

interface Row {
  readonly path: string;
  /** A path with the same rows, instead of the rows. */
  readonly as?: string;
  readonly support?: FieldSupport | undefined;
}

/** One row for a field whose content is all treated alike, otherwise a row for each part of it. */
function rowsOf(field: SchemaField, table: FieldTable): readonly Row[] {
  const values = Object.keys(table)
    .filter((path) => path.startsWith(`${field.path}=`))
    .map((path): Row => ({ path, support: table[path] }));
  if (!hasFields(field)) return [{ path: field.path, support: supportOf(table, field.path) }, ...values];
  const rows = field.fields.flatMap((one) => rowsOf(one, table));
  const [first] = rows;
  const isAlike = rows.every(({ support }) => textOf(support) === textOf(first?.support));
  return isAlike && first && field.path !== '' ? [{ path: field.path, support: first.support }] : rows;
}

/** Schemas repeat: settings of a port have the fields of those of all ports. From this many rows on, they are not repeated. */
const repeatedRowsMin = 4;
const signatureOf = (field: SchemaField, rows: readonly Row[]): string =>
  rows.map(({ path, support }) => `${path.slice(field.path.length)} ${textOf(support)}`).join('\n');

/** The rows of a field. Those that a shorter path has as well are one row that names it. */
function shortRows(field: SchemaField, table: FieldTable): readonly Row[] {
  const shortest = new Map<string, string>();
  const signatures = new Map<string, string>();
  for (const one of all(field)) {
    const rows = rowsOf(one, table);
    if (rows.length < repeatedRowsMin) continue;
    const signature = signatureOf(one, rows);
    signatures.set(one.path, signature);
    const known = shortest.get(signature);
    if (known === undefined || one.path.length < known.length) shortest.set(signature, one.path);
  }
  const visit = (one: SchemaField): readonly Row[] => {
    const as = shortest.get(signatures.get(one.path) ?? '');
    if (as !== undefined && as !== one.path) return [{ path: one.path, as }];
    const rows = rowsOf(one, table);
    return !hasFields(one) || rows.length === 1 ? rows : one.fields.flatMap(visit);
  };
  return visit(field);
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('.') + 1);
const isValue = (path: string): boolean => path.includes('=');

/** Consecutive fields of one parent with the same text share a row. */
function cells(rows: readonly Row[]): readonly (readonly [string, string])[] {
  const found: [string, string][] = [];
  let before: Row | undefined;
  for (const row of rows) {
    const text = row.as === undefined ? textOf(row.support) : `as \`${row.as}\``;
    const last = found.at(-1);
    const parent = parentOf(row.path);
    const joins =
      before &&
      last?.[1] === text &&
      parentOf(before.path) === parent &&
      !isValue(row.path) &&
      !isValue(before.path);
    if (joins) last[0] += `, \`${row.path.slice(parent.length)}\``;
    else found.push([`\`${row.path}\``, text]);
    before = row;
  }
  return found;
}

const escape = (text: string): string => text.replaceAll('|', '\\|');
function textOf(support: FieldSupport | undefined): string {
  switch (support?.does) {
    case undefined:
      return 'not stated';
    case 'works':
      return 'works';
    case 'differs':
      return `works, with a difference: ${support.how}`;
    case 'nothing':
    case 'closes': {
      const instead = support.instead === undefined ? '' : `. Instead: ${support.instead}`;
      const does = support.does === 'nothing' ? 'no effect' : '**closes** what has it';
      return `${does}: ${support.because}${instead}`;
    }
  }
}

/** The table of a kind, as Markdown. */
function markdownTable(table: FieldTable | undefined, schema: SchemaField): string {
  if (!table) return 'The table is not written yet.';
  const whole = Object.keys(table).length === 1 ? table[''] : undefined;
  const rows = whole ? [{ path: 'spec', support: whole }] : shortRows(schema, table);
  return [
    '| field | Weft |',
    '| --- | --- |',
    ...cells(rows).map(([field, text]) => `| ${escape(field)} | ${escape(text)} |`),
  ].join('\n');
}

const section = /(<!-- fields of (\S+) -->\n)[\s\S]*?(<!-- end of fields -->)/g;

/**
 * The page with the table of each kind between its markers, `<!-- fields of <group>/<kind> -->` and `<!-- end of fields -->`.
 * @param tables by `<group>/<kind>`
 */
export const withTables = (
  page: string,
  tables: FieldTables,
  schemas: ReadonlyMap<string, SchemaField>,
): string =>
  page.replaceAll(section, (whole: string, begin: string, kind: string, end: string) => {
    const schema = schemas.get(kind);
    return schema ? `${begin}\n${markdownTable(tables[kind], schema)}\n\n${end}` : whole;
  });

/** The kinds that have a section on the page. */
export const kindsOfPage = (page: string): string[] =>
  [...page.matchAll(section)].map(([, , kind = '']) => kind);
