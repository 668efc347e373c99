import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';

/** A temporary repository with the script, one source file and its test. */
const repository = mkdtempSync(join(tmpdir(), 'weft-check-'));
const write = (file: string, text: string): void => writeFileSync(join(repository, file), text);
const git = (...args: string[]): string =>
  execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@localhost', ...args], {
    cwd: repository,
    encoding: 'utf8',
  });
const source = 'export const one = 1;\n';
const unitTest = `import assert from 'node:assert/strict';
import { test } from 'node:test';
import { one } from './one.js';

test('one', () => assert.equal(one, 1));
`;

function check(...args: string[]): { readonly status: number | null; readonly stdout: string } {
  // With NODE_TEST_CONTEXT set, the inner test runner would report to this one.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return spawnSync('bash', ['.ci/check', ...args], { cwd: repository, encoding: 'utf8', env });
}
/** The results and names of the steps that ran, sorted. */
const steps = (stdout: string): string[] =>
  [...stdout.matchAll(/^(ok|FAILED) +(.*) \(\d+ s\)$/gm)].map(([, how, name]) => `${how} ${name}`).sort();

before(() => {
  for (const dir of ['.ci', '.githooks', 'src/room', 'dist'])
    mkdirSync(join(repository, dir), { recursive: true });
  for (const file of ['.ci/check', '.githooks/pre-commit', '.prettierrc.json', 'tsconfig.json', 'lint'])
    cpSync(join(projectRoot, file), join(repository, file), { recursive: true });
  symlinkSync(join(projectRoot, 'node_modules'), join(repository, 'node_modules'));
  write('package.json', '{ "type": "module", "scripts": { "build:ts": "tsc -p tsconfig.json" } }\n');
  write('.gitignore', 'node_modules\ndist/\n');
  write(
    'eslint.config.js',
    `import tseslint from 'typescript-eslint';\nexport default [...tseslint.configs.recommended, { rules: { eqeqeq: 'error' } }];\n`,
  );
  write('src/room/one.ts', source);
  write('src/room/one.test.ts', unitTest);
  git('init', '-q', '-b', 'main');
  git('add', '-A');
  git('commit', '-q', '-m', 'begin');
});
after(() => rmSync(repository, { recursive: true, force: true }));

test('only changed files are linted and formatted, and only their folders are tested', () => {
  assert.deepEqual(steps(check().stdout), ['ok types']);
  write('src/room/two.ts', 'export const two = 2;\n');
  const { status, stdout } = check();
  assert.equal(status, 0, stdout);
  assert.deepEqual(steps(stdout), [
    'ok 1 files of unit tests',
    'ok format of 1 files',
    'ok lint of 1 files',
    'ok types',
  ]);
  assert.match(stdout, /^check: 1 changed files \(since HEAD\)$/m);
  assert.match(stdout, /^check: passed after \d+ s$/m);
});

test('a failed step is printed with its output, and fails the check', () => {
  write('src/room/one.ts', 'export const one=2;\nexport const isTwo = (n: number): boolean => n == 2;\n');
  const { status, stdout } = check();
  assert.equal(status, 1);
  assert.deepEqual(steps(stdout), [
    'FAILED 1 files of unit tests',
    'FAILED format of 2 files',
    'FAILED lint of 2 files',
    'ok types',
  ]);
  assert.match(stdout, /Expected '===' and instead saw '=='/);
  write('src/room/one.ts', 'export const one: string = 1;\n');
  assert.match(check().stdout, /^FAILED +types[^]*TS2322/m);
});

test('the hook checks staged files only, and prevents a commit that fails', () => {
  write('src/room/one.ts', source);
  git('config', 'core.hooksPath', '.githooks');
  write('src/room/two.ts', 'export const two=2;\n');
  // Not staged, so not part of the commit.
  write('src/room/three.ts', 'export const three=3;\n');
  git('add', 'src/room/two.ts');
  assert.throws(() => git('commit', '-q', '-m', 'two'), /FAILED +format of 1 files/);
  write('src/room/two.ts', 'export const two = 2;\n');
  git('add', 'src/room/two.ts');
  git('commit', '-q', '-m', 'two');
  assert.equal(git('log', '--format=%s', '-1').trim(), 'two');
});

test('given a reference, the check covers the changes of the branch since that reference', () => {
  git('checkout', '-q', '-b', 'branch', 'HEAD~1');
  write('src/room/four.ts', 'export const four = 4;\n');
  git('add', 'src/room/four.ts');
  git('commit', '-q', '--no-verify', '-m', 'four');
  rmSync(join(repository, 'src/room/three.ts'));
  const { stdout } = check('main');
  assert.match(stdout, /^check: 1 changed files \(since main\)$/m);
  assert.equal(check('--what').status, 2);
});
