import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { projectRoot } from '../../native/index.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-run-'));
after(() => rmSync(dir, { recursive: true, force: true }));

function runTests(...files: string[]): { readonly status: number | null; readonly lines: string[] } {
  // With NODE_TEST_CONTEXT set, the inner test runner would report to this one.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout } = spawnSync('bash', ['test/run.sh', ...files], {
    cwd: projectRoot,
    encoding: 'utf8',
    env,
  });
  return { status, lines: stdout.trimEnd().split('\n') };
}
const write = (name: string, text: string): string => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};

test('the end of the output names each failed test with the first lines of its error', () => {
  const good = write('good.test.js', `require('node:test').test('good', () => undefined);`);
  const bad = write(
    'bad.test.js',
    `const { test } = require('node:test');
test('the second step', () => { throw new Error('what failed\\nand why'); });
test('a good one', () => undefined);`,
  );
  const dead = write('dead.test.js', `console.log('the last words'); process.exit(3);`);
  const { status, lines } = runTests(good, bad, dead);
  assert.equal(status, 1);
  assert.equal(lines.at(-1), '2 passed, 2 failed');
  const end = lines.slice(lines.indexOf('failed:'), -1).join('\n');
  assert.match(end, /bad\.test\.js: ✖ the second step\n +Error: what failed\n +and why/);
  assert.match(end, /dead\.test\.js: ✖ .*dead\.test\.js\n/);
  assert.doesNotMatch(end, /good/);
  assert.deepEqual(
    lines.filter((line) => /^✔/.test(line)).map((line) => line.replace(/ \(.*/, '')),
    ['✔ a good one'],
    'a job that passed prints one line',
  );
});
