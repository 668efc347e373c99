/** The table of Linkerd's fields in docs/migrate.md. Pure. */
import { linkerdTables, type LinkerdSupport } from './tables.js';

function cellOf(support: LinkerdSupport): string {
  if ('becomes' in support) return support.becomes;
  if ('needless' in support) return `nothing is needed: ${support.needless}`;
  return `a comment: ${support.lacks}${support.instead === undefined ? '' : `. Instead: ${support.instead}`}`;
}

/** Rows in the order of the tables. */
export const linkerdDocs = (): string =>
  [
    '| kind | field | what convert writes |',
    '| --- | --- | --- |',
    ...Object.entries(linkerdTables).flatMap(([name, table]) =>
      Object.entries(table).map(
        ([field, support]) => `| ${name.slice(name.indexOf('/') + 1)} | \`${field}\` | ${cellOf(support)} |`,
      ),
    ),
  ].join('\n');
