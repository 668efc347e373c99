/** The command as users run it, on directories. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const weft = fileURLToPath(new URL('./weft.js', import.meta.url));
interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
const run = (...args: string[]): Promise<Ran> => runWith('', ...args);
/** @param input standard input */
const runWith = (input: string, ...args: string[]): Promise<Ran> =>
  new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [weft, 'migrate', ...args],
      { encoding: 'utf8' },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
    child.stdin?.end(input);
  });

const policy = (rule: string): string =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: web, namespace: shop }\nspec: { rules: [{ from: [{ source: { ${rule} } }] }] }\n`;
const namespace =
  'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }\n';
const deployment =
  'apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web, namespace: shop }\nspec: { template: {} }\n';

function directory(files: Readonly<Record<string, string>>): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-migrate-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  return dir;
}

test('check reads a directory with its subdirectories, as text and as JSON, and the exit code says whether all is carried out', async (t) => {
  const dir = directory({
    'a.yaml': `${namespace}---\n${deployment}`,
    'policies/b.yaml':
      'apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: { name: lua, namespace: shop }\nspec: {}\n',
  });
  t.after(() => rmSync(dir, { recursive: true }));
  const text = await run('check', '-f', dir);
  assert.equal(text.code, 1);
  assert.match(text.stdout, /^works {4}Namespace shop \(.*a\.yaml:1\)$/m);
  assert.match(text.stdout, /^MISSING {2}EnvoyFilter shop\/lua \(.*policies\/b\.yaml:1\)$/m);
  assert.match(text.stdout, /1 other object needs nothing$/m);
  const json = await run('check', '-o', 'json', '-f', join(dir, 'a.yaml'));
  assert.equal(json.code, 0);
  const report = JSON.parse(json.stdout) as { objects: { name: string; result: string }[] };
  assert.deepEqual(
    report.objects.map(({ name, result }) => `${name} ${result}`),
    ['shop works'],
  );
  assert.equal((await run('check', '-f', join(dir, 'gone'))).code, 1);
  const neither = await run('check');
  assert.equal(neither.code, 2);
  assert.match(neither.stderr, /WEFT_SOURCE: give either -f, with manifests, or --cluster/);
});

test('convert writes a file for each file, what is not written is a comment and a line on standard error, and sets the exit code', async (t) => {
  const dir = directory({
    'in/good.yaml': `${namespace}---\n${policy('namespaces: [edge]')}`,
    'in/sub/bad.yaml': policy("trustDomains: ['*a']"),
    'in/none.yaml': deployment,
  });
  t.after(() => rmSync(dir, { recursive: true }));
  const good = await run('convert', '-f', join(dir, 'in', 'good.yaml'));
  assert.equal(good.code, 0, good.stderr);
  assert.match(good.stdout, /kind: AccessPolicy/);
  const out = join(dir, 'out');
  const all = await run('convert', '-f', join(dir, 'in'), '-o', out);
  assert.equal(all.code, 1);
  assert.deepEqual(readdirSync(out, { recursive: true }).sort(), ['good.yaml', 'sub', 'sub/bad.yaml']);
  assert.match(
    readFileSync(join(out, 'sub', 'bad.yaml'), 'utf8'),
    /# not converted: .*trustDomains: .*closed/,
  );
  assert.match(all.stderr, /^not converted: .*bad\.yaml:1: AuthorizationPolicy shop\/web: .*trustDomains/m);
  const onto = await run('convert', '-f', join(dir, 'in'), '-o', join(dir, 'in'));
  assert.equal(onto.code, 1);
  assert.match(onto.stderr, /would replace what was read/);
  assert.match(readFileSync(join(dir, 'in', 'good.yaml'), 'utf8'), /istio\.io\/dataplane-mode/);
});

test('check and convert read standard input by the path -', async (t) => {
  const report = await runWith(`${namespace}---\n${policy('namespaces: [shop]')}`, 'check', '-f', '-');
  assert.equal(report.code, 0);
  assert.match(report.stdout, /^works {4}AuthorizationPolicy shop\/web \(stdin:5\)$/m);
  const printed = await runWith(policy('namespaces: [shop]'), 'convert', '-f', '-');
  assert.equal(printed.code, 0);
  assert.match(printed.stdout, /kind: AccessPolicy/);
  const dir = mkdtempSync(join(tmpdir(), 'weft-migrate-'));
  t.after(() => rmSync(dir, { recursive: true }));
  assert.equal((await runWith(policy('namespaces: [shop]'), 'convert', '-f', '-', '-o', dir)).code, 0);
  assert.deepEqual(readdirSync(dir), ['stdin.yaml']);
});
