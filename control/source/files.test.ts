import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MeshObject } from '../objects/objects.js';
import { FileSource, unsettledForMs } from './files.js';
import { fileErrorText, type FileError } from './parse.js';
import { unusedText } from './parse.js';

const policy = (spec: string): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: p, namespace: shop }
spec:
${spec}`;

test('a bad file is reported and its last valid state stays; a removed file removes its objects', async () => {
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

/** Starts a source of this directory. */
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

test('a strict namespace is in the mesh and strict at the start although one of its labels is a number', () => {
  const labels = '{ weft.dev/mesh: enabled, weft.dev/mode: strict, build: 5 }';
  const { objects, errors } = atStart({
    'a.yaml': `kind: Namespace\nmetadata: { name: shop, labels: ${labels} }`,
    'b.yaml': 'kind: Namespace\nmetadata: { name: Wrong_, labels: { build: 5 } }',
  });
  assert.deepEqual(
    objects.map(({ metadata }) => metadata),
    [{ name: 'shop', labels: { 'weft.dev/mesh': 'enabled', 'weft.dev/mode': 'strict', build: '5' } }],
  );
  assert.match(errors[0]?.message ?? '', /5 is a number in YAML, write "5"/);
});

test('beyond the limit of files, those that were read before stay in force', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-files-'));
  for (let at = 0; at < 9_999; at++) writeFileSync(join(dir, `m${at}.yaml`), '');
  writeFileSync(join(dir, 'z.yaml'), 'kind: Namespace\nmetadata: { name: z }');
  let objects: readonly MeshObject[] = [];
  const errors: FileError[] = [];
  const source = new FileSource({
    dirs: [dir],
    onObjects: (all) => (objects = all),
    onErrors: (all) => errors.push(...all),
  });
  source.start();
  try {
    for (const name of ['a', 'b'])
      writeFileSync(join(dir, `${name}.yaml`), `kind: Namespace\nmetadata: { name: ${name} }`);
    while (errors.length === 0) await sleep(20);
    assert.match(errors[0]?.message ?? '', /more than 10000 files/);
    await sleep(400);
    assert.deepEqual(
      objects.map(({ metadata }) => metadata.name),
      ['z'],
    );
    for (const at of [1, 2]) rmSync(join(dir, `m${at}.yaml`));
    while (objects.length < 3) await sleep(20);
  } finally {
    source.stop();
    rmSync(dir, { recursive: true });
  }
});

test('a policy that was never valid closes what it selects, and the rest of its file is in force', () => {
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

test('an unreadable file prevents the control plane from starting, and the error names the file', () => {
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

test('a file that exists but cannot be opened changes nothing', async () => {
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
    // EISDIR stands for EMFILE and EACCES, because root is never refused access.
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

test('an unreadable edit leaves the last valid content in force, and a new policy in it closes what it selects', async () => {
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

/** A directory whose source is observed edit by edit. */
class Directory {
  readonly dir = mkdtempSync(join(tmpdir(), 'weft-files-'));
  objects: readonly MeshObject[] = [];
  reports = 0;
  readonly errors: string[] = [];
  readonly unused: string[] = [];
  readonly source = new FileSource({
    dirs: [this.dir],
    onObjects: (all) => {
      this.objects = all;
      this.reports++;
    },
    onErrors: (all) => this.errors.push(...all.map(fileErrorText)),
    onUnused: (file, unused) => this.unused.push(`${file}: ${unusedText(unused)}`),
  });

  constructor(t: TestContext, files: Readonly<Record<string, string>>) {
    for (const [name, text] of Object.entries(files)) this.write(name, text);
    this.source.start();
    t.after(() => {
      this.source.stop();
      rmSync(this.dir, { recursive: true });
    });
  }
  write(name: string, text: string): void {
    writeFileSync(join(this.dir, name), text);
  }
  /** `KIND name action` of the objects in force: as in the compiler, the last one of each name counts. */
  get inForce(): string[] {
    const last = new Map(this.objects.map((object) => [`${object.kind} ${object.metadata.name}`, object]));
    return [...last]
      .map(([name, object]) =>
        object.kind !== 'AccessPolicy'
          ? name
          : `${name} ${object.invalid === undefined ? object.spec.action : 'closed'}`,
      )
      .sort();
  }
  async until(holds: () => boolean, what: string): Promise<void> {
    for (let left = 1_500; !holds(); left--) {
      assert.ok(left > 0, `${what}: ${this.inForce.join(', ')}; ${this.errors.join('; ')}`);
      await sleep(20);
    }
  }
}
const named = (name: string, spec: string): string => policy(spec).replace('name: p', `name: ${name}`);
const deny = '  action: DENY\n  rules: []';
const allow = '  action: ALLOW\n  rules: []';
const space = (name: string): string => `kind: Namespace\nmetadata: { name: ${name} }`;
const stream = (...documents: readonly string[]): string => documents.join('\n---\n');

test('an invalid object does not affect the current content of other objects in its file', async (t) => {
  const d = new Directory(t, { 'a.yaml': stream(space('a'), named('p', deny), named('q', deny)) });
  assert.deepEqual(d.inForce, ['AccessPolicy p DENY', 'AccessPolicy q DENY', 'Namespace a']);
  const wrong = named('p', '  action: MAYBE\n  rules: []');
  d.write('a.yaml', stream(space('b'), wrong, named('q', allow), named('r', allow)));
  await d.until(() => d.inForce.includes('Namespace b'), 'the others are accepted');
  // The invalid object's former content is in force, and the missing object stays: it may be the unreadable one.
  assert.deepEqual(d.inForce, [
    'AccessPolicy p DENY',
    'AccessPolicy q ALLOW',
    'AccessPolicy r ALLOW',
    'Namespace a',
    'Namespace b',
  ]);
  assert.match(d.errors[0] ?? '', /^a\.yaml:8: spec\.action: /);
  d.write('a.yaml', stream(space('b'), named('q', allow)));
  await d.until(() => d.inForce.length === 2, 'without an error only the current content is in force');
  assert.deepEqual(d.source.problems, []);
});

test('a document that is not YAML removes nothing from force, and the other documents are accepted', async (t) => {
  const d = new Directory(t, { 'a.yaml': stream(named('p', deny), named('q', deny)) });
  d.write('a.yaml', stream('kind: AccessPolicy\nmetadata: { name: [', named('q', allow)));
  await d.until(() => d.inForce.includes('AccessPolicy q ALLOW'), 'the other is accepted');
  assert.deepEqual(d.inForce, ['AccessPolicy p DENY', 'AccessPolicy q ALLOW']);
  d.write('a.yaml', 'kind: AccessPolicy\nmetadata: { name: [');
  await d.until(() => d.source.problems.some(({ line }) => line === 2), 'the error is reported');
  assert.deepEqual(
    d.inForce,
    ['AccessPolicy p DENY', 'AccessPolicy q ALLOW'],
    'the former objects stay in force',
  );
});

test('a file that is being written changes nothing until it is complete', async (t) => {
  const before = named('p', deny);
  const d = new Directory(t, { 'a.yaml': before, 'b.yaml': space('a') });
  const whole = ['AccessPolicy p DENY', 'Namespace a'];
  // A writer that pauses for longer than the source waits is not what this is about: where the machine makes it pause, it begins again.
  const pauseMsMax = 40;
  const write = async (): Promise<boolean> => {
    const least: string[][] = [];
    // Truncated, and longer without content than the source needs to notice it.
    const fd = openSync(join(d.dir, 'a.yaml'), 'w');
    let wrote = Date.now();
    try {
      for (let i = 0; i < 30; i++, await sleep(20)) least.push(d.inForce);
      const isEmptyTooLong = Date.now() - wrote > 900;
      wrote = Date.now();
      for (const line of stream(named('q', deny), named('r', deny)).split('\n')) {
        writeSync(fd, `${line}\n`);
        if (isEmptyTooLong || Date.now() - wrote > pauseMsMax) return false;
        wrote = Date.now();
        await sleep(10);
        least.push(d.inForce);
      }
    } finally {
      closeSync(fd);
    }
    if (Date.now() - wrote > pauseMsMax) return false;
    assert.deepEqual(
      least.filter((seen) => seen.join() !== whole.join()),
      [],
      'no part of it ever was',
    );
    return true;
  };
  for (let left = 30; !(await write()); left--) {
    assert.ok(left > 0, 'this machine never wrote the file without a pause');
    d.write('a.yaml', before);
    await d.until(() => d.inForce.join() === whole.join(), 'the former file is in force');
    d.errors.length = 0;
  }
  await d.until(() => d.inForce.includes('AccessPolicy r DENY'), 'the complete file is in force');
  assert.deepEqual(d.errors, []);
  assert.deepEqual(d.inForce, ['AccessPolicy q DENY', 'AccessPolicy r DENY', 'Namespace a']);
  d.write('a.yaml', '');
  await d.until(() => d.inForce.length === 1, 'a file that stays empty has no objects');
});

test('content that was read before the last write is not complete, however late its age is asked', (t) => {
  const d = new Directory(t, { 'a.yaml': space('a') });
  const path = join(d.dir, 'a.yaml');
  const writtenMs = Date.now() - 60_000;
  utimesSync(path, writtenMs / 1_000, writtenMs / 1_000);
  assert.ok(unsettledForMs(path, writtenMs - 30_000) > 0);
  assert.ok(unsettledForMs(path, writtenMs + 10) > 0);
  assert.equal(unsettledForMs(path, writtenMs + 10_000), 0);
});

test('a policy that gets a new name and an error in one edit leaves nothing open', async (t) => {
  const d = new Directory(t, { 'a.yaml': named('p', deny) });
  d.write('a.yaml', named('q', '  action: MAYBE\n  rules: []'));
  await d.until(() => d.inForce.length === 2, 'the new one closes');
  assert.deepEqual(d.inForce, ['AccessPolicy p DENY', 'AccessPolicy q closed']);
});

test('an error that disappears with its object disappears from the status, too', async (t) => {
  const d = new Directory(t, { 'a.yaml': stream(space('a'), 'kind: Pod\nmetadata: { name: x }\nspec: {}') });
  assert.equal(d.source.problems.length, 1);
  d.write('a.yaml', space('a'));
  await d.until(() => d.source.problems.length === 0, 'no problem is left');
});

test('a duplicate object is reported, and the last definition is in force, regardless of which file was read first', async (t) => {
  const d = new Directory(t, { 'b.yaml': stream(space('a'), named('p', deny)) });
  d.write('a.yaml', stream(space('a'), named('p', allow)));
  await d.until(() => d.errors.length > 0, 'the warning is reported');
  assert.deepEqual(d.errors, [
    'b.yaml:4: AccessPolicy shop/p is also defined in a.yaml:4 with other content: this definition is in force',
  ]);
  assert.ok(d.inForce.includes('AccessPolicy p DENY'), 'as after a restart');
  d.write('a.yaml', space('a'));
  await d.until(() => d.source.problems.length === 0, 'the warning is gone');
  const twice = atStart({ 'a.yaml': stream(named('p', deny), named('p', allow)) });
  assert.match(twice.errors[0]?.message ?? '', /is also defined in a\.yaml:1 with/);
});

test('unused objects of a file are reported once for each version of its text', async (t) => {
  const other = 'apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: x }';
  const d = new Directory(t, { 'a.yaml': stream(space('a'), other, other) });
  assert.deepEqual(d.unused, ['a.yaml: 2 Deployment (apps/v1)']);
  d.write('a.yaml', stream(space('b'), other));
  await d.until(() => d.unused.length === 2, 'it is reported again');
  assert.equal(d.unused[1], 'a.yaml: 1 Deployment (apps/v1)');
});

test('the errors of a deleted file disappear', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-files-'));
  let reports = 0;
  writeFileSync(join(dir, 'a.yaml'), 'kind: Namespace\nmetadata: { name: a }');
  const source = new FileSource({ dirs: [dir], onObjects: () => undefined, onErrors: () => reports++ });
  source.start();
  try {
    writeFileSync(join(dir, 'b.yaml'), 'metadata: [');
    while (reports === 0) await sleep(20);
    assert.ok(source.problems.length > 0);
    rmSync(join(dir, 'b.yaml'));
    const until = Date.now() + 30_000;
    while (reports === 1 && Date.now() < until) await sleep(20);
    assert.equal(reports, 2);
    assert.deepEqual(source.problems, []);
  } finally {
    source.stop();
    rmSync(dir, { recursive: true });
  }
});
