import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manifestBytesMax, readManifests } from './manifests.js';

const valuesOf = (text: string): unknown[] => {
  const { manifests, errors } = readManifests(text);
  assert.deepEqual(errors, []);
  return manifests.map(({ value }) => value);
};
const namesOf = (text: string): unknown[] =>
  valuesOf(text).map((value) => (value as { metadata: { name: unknown } }).metadata.name);
const pod = (name: string): string => `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name} }\n`;

test('scalars have the same meaning as in kubectl', () => {
  // As shown by `kubectl annotate --local -o json` of version 1.32, except for the single letter.
  const [value] = valuesOf(
    '{a: yes, b: on, c: Off, d: y, e: 010, f: 0o10, g: 22:22, h: 2020-01-01, i: 1_000, j: 0x10, k: 1e3, l: "yes", m: ~, 5: x}',
  );
  assert.deepEqual(value, {
    ...{ a: true, b: true, c: false, d: 'y', e: 8, f: 8, g: '22:22', h: '2020-01-01', i: 1000 },
    ...{ j: 16, k: 1000, l: 'yes', m: null, 5: 'x' },
  });
});

test('merge keys', () => {
  const [value] = valuesOf('u: &u { a: 1, b: 2 }\nv: { <<: *u, b: 3 }\nw:\n  <<: [*u, { c: 4 }]\n');
  assert.deepEqual(value, { u: { a: 1, b: 2 }, v: { a: 1, b: 3 }, w: { a: 1, b: 2, c: 4 } });
});

test('several documents, empty ones among them', () => {
  assert.deepEqual(namesOf(`---\n---\n# only words\n---\n${pod('a')}---\n\n--- # b\n${pod('b')}...\n`), [
    'a',
    'b',
  ]);
  assert.deepEqual(namesOf(`%YAML 1.1\n---\n${pod('a')}`), ['a']);
  assert.deepEqual(namesOf(`\uFEFF${pod('a').replaceAll('\n', '\r\n')}---\r\n${pod('b')}`), ['a', 'b']);
  assert.deepEqual(valuesOf(''), []);
});

test('a broken document does not affect the others, whatever it leaves open', () => {
  for (const broken of ['a: [', 'a: "x', "a: 'x", 'a: b: c', 'a: *x', '\ta: b', 'a: 1\na: 2']) {
    const { manifests, errors } = readManifests(`${pod('a')}---\n${broken}\n---\n${pod('b')}`);
    assert.equal(manifests.length, 2, broken);
    assert.ok(errors[0], broken);
    assert.ok(errors[0].line >= 4 && errors[0].line <= 7, `${broken}: line ${errors[0].line}`);
  }
});

test('JSON with tabs, and a sequence of JSON objects', () => {
  const json = (name: string) => JSON.stringify({ kind: 'Pod', metadata: { name } }, undefined, '\t');
  assert.deepEqual(namesOf(json('a{"')), ['a{"']);
  assert.deepEqual(namesOf(`${json('a')}${json('b')}\n\n${json('c')}\n`), ['a', 'b', 'c']);
  const { manifests } = readManifests(`${json('a')}\n${json('b')}\n`);
  assert.equal(manifests[1]?.lineOf(['metadata', 'name']), 10);
  // Not JSON, although it begins like JSON.
  assert.deepEqual(namesOf(`{ kind: Pod, metadata: { name: a } }\n---\n${pod('b')}`), ['a', 'b']);
});

test('a List gives its items with their lines; items of a typed List have its kind', () => {
  const list = `apiVersion: v1\nkind: List\nitems:\n- kind: Pod\n  metadata: { name: a }\n- kind: Service\n  metadata:\n    name: b\n-\n`;
  const { manifests } = readManifests(list);
  assert.deepEqual(
    manifests.map(({ value }) => (value as { kind: string }).kind),
    ['Pod', 'Service'],
  );
  assert.equal(manifests[1]?.lineOf(['metadata', 'name']), 8);
  assert.equal(manifests[1]?.lineOf(['spec', 'ports', 0]), 6);
  assert.deepEqual(
    valuesOf('apiVersion: weft.dev/v1alpha1\nkind: AccessPolicyList\nitems: [{ metadata: { name: a } }]'),
    [{ kind: 'AccessPolicy', apiVersion: 'weft.dev/v1alpha1', metadata: { name: 'a' } }],
  );
  assert.deepEqual(valuesOf('kind: List\nitems: []'), []);
  assert.equal(readManifests('kind: List\nitems:\n').errors[0]?.message, 'List has no items');
});

test('aliases that expand beyond the limit are an error of their document', () => {
  const layers = Array.from(
    { length: 12 },
    (_, i) =>
      `a${i}: &a${i} [${Array(9)
        .fill(i === 0 ? 'x' : `*a${i - 1}`)
        .join(', ')}]`,
  );
  const bomb = readManifests(`${pod('a')}---\n${layers.join('\n')}\n---\n${pod('b')}`);
  assert.equal(bomb.manifests.length, 2);
  assert.equal(bomb.errors.length, 1);
  const long = `a: &a "${'x'.repeat(1 << 20)}"\nb: [${Array(100).fill('*a').join(', ')}]`;
  assert.match(readManifests(long).errors[0]?.message ?? '', /with its aliases expanded/);
  // A common use: one block of labels in many objects.
  const many = `a: &a { app: x }\nb:\n${'- { <<: *a }\n'.repeat(500)}`;
  assert.deepEqual(readManifests(many).errors, []);
  assert.match(readManifests('x'.repeat(manifestBytesMax + 1)).errors[0]?.message ?? '', /larger than/);
});

test('an alias inside of its own anchor, and too deep nesting, are errors of their document only', () => {
  const good = 'kind: Service\nmetadata: { name: good }\n';
  const nested = (depth: number): string =>
    `kind: ConfigMap\ndata: ${'['.repeat(depth)}${']'.repeat(depth)}\n`;
  for (const bad of [
    'kind: ConfigMap\ndata: &a [*a]\n',
    'kind: Service\nmetadata: &a { name: x, labels: *a }\n',
    '&a\nkind: List\nitems: [*a]\n',
    nested(300),
    nested(100_000),
  ]) {
    const { manifests, errors } = readManifests(`${bad}---\n${good}`);
    assert.deepEqual(
      manifests.map(({ value }) => value),
      [{ kind: 'Service', metadata: { name: 'good' } }],
    );
    assert.notEqual(errors.length, 0, bad.slice(0, 40));
  }
  assert.deepEqual(readManifests(nested(150)).errors, []);
});

test('plainTextAt gives the source text of a plain scalar', () => {
  const [one] = readManifests('a: { b: yes, c: "no" }').manifests;
  assert.equal(one?.plainTextAt(['a', 'b']), 'yes');
  assert.equal(one?.plainTextAt(['a', 'c']), undefined);
  assert.equal(one?.plainTextAt(['a']), undefined);
});
