/** Code that nothing uses: a value that a file exports is named in another one. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../../native/index.js';

const skipped = new Set(['node_modules', 'build', 'dist', 'gen']);
function* sourcesBelow(dir: string): Generator<string> {
  for (const entry of readdirSync(join(projectRoot, dir), { withFileTypes: true })) {
    const path = `${dir}/${entry.name}`;
    if (entry.isDirectory()) {
      if (!skipped.has(entry.name)) yield* sourcesBelow(path);
    } else if (/(?<!\.generated)\.(tsx?|mjs|js)$/.test(entry.name)) yield path;
  }
}

test('every exported constant, function and class is used by another file', () => {
  const files = ['src', 'control', 'daemonset', 'native', 'bench', 'test', 'lint'].flatMap((dir) => [
    ...sourcesBelow(dir),
  ]);
  const namesOf = new Map(
    files.map((file) => [
      file,
      new Set(readFileSync(join(projectRoot, file), 'utf8').match(/[A-Za-z_$][\w$]*/g)),
    ]),
  );
  const filesWith = new Map<string, number>();
  for (const names of namesOf.values())
    for (const name of names) filesWith.set(name, (filesWith.get(name) ?? 0) + 1);
  const exported = /^export (?:async )?(?:abstract )?(?:const|let|function\*?|class|enum) ([\w$]+)/gm;
  const ours = files.filter((file) => /^(src|control|daemonset)\/.*(?<!\.test)\.tsx?$/.test(file));
  assert.ok(ours.length > 300, `${ours.length} files`);
  const unused = ours.flatMap((file) =>
    [...readFileSync(join(projectRoot, file), 'utf8').matchAll(exported)]
      .map(([, name = '']) => name)
      .filter((name) => filesWith.get(name) === 1)
      .map((name) => `${file}: ${name}`),
  );
  assert.deepEqual(unused, []);
});
