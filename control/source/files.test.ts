import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MeshObject } from '../compile/objects.js';
import { fileErrorText, FileSource, parseManifests, type FileError } from './files.js';

const policy = (spec: string): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: p, namespace: shop }
spec:
${spec}`;

const cases: [name: string, text: string, line: number, field: RegExp, message: RegExp][] = [
  ['broken YAML', 'kind: Pod\nmetadata: { name: [', 2, /^$/, /./],
  ['no kind', 'metadata: { name: x }', 1, /^kind$/, /missing/],
  ['an unknown action', policy('  action: MAYBE\n  rules: []'), 5, /^spec.action$/, /ALLOW, DENY/],
  [
    'a misspelt field',
    policy('  action: DENY\n  rules:\n    - form: []'),
    7,
    /^spec.rules.0.form$/,
    /additional/,
  ],
  [
    'a service account without its namespace',
    policy('  action: DENY\n  rules:\n    - from:\n        - serviceAccounts: [web]'),
    8,
    /^spec.rules.0.from.0.serviceAccounts.0$/,
    /must be a service account as NAMESPACE\/NAME/,
  ],
  [
    'a port out of range',
    policy('  action: DENY\n  rules:\n    - to:\n        - ports: [70000]'),
    8,
    /ports.0$/,
    /65535/,
  ],
  [
    'an address that is none',
    policy('  action: DENY\n  rules:\n    - from:\n        - cidrs: [10.0.0.0/99]'),
    8,
    /cidrs.0$/,
    /^must be an address block like/,
  ],
  [
    'an address that only looks like one',
    policy("  action: DENY\n  rules:\n    - from:\n        - cidrs: ['1::2::3/64']"),
    1,
    /AccessPolicy\/p/,
    /cidrs: .*no IP address/,
  ],
  ['a pod without a node', 'kind: Pod\nmetadata: { name: x }\nspec: {}', 3, /^spec$/, /nodeName/],
  [
    'a pod whose address is none',
    'kind: Pod\nmetadata: { name: x }\nspec: { nodeName: n }\nstatus: { podIPs: [{ ip: 1.2.3 }] }',
    1,
    /Pod\/x/,
    /no IP/,
  ],
  [
    'a policy without a name',
    'kind: AccessPolicy\nspec: { action: DENY, rules: [] }',
    1,
    /metadata/,
    /required/,
  ],
];

for (const [name, text, line, field, message] of cases) {
  test(`refuses ${name}, naming line and field`, () => {
    const { objects, errors } = parseManifests('x.yaml', text);
    assert.equal(objects.length, 0);
    assert.ok(errors[0], 'an error');
    assert.equal(errors[0].line, line);
    assert.match(errors[0].field, field);
    assert.match(errors[0].message, message);
  });
}

test('passes over kinds that it does not read', () => {
  const { objects, errors } = parseManifests('x.yaml', 'kind: ConfigMap\nmetadata: { name: x }');
  assert.deepEqual([objects, errors], [[], []]);
});

test('a bad file is told and its last good state stays; a removed file takes its objects along', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-files-'));
  const seen: (readonly MeshObject[])[] = [];
  const errors: FileError[] = [];
  writeFileSync(join(dir, 'a.yaml'), 'kind: Namespace\nmetadata: { name: a }');
  writeFileSync(join(dir, 'b.yaml'), 'kind: Namespace\nmetadata: { name: b }');
  const source = new FileSource({
    dirs: [dir],
    onObjects: (o) => seen.push(o),
    onErrors: (e) => errors.push(...e),
  });
  source.start();
  try {
    writeFileSync(join(dir, 'b.yaml'), 'kind: Namespace\nmetadata: { name: B_ }');
    while (errors.length === 0) await sleep(20);
    assert.equal(errors[0]?.file, 'b.yaml');
    assert.deepEqual(
      seen.at(-1)?.map((o) => o.metadata.name),
      ['a', 'b'],
    );
    rmSync(join(dir, 'a.yaml'));
    while (seen.length < 2) await sleep(20);
    assert.deepEqual(
      seen.at(-1)?.map((o) => o.metadata.name),
      ['b'],
    );
  } finally {
    source.stop();
    rmSync(dir, { recursive: true });
  }
});

/** What a source of this directory says at its start. */
function atStart(files: Readonly<Record<string, string>>): { objects: MeshObject[]; errors: FileError[] } {
  const dir = mkdtempSync(join(tmpdir(), 'weft-files-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  const objects: MeshObject[] = [];
  const errors: FileError[] = [];
  const source = new FileSource({
    dirs: [dir],
    onObjects: (all) => objects.push(...all),
    onErrors: (all) => errors.push(...all),
  });
  try {
    source.start();
  } finally {
    source.stop();
    rmSync(dir, { recursive: true });
  }
  return { objects, errors };
}
const invalid = policy(
  '  action: ALLOW\n  selector: { matchLabels: { app: a } }\n  rules: [{ from: [{ cidrs: [10.0.0.0/99] }] }]',
);

test('a policy that never was well closes what it selects, and what else its file says is in force', () => {
  const { objects, errors } = atStart({
    'a.yaml': `kind: Namespace\nmetadata: { name: a }\n---\n${invalid}`,
  });
  assert.match(errors[0]?.message ?? '', /must be an address block/);
  assert.deepEqual(
    objects.map(({ kind }) => kind),
    ['Namespace', 'AccessPolicy'],
  );
  const [, closed] = objects;
  assert.ok(closed?.kind === 'AccessPolicy');
  assert.deepEqual(closed.spec, { action: 'DENY', selector: { matchLabels: { app: 'a' } }, rules: [{}] });
});

test('a file of which nobody knows what it closes keeps the control plane from starting, and says which', () => {
  assert.throws(
    () => atStart({ 'a.yaml': 'kind: Pod\nmetadata: { name: [' }),
    /WEFT_SOURCE_UNREADABLE.*a\.yaml:2|a\.yaml:2/,
  );
  assert.throws(
    () => atStart({ 'a.yaml': 'kind: AccessPolicy\nspec: { action: DENY, rules: [] }' }),
    /a\.yaml/,
  );
  assert.throws(() => atStart({ 'a.yaml': 'metadata: { name: x }' }), /a\.yaml/);
});

test('a file that cannot be opened for another reason than that it is gone changes nothing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-files-'));
  const seen: (readonly MeshObject[])[] = [];
  const errors: FileError[] = [];
  writeFileSync(join(dir, 'a.yaml'), policy('  action: DENY\n  rules: []'));
  writeFileSync(join(dir, 'b.yaml'), 'kind: Namespace\nmetadata: { name: b }');
  const source = new FileSource({
    dirs: [dir],
    onObjects: (all) => seen.push(all),
    onErrors: (all) => errors.push(...all),
  });
  source.start();
  try {
    // EISDIR stands for EMFILE and EACCES: root is refused nothing.
    rmSync(join(dir, 'a.yaml'));
    mkdirSync(join(dir, 'a.yaml'));
    while (errors.length === 0) await sleep(20);
    writeFileSync(join(dir, 'b.yaml'), 'kind: Namespace\nmetadata: { name: c }');
    while (seen.at(-1)?.every(({ metadata }) => metadata.name !== 'c')) await sleep(20);
    assert.deepEqual(
      seen.at(-1)?.map(({ kind }) => kind),
      ['AccessPolicy', 'Namespace'],
    );
    assert.equal(source.problems.length, 1);
  } finally {
    source.stop();
    rmSync(dir, { recursive: true });
  }
});

test('an edit that cannot be read leaves what the file last said well, and a policy that is new in it closes what it selects', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-files-'));
  let objects: readonly MeshObject[] = [];
  const errors: FileError[] = [];
  const well = policy('  action: DENY\n  rules: []');
  writeFileSync(join(dir, 'a.yaml'), well);
  const source = new FileSource({
    dirs: [dir],
    onObjects: (all) => (objects = all),
    onErrors: (all) => errors.push(...all),
  });
  source.start();
  try {
    const before = objects[0];
    writeFileSync(join(dir, 'a.yaml'), `${invalid}\n---\n${invalid.replace('name: p', 'name: q')}`);
    while (objects.length < 2) await sleep(20);
    assert.deepEqual(objects[0], before);
    assert.equal(objects[1]?.metadata.name, 'q');
    assert.ok(objects[1]?.kind === 'AccessPolicy' && objects[1].invalid !== undefined);
  } finally {
    source.stop();
    rmSync(dir, { recursive: true });
  }
});

test('an object of Weft that is no kind of it, or one inside a List, is not passed over', () => {
  const typo = policy('  action: DENY\n  rules: []').replace('AccessPolicy', 'AcessPolicy');
  const { errors, isUnreadable } = parseManifests('a.yaml', typo);
  assert.equal(isUnreadable, true);
  assert.match(errors[0]?.message ?? '', /weft\.dev has no kind AcessPolicy; it has AccessPolicy, /);
  for (const kind of ['List', 'AccessPolicyList']) {
    const list = `kind: Namespace\nmetadata: { name: a }\n---\napiVersion: v1\nkind: ${kind}\nitems: []`;
    const parsed = parseManifests('a.yaml', list);
    assert.equal(parsed.isUnreadable, true);
    assert.equal(parsed.errors[0]?.line, 5);
    assert.match(parsed.errors[0]?.message ?? '', /write each object as a document of its own/);
  }
  assert.throws(() => atStart({ 'a.yaml': 'kind: List\nitems: []' }), /a\.yaml:1: kind: List is not read/);
  const foreign = 'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: a }';
  assert.deepEqual(parseManifests('a.yaml', foreign).errors, []);
});

test('the errors of a file that is gone are gone too', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-files-'));
  let told = 0;
  writeFileSync(join(dir, 'a.yaml'), 'kind: Namespace\nmetadata: { name: a }');
  const source = new FileSource({ dirs: [dir], onObjects: () => undefined, onErrors: () => told++ });
  source.start();
  try {
    writeFileSync(join(dir, 'b.yaml'), 'metadata: [');
    while (told === 0) await sleep(20);
    assert.ok(source.problems.length > 0);
    rmSync(join(dir, 'b.yaml'));
    const until = Date.now() + 3_000;
    while (told === 1 && Date.now() < until) await sleep(20);
    assert.equal(told, 2);
    assert.deepEqual(source.problems, []);
  } finally {
    source.stop();
    rmSync(dir, { recursive: true });
  }
});

test('an error without a field or a line is one sentence', () => {
  const at = { file: 'a.yaml', message: 'wrong' };
  assert.equal(fileErrorText({ ...at, line: 3, field: 'spec' }), 'a.yaml:3: spec: wrong');
  assert.equal(fileErrorText({ ...at, line: 0, field: '' }), 'a.yaml: wrong');
});
