/** What docs/migrate.md shows of the code. UPDATE_GOLDEN=1 writes it. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { migrateReport } from './check.js';
import { convert } from './convert/convert.js';
import { linkerdDocs } from './linkerd/docs.js';
import { loadTexts } from './load.js';
import { reportLines } from './report.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const page = join(root, 'docs', 'migrate.md');
const read = (file: string): { readonly file: string; readonly text: string } => ({
  file,
  text: readFileSync(join(root, file), 'utf8'),
});

/** Compares a part of the page, between two texts, with what it has to be. */
function isShown(begin: string, end: string, expected: string): void {
  const text = readFileSync(page, 'utf8');
  const from = text.indexOf(begin) + begin.length;
  assert.ok(from >= begin.length, `the page has no ${JSON.stringify(begin)}`);
  const to = text.indexOf(end, from);
  assert.ok(to >= from, `the page has no ${JSON.stringify(end)}`);
  if (process.env['UPDATE_GOLDEN'] === '1')
    writeFileSync(page, text.slice(0, from) + expected + text.slice(to));
  else assert.equal(text.slice(from, to), expected);
}

test('the table of Linkerd fields is that of the code', () => {
  isShown('<!-- fields of Linkerd: begin -->\n', '\n<!-- fields of Linkerd: end -->', linkerdDocs());
});

const bookinfo = 'control/migrate/golden/bookinfo.yaml';
test('the output of check is real', () => {
  const report = migrateReport(loadTexts([read(bookinfo)]), 'weft-system');
  isShown(
    `npx weft migrate check -f ${bookinfo}\n\`\`\`\n\n\`\`\`text\n`,
    '\n```\n',
    [...reportLines(report)].join('\n'),
  );
});

test('the output of convert is real', () => {
  const options = { root: 'weft-system', istioRoot: 'istio-system', clusterNetworks: [] };
  const { files, lost, differs, documents } = convert(
    loadTexts([read('control/migrate/golden/emojivoto.yaml')]),
    options,
  );
  const server = files[0]?.text.split('---\n').find((one) => one.includes('# From Server')) ?? '';
  const lines = lost.map((line) => `not converted: ${line}\n`).join('');
  isShown(
    'Without `-o` it prints them.\n\n```text\n',
    '```\n',
    `${server}...\n${lines}${documents} objects written, ${differs.length} differences, ${lost.length} not converted\n`,
  );
});
