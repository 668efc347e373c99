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
  readonly support: FieldSupport | undefined;
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
export function markdownTable(table: FieldTable | undefined, schema: SchemaField): string {
  if (!table) return 'The table is not written yet.';
  const whole = Object.keys(table).length === 1 ? table[''] : undefined;
  const rows = whole ? [{ path: 'spec', support: whole }] : rowsOf(schema, table);
  return [
    '| field | Weft |',
    '| --- | --- |',
    ...rows.map(({ path, support }) => `| \`${escape(path)}\` | ${escape(textOf(support))} |`),
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
