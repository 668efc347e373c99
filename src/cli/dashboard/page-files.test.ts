import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { readPageFiles, staticPage, type PageFiles } from './page-files.js';
import { withoutPaths } from './shared-snapshot.js';

const files: PageFiles = {
  html: '<!doctype html><html><head lang="en"><link rel="stylesheet" href="/page.css"><script type="module" src="/page.js"></script></head><body></body></html>',
  script: 'const end = "</script>", price = "$&";',
  style: 'body { color: red }',
};
const snapshot: MeshSnapshot = {
  format: 1,
  takenMs: 0,
  mesh: { kind: 'testbed', name: '</script><script>alert(1)</script>', version: '0' },
  fromMs: 0,
  programs: [],
  workloads: [],
  edges: [],
  policies: [],
  problems: [],
  changes: [],
  incomplete: [],
};

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

function check(page: string): void {
  const scripts = [...page.matchAll(/<script\b([^>]*)>([^]*?)<\/script>/g)];
  assert.equal(scripts.length, 2, 'the data and the script');
  const [[, , json = ''], [, , script = '']] = scripts as unknown as [string[], string[]];
  assert.deepEqual(JSON.parse(json), snapshot);
  const [, style = ''] = /<style>([^]*?)<\/style>/.exec(page) ?? [];
  const [, policy = ''] = /<meta http-equiv="Content-Security-Policy" content="([^"]*)">/.exec(page) ?? [];
  assert.ok(policy.startsWith("default-src 'none'; "));
  assert.ok(policy.includes(`script-src ${hash(script)};`));
  assert.ok(policy.includes(`style-src ${hash(style)};`));
  assert.doesNotMatch(policy, /unsafe|connect-src/);
  assert.ok(
    page.indexOf('http-equiv="Content-Security-Policy"') < page.indexOf('<style>'),
    'before what it is for',
  );
  assert.doesNotMatch(page, /(?:src|href)="\/?page\./);
}

test('a page with a snapshot is one file; texts of the mesh cannot end its elements, and its policy permits its own script alone', () => {
  const page = staticPage(files, snapshot);
  check(page);
  assert.ok(page.includes('price = "$&"'));
});

test('the page of this build can be made one file', () => {
  check(staticPage(readPageFiles(), snapshot));
});

test('a page of another form is refused, instead of one without its policy', () => {
  assert.throws(() => staticPage({ ...files, html: '<p>' }, snapshot), /the page has no part/);
});

test('a shared snapshot does not say where files are on this machine', () => {
  const change = {
    kind: 'Service',
    namespace: 'shop',
    name: 'api',
    operation: 'created' as const,
    timeMs: 0,
    resources: 1,
    receivers: [],
    file: '/home/ann/mesh/api.yaml',
  };
  const shared = withoutPaths({
    ...snapshot,
    changes: [change],
    problems: [{ level: 'fail', what: '/home/ann/mesh/api.yaml:3: Service shop/api: wrong' }],
    incomplete: ['edges: there is no /run/weft/x/control/admin.sock: start it'],
  });
  assert.equal(shared.changes[0]?.file, 'api.yaml');
  assert.equal(shared.problems[0]?.what, 'api.yaml:3: Service shop/api: wrong');
  assert.deepEqual(shared.incomplete, ['edges: there is no admin.sock: start it']);
});
