import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Finding } from '../findings/finding.js';

const weft = fileURLToPath(new URL('./weft.js', import.meta.url));
const runWith = (
  input: string,
  ...args: string[]
): Promise<{ readonly code: number; readonly stdout: string }> =>
  new Promise((resolve) => {
    const child = execFile(process.execPath, [weft, ...args], { encoding: 'utf8' }, (error, stdout) =>
      resolve({ code: error ? Number(error.code) : 0, stdout }),
    );
    child.stdin?.end(input);
  });
const run = (...args: string[]) => runWith('', ...args);

test('weft check -f lists the problems of manifests, and fails if there is one', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-check-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'a.yaml');
  writeFileSync(
    file,
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mdoe: strict } }\n',
  );
  const bad = await run('check', '-f', dir);
  assert.equal(bad.code, 1);
  assert.match(
    bad.stdout,
    /^FAIL {2}Namespace shop: label weft\.dev\/mdoe is unknown: .*did you mean weft\.dev\/mode\?/m,
  );
  writeFileSync(
    file,
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mode: strict } }\n',
  );
  const good = await run('check', '--json', '-f', file);
  assert.equal(good.code, 0);
  assert.deepEqual(
    (JSON.parse(good.stdout) as Finding[]).map(({ level }) => level),
    ['ok'],
  );
  assert.equal((await run('check', '-f', join(dir, 'gone'))).code, 1);
});

test('weft check -f - reads standard input', async () => {
  const text =
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mdoe: strict } }\n';
  const bad = await runWith(text, 'check', '-f', '-');
  assert.equal(bad.code, 1);
  assert.match(bad.stdout, /^FAIL {2}Namespace shop: label weft\.dev\/mdoe is unknown/m);
  assert.equal((await runWith(text.replace('mdoe', 'mode'), 'check', '-f', '-')).code, 0);
});
