import assert from 'node:assert/strict';
import { test } from 'node:test';
import { complaints } from './complaints.js';

const words = 'weft/retired-words';

test('a name with a retired word fails the build, and the message names the field’s word', async () => {
  assert.deepEqual(await complaints(words, 'src/x/x.ts', 'const toldRoots = 1;'), [
    '"told" in toldRoots is a retired word: write the resource update, or sent, updated, report',
  ]);
  for (const code of [
    'function judgeRequest() {}',
    'const f = (routeTroubles: number) => routeTroubles;',
    'class Upkeep {}',
    'class A { #carried = 1; }',
    'class A { letGo() {} }',
    'interface A { readonly facts: string }',
    'type TunnelFacts = string;',
    'const { a: withdrawn } = { a: 1 };',
    "import { sent as told } from 'x';",
    '/** Every part that is enroled: its enrolment. */',
  ])
    assert.equal((await complaints(words, 'src/x/x.ts', code)).length, 1, code);
});

test('the names of a file and of its folder are checked', async () => {
  assert.equal((await complaints(words, 'control/compile/told.ts', '')).length, 1);
  assert.equal((await complaints(words, 'daemonset/carried/row.ts', '')).length, 1);
});

test('ordinary English, names from libraries and keys of objects pass', async () => {
  for (const code of [
    '// The control plane is told, and carries the note away.',
    'const retold = 1, embed = 2, factory = 3;',
    "import { told } from 'library';",
    "import { told } from 'library'; told.judge();",
    'const { told, facts = 1 } = JSON.parse("");',
    'const body = { facts: 1, told: 2 };',
    'const note = 1; const narrow = true;',
  ])
    assert.deepEqual(await complaints(words, 'src/x/x.ts', code), [], code);
});

test('a word that is retired in some folders is refused only there', async () => {
  assert.equal((await complaints(words, 'daemonset/x.ts', 'const note = 1;')).length, 1);
  assert.equal((await complaints(words, 'control/x.ts', 'function narrow() {}')).length, 1);
});

test('a file of more than 500 lines must state the reason in its first comment', async () => {
  const rule = 'weft/file-length';
  const lines = (count: number): string => 'export {};\n'.repeat(count);
  assert.deepEqual(await complaints(rule, 'src/x/x.ts', lines(500)), []);
  assert.deepEqual(await complaints(rule, 'src/x/x.ts', lines(501)), [
    '501 lines: split this file by its nouns, or begin it with "// Over 500 lines: REASON"',
  ]);
  assert.deepEqual(
    await complaints(rule, 'src/x/x.ts', `// Over 500 lines: a table of all codes.\n${lines(501)}`),
    [],
  );
  assert.equal((await complaints(rule, 'src/x/x.ts', `// Over 500 lines:\n${lines(501)}`)).length, 1);
});
