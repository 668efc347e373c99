/** Compiling change by change gives the same result as compiling all at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { typeUrls } from '../../src/discovery/types.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { Resources } from '../serve/resources.js';
import { compile, Compiler } from './compile.js';
import type { CompiledResource } from './resource.js';
import { changesFrom } from '../registry/difference.js';
import type { MeshObject } from '../objects/objects.js';
import {
  pick,
  randomDialectObject,
  randomObject,
  randomSmiObject,
} from '../../test/support/random-objects.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };

/** The resources that nodes n1 and n2 would be sent, by type and name, with versions. */
function described(compiled: Iterable<CompiledResource>): string {
  const resources = new Resources(compiled);
  return describe(resources);
}
function describe(resources: Resources): string {
  const lines: string[] = [];
  for (const typeUrl of Object.values(typeUrls)) {
    for (const node of ['n1', 'n2', 'waypoint:a/o1', 'waypoint:a/o2', 'waypoint:b/o1', 'waypoint:b/o2']) {
      for (const [name, { version }] of resources.of(typeUrl, node) ?? [])
        lines.push(`${typeUrl} ${node} ${name} ${version}`);
    }
  }
  return lines.sort().join('\n');
}
const problemsOf = (compiler: Compiler): string[] =>
  [...compiler.problems()].map(([key, { reason, message }]) => `${key} ${reason} ${message}`).sort();
/**
 * @param random makes an object
 * @param isSpread in turns, of namespaces that have time for nothing now and then
 */
function compare(random: () => MeshObject, rounds: number, isSpread = false): void {
  const compiler = new Compiler(settings, { has: () => Math.random() < 0.5, spend: () => undefined });
  const resources = new Resources();
  let objects = new Map<string, MeshObject>();
  for (let round = 0; round < rounds; round++) {
    const next = new Map(objects);
    for (let i = 0; i < pick([1, 1, 3]); i++) {
      if (Math.random() < 0.35 && next.size > 0) next.delete(pick([...next.keys()]));
      else {
        const object = random();
        next.set(`${object.kind} ${object.metadata.namespace}/${object.metadata.name}`, object);
      }
    }
    objects = next;
    const before = new Set(describe(resources).split('\n'));
    const changed = resources.apply(compiler.apply(changesFrom(compiler, [...objects.values()]), isSpread));
    while (compiler.waiting > 0)
      for (const one of resources.apply(compiler.continue(() => Math.random() < 0.5))) changed.push(one);
    const anew = compile([...objects.values()], settings);
    assert.equal(describe(resources), described(anew.all()));
    assert.deepEqual(problemsOf(compiler), problemsOf(anew));
    for (const object of compiler.objects())
      assert.deepEqual(compiler.remarksOf(object), anew.remarksOf(object), object.metadata.name);
    for (const node of ['n1', 'n2'])
      for (const account of ['a/sa/x', 'a/sa/y', 'b/sa/x', 'b/sa/y']) {
        const identity = `spiffe://cluster.local/ns/${account}`;
        assert.equal(
          compiler.mayRequestCertificate(node, identity),
          anew.mayRequestCertificate(node, identity),
        );
      }
    const names = new Set(changed.flatMap((one) => [...one.names].map((name) => `${one.typeUrl} ${name}`)));
    const after = new Set(describe(resources).split('\n'));
    for (const line of [...before, ...after]) {
      if (line === '' || (before.has(line) && after.has(line))) continue;
      const [typeUrl, , name] = line.split(' ');
      assert.ok(names.has(`${typeUrl} ${name}`), `not named: ${line}`);
    }
  }
}

test('compiling change by change or all at once gives the same resources, and every difference is reported', () => {
  compare(randomObject, 1000);
});

test('the same with objects of Istio', () => {
  compare(() => (Math.random() < 0.5 ? randomObject() : randomDialectObject()), 500);
});

test('the same with objects of SMI, beside VirtualServices', () => {
  compare(() => pick([randomObject, randomSmiObject, randomSmiObject, randomDialectObject])(), 700);
});

test('the same in turns: what waited is compiled in the end', () => {
  compare(
    () => pick([randomObject, randomObject, randomSmiObject, randomDialectObject, randomDialectObject])(),
    500,
    true,
  );
});
