import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../../native/index.js';

const read = (path: string): string => readFileSync(join(projectRoot, path), 'utf8');
/** The programs and the addon that native/build.sh builds. */
const built = [...read('native/build.sh').matchAll(/^\w+=(native\/\S*build\/\S+)$/gm)].map(
  ([, path = '']) => path,
);

test('each way to make an image puts in all that is built', () => {
  assert.ok(built.length >= 3, built.join());
  for (const recipe of ['daemonset/Dockerfile', 'daemonset/image-tree'])
    for (const path of built) assert.ok(read(recipe).includes(path), `${recipe}: ${path}`);
});

test('what the chart runs is built', () => {
  const run = [...read('daemonset/chart/templates/agent.yaml').matchAll(/\/weft\/(native\/[^\s,\]]+)/g)];
  assert.ok(run.length > 0);
  for (const [, path = ''] of run) assert.ok(built.includes(path), path);
});

test('an image that is packed without a container engine has the Node of the Dockerfile', () => {
  const [, version] = /^FROM node:(\d+)-/m.exec(read('daemonset/Dockerfile')) ?? [];
  for (const script of ['daemonset/image', 'test/cluster/weft-image'])
    assert.match(read(script), new RegExp(`native/node\\.sh"? ${version}\\)`), script);
});
