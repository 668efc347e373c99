import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MeshObject } from '../compile/objects.js';
import { FileSource, parseManifests, type FileError } from './files.js';

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
    'a port out of range',
    policy('  action: DENY\n  rules:\n    - to:\n        - ports: [70000]'),
    8,
    /ports.0$/,
    /65535/,
  ],
  [
    'an address that is none',
    policy('  action: DENY\n  rules:\n    - from:\n        - cidrs: [10.0.0.0/99]'),
    1,
    /AccessPolicy\/p/,
    /address block/,
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
  assert.deepEqual(parseManifests('x.yaml', 'kind: ConfigMap\nmetadata: { name: x }'), {
    objects: [],
    errors: [],
  });
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
