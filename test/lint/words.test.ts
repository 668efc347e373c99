import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { projectRoot } from '../../native/index.js';
import { complaints } from './complaints.js';

const { retiredInNative } = (await import(
  pathToFileURL(join(projectRoot, 'lint/retired-words.js')).href
)) as { retiredInNative(file: string, source: string, allowed?: ReadonlySet<string>): string[] };

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

test('a C++ or .proto file with a retired word in a name, a comment or its path fails', () => {
  for (const code of [
    'bool was_told_reset_ = false;',
    'void Withdrawn(FlowId flow);',
    '  kWithdrawn, kOpened',
    'message Withdrawn { fixed64 flow = 1; }',
    '// The thread of the data path.',
    '/* Every pod that is\n * enroled: its enrolment. */',
    "char quote = '\\''; int told = 1'000;",
  ])
    assert.equal(retiredInNative('native/x/x.cc', code).length, 1, code);
  assert.equal(retiredInNative('native/x/carried.h', '').length, 1);
  assert.deepEqual(retiredInNative('native/x/x.cc', 'void Told(int note);'), [
    'native/x/x.cc: "told" in Told is a retired word: write the resource update, or sent, updated, report',
  ]);
  for (const code of [
    '// The agent is told, and takes the note away.',
    'Log("told to end"); // a text',
    'const int retold = 1; OnGoAway(); std::from_chars(text);',
    'struct weft_live live = { .dialled = ip };',
  ])
    assert.deepEqual(retiredInNative('native/x/x.cc', code, kernelNames), [], code);
});

/** Fields of rows that a new build copies from the former build's maps by their names. */
const kernelNames = new Set(['dialled', 'dialled_port']);

test('no C, C++ or .proto file has a retired word', () => {
  const skipped = new Set(['node_modules', 'build', 'dist', '.git']);
  const filesBelow = (dir: string): string[] =>
    readdirSync(join(projectRoot, dir), { withFileTypes: true }).flatMap((entry) => {
      if (skipped.has(entry.name)) return [];
      const path = dir === '' ? entry.name : `${dir}/${entry.name}`;
      return entry.isDirectory() ? filesBelow(path) : path;
    });
  const files = ['bpf', 'native', 'src'].flatMap(filesBelow).filter((file) => /\.(cc?|h|proto)$/.test(file));
  assert.ok(files.some((file) => file.endsWith('.proto')) && files.length > 100, `${files.length} files`);
  assert.deepEqual(
    files.flatMap((file) =>
      retiredInNative(file, readFileSync(join(projectRoot, file), 'utf8'), kernelNames),
    ),
    [],
  );
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
