import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../../native/index.js';

/** Error codes in quotes. Names of environment variables, and names of fields (`const versionKey = …`), are not error codes. */
function codesInSource(): Set<string> {
  const codes = new Set<string>();
  for (const top of ['src', 'daemonset', 'control', 'native', 'bench']) {
    for (const entry of readdirSync(join(projectRoot, top), { recursive: true, encoding: 'utf8' })) {
      if (!/\.(ts|mjs|cc|h)$/.test(entry) || /\.test\.ts$|(^|\/)(gen|build|node_modules)\//.test(entry))
        continue;
      const text = readFileSync(join(projectRoot, top, entry), 'utf8');
      for (const [, before = '', code = ''] of text.matchAll(
        /(env\[|env\.|const \w+Key = )?['"](WEFT_[A-Z0-9_]+)['"]/g,
      )) {
        if (before === '') codes.add(code);
      }
    }
  }
  return codes;
}

test('docs/errors.md lists every error code of the source, each once and in order, and no other', () => {
  const listed = [
    ...readFileSync(join(projectRoot, 'docs', 'errors.md'), 'utf8').matchAll(/^\| `(WEFT_\w+)` \|/gm),
  ].map(([, code = '']) => code);
  assert.deepEqual(listed, [...codesInSource()].sort());
});
