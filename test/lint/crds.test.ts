import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { sectionNames } from '../../control/compile/traffic-policy.js';
import { projectRoot } from '../../native/index.js';

interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
}
interface Crd {
  readonly spec: {
    readonly names: {
      readonly kind: string;
      readonly plural: string;
      readonly shortNames?: readonly string[];
      readonly categories?: readonly string[];
    };
    readonly versions: readonly {
      readonly additionalPrinterColumns?: readonly { readonly name: string; readonly jsonPath: string }[];
      readonly schema: { readonly openAPIV3Schema: Schema };
    }[];
  };
}
const dir = join(projectRoot, 'daemonset', 'chart', 'crds');
const crds = (): Crd[] => readdirSync(dir).map((file) => parse(readFileSync(join(dir, file), 'utf8')) as Crd);

function* undescribed(schema: Schema, path: string): Generator<string> {
  // The API server describes metadata itself, and rejects other descriptions.
  if (path.endsWith('.metadata')) return;
  if ((schema.description ?? '').length < 10) yield path;
  for (const [name, field] of Object.entries(schema.properties ?? {}))
    yield* undescribed(field, `${path}.${name}`);
  if (schema.items) yield* undescribed(schema.items, `${path}[]`);
  if (typeof schema.additionalProperties === 'object')
    yield* undescribed(schema.additionalProperties, `${path}.*`);
}

test('every field of every kind has a description, for kubectl explain', () => {
  const kinds = crds();
  assert.equal(kinds.length, 6);
  for (const { spec } of kinds)
    for (const { schema } of spec.versions)
      assert.deepEqual([...undescribed(schema.openAPIV3Schema, spec.names.kind)], []);
});

test('every kind has a unique short name, is in the category weft, and has printer columns for Accepted and its reason', () => {
  const short = crds().flatMap(({ spec }) => spec.names.shortNames ?? []);
  assert.equal(new Set(short).size, 6);
  for (const { spec } of crds()) {
    assert.deepEqual(spec.names.categories, ['weft']);
    const columns = (spec.versions[0]?.additionalPrinterColumns ?? []).map(({ name }) => name);
    for (const name of ['Accepted', 'Reason', 'Age'])
      assert.ok(columns.includes(name), `${spec.names.kind} shows no ${name}`);
  }
});

test('the rule of a TrafficPolicy that needs a section knows all of them', () => {
  const text = readFileSync(join(dir, 'trafficpolicies.yaml'), 'utf8');
  const rules = [...text.matchAll(/rule: >-\n([\s\S]*?)\n +message: '([^']*)'/g)];
  const rule = rules.find(([, , message = '']) =>
    message.startsWith('a policy needs at least one section'),
  )?.[1];
  assert.deepEqual(
    [...(rule ?? '').matchAll(/has\(self\.(\w+)\)/g)].map(([, name]) => name).sort(),
    [...sectionNames].sort(),
  );
});
