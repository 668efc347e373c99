/**
 * The pages with tables of fields, and the CRDs that they are about. As a program it writes the tables into the pages:
 *
 *     npm run docs:fields
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { withTables, type FieldTables } from './field-docs.js';
import { istioFieldTables } from './istio/field-tables.js';
import { smiFieldTables } from './smi/field-tables.js';
import { publishedFields } from './published-schema.js';

interface FieldPage {
  readonly page: string;
  /** A file of published CRDs. */
  readonly crds: string;
  readonly tables: FieldTables;
}

/** Paths from the root of the repository. */
export const fieldPages: readonly FieldPage[] = [
  { page: 'docs/istio.md', crds: 'daemonset/chart/files/istio-crds.yaml', tables: istioFieldTables },
  { page: 'docs/smi.md', crds: 'daemonset/chart/files/smi-crds.yaml', tables: smiFieldTables },
];

if (pathToFileURL(process.argv[1] ?? '').href === import.meta.url)
  for (const { page, crds, tables } of fieldPages) {
    const schemas = publishedFields(readFileSync(crds, 'utf8'));
    writeFileSync(page, withTables(readFileSync(page, 'utf8'), tables, schemas));
  }
