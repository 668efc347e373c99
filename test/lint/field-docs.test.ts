/** What the pages say about each field of another mesh's API is what the tables beside the code say, for every field that is published. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { kindsOfPage, tableProblems, withTables } from '../../control/dialects/field-docs.js';
import { fieldPages } from '../../control/dialects/field-pages.js';
import { publishedFields } from '../../control/dialects/published-schema.js';
import { projectRoot } from '../../native/index.js';

const read = (path: string): string => readFileSync(join(projectRoot, path), 'utf8');

for (const { page, crds, tables } of fieldPages) {
  const schemas = publishedFields(read(crds));

  test(`every published kind of ${crds} has a section in ${page} and a table of its fields`, () => {
    assert.deepEqual([...schemas.keys()].sort(), Object.keys(tables).sort());
    assert.deepEqual(kindsOfPage(read(page)).sort(), [...schemas.keys()].sort());
  });

  for (const [kind, schema] of schemas)
    test(`the table of ${kind} has every field of the published schema, and no other`, () => {
      assert.deepEqual(tableProblems(tables[kind], schema), []);
    });

  test(`${page} has the tables as they are in the code: npm run docs:fields`, () => {
    assert.equal(read(page), withTables(read(page), tables, schemas));
  });
}
