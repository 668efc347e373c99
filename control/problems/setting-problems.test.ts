import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settingEvent } from '../status/events.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import { isUnprotected, problemLine, problemText, SettingProblems } from './setting-problems.js';

const pod = (name: string, mode: string): MeshObject => ({
  kind: 'Pod',
  metadata: { name, namespace: 'shop', uid: `uid-${name}`, labels: { 'weft.dev/mode': mode } },
  spec: { nodeName: 'n' },
});
const change = (...objects: MeshObject[]): Map<ObjectKey, MeshObject> =>
  new Map(objects.map((object) => [objectKey(object), object]));

test('a problem is reported once, again when it changes, and ends with the value or the object', () => {
  const problems = new SettingProblems(() => assert.fail('no limit'));
  assert.equal(problems.apply(change(pod('a', 'Strict'))).length, 1);
  assert.equal(problems.apply(change(pod('a', 'Strict'))).length, 0);
  assert.match(problemText([...problems.apply(change(pod('a', 'on')))][0] ?? assert.fail()), /"on"/);
  assert.equal([...problems.all()].length, 1);
  problems.apply(change(pod('a', 'strict')));
  assert.equal([...problems.all()].length, 0);
  problems.apply(change(pod('a', 'on')));
  problems.apply(new Map([[objectKey(pod('a', 'on')), undefined]]));
  assert.equal([...problems.all()].length, 0);
});

test('a namespace with many problems leaves room for others, and the limit is counted', () => {
  let turnedAway = 0;
  const problems = new SettingProblems(() => turnedAway++);
  problems.apply(change(...Array.from({ length: 30 }, (_, i) => pod(`p${i}`, 'x'))));
  assert.equal(turnedAway, 10);
  const other: MeshObject = {
    kind: 'Namespace',
    metadata: { name: 'bank', labels: { 'weft.dev/mesh': 'yes' } },
  };
  assert.equal(problems.apply(change(other)).length, 1);
});

test('an event refers to the object, has a unique name per message, and is created where events about namespaces belong', () => {
  const problems = new SettingProblems(() => undefined);
  const namespace: MeshObject = {
    kind: 'Namespace',
    metadata: { name: 'bank', uid: 'u', labels: { 'weft.dev/mesh': 'true' } },
  };
  const [first] = problems.apply(change(namespace));
  assert.ok(first);
  const write = settingEvent(first, '2026-01-01T00:00:00Z');
  assert.match(write.path, /^\/api\/v1\/namespaces\/default\/events\/bank\.weft-[0-9a-f]{16}$/);
  const body = write.body as { involvedObject: object; type: string; message: string };
  assert.deepEqual(body.involvedObject, { apiVersion: 'v1', kind: 'Namespace', name: 'bank', uid: 'u' });
  assert.equal(body.type, 'Warning');
  assert.match(body.message, /weft\.dev\/mesh: "true" is unknown/);
  assert.equal(settingEvent(first, '2026-01-01T00:00:01Z').path, write.path);
});

test('a line names the kind and the name, for a pod with its namespace', () => {
  const problems = new SettingProblems(() => assert.fail('no limit'));
  const namespace: MeshObject = {
    kind: 'Namespace',
    metadata: { name: 'bank', labels: { 'weft.dev/mesh': 'yes' } },
  };
  const lines = problems.apply(change(pod('a', 'on'), namespace)).map(problemLine);
  assert.match(lines[0] ?? '', /^Pod shop\/a: label weft\.dev\/mode: "on"/);
  assert.match(lines[1] ?? '', /^Namespace bank: label weft\.dev\/mesh: "yes"/);
});

test('a key that protects nothing leaves no object unprotected', () => {
  const keyed = (key: string): MeshObject => ({
    kind: 'Namespace',
    metadata: { name: 'shop', labels: { [key]: 'x' } },
  });
  const of = (key: string): boolean[] =>
    new SettingProblems(() => assert.fail('no limit')).apply(change(keyed(key))).map(isUnprotected);
  assert.deepEqual(of('weft.dev/team'), [false]);
  assert.deepEqual(of('weft.dev/mdoe'), [true]);
});
