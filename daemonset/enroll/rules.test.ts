import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WorkloadUid } from '../../src/model/workload.js';
import { refusalOf } from './rules.js';

function directory(t: { after(call: () => void): void }): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'weft-observe-')));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

test('a path from discovery is accepted only as a plain name in a directory that the operator allows', (t) => {
  const dir = directory(t);
  const netns = join(dir, 'netns');
  mkdirSync(join(netns, 'sub'), { recursive: true });
  symlinkSync(netns, join(dir, 'same'));
  symlinkSync('/proc/self/ns/net', join(netns, 'link'));
  writeFileSync(join(netns, 'a'), '');
  const rules = { netnsDirs: [netns], workloadNamespaces: [] };
  const pod = { uid: 'Kubernetes//Pod/shop/a' as WorkloadUid, namespace: 'shop' };
  const refused = (path: string): boolean => refusalOf({ ...pod, netns: path }, rules) !== undefined;
  for (const path of [join(netns, 'a'), join(netns, 'not-there-yet'), join(dir, 'same', 'a'), ''])
    assert.equal(refused(path), false, path);
  for (const path of [
    '/proc/1/ns/net',
    '/proc/self/ns/net',
    '/proc/self/fd/3',
    join(netns, 'link'),
    join(netns, 'sub', 'a'),
    `${netns}/../passwd`,
    `${netns}/..`,
    `${netns}/.`,
    `${netns}/a/`,
    'a',
    '../a',
    join(dir, 'none', 'a'),
  ])
    assert.equal(refused(path), true, path);
});

test('a machine accepts Workloads only of the namespaces that its operator names, by default of none', () => {
  const of = (namespace: string) => ({
    uid: `Kubernetes/weft.dev/Workload/${namespace}/x` as WorkloadUid,
    namespace,
    netns: '/run/netns/x',
  });
  const rules = (...workloadNamespaces: string[]) => ({ netnsDirs: ['/run'], workloadNamespaces });
  assert.match(refusalOf(of('evil'), rules()) ?? '', /accepts no Workload of namespace evil/);
  assert.match(refusalOf(of('evil'), rules('shop')) ?? '', /accepts no Workload/);
  assert.doesNotMatch(refusalOf(of('shop'), rules('shop')) ?? '', /accepts no Workload/);
  assert.doesNotMatch(refusalOf(of('evil'), rules('*')) ?? '', /accepts no Workload/);
});
