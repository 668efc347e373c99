import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../../native/index.js';

const text = (...path: readonly string[]): string => readFileSync(join(projectRoot, ...path), 'utf8');

/** Programs that the chart's containers and their probes start, as paths in a checkout. */
function startedFiles(): string[] {
  const templates = readdirSync(join(projectRoot, 'daemonset', 'chart', 'templates'));
  const all = templates.flatMap((file) => [
    ...text('daemonset', 'chart', 'templates', file).matchAll(/\/weft\/[\w./-]+/g),
  ]);
  const paths = new Set(all.map(([path]) => path.slice('/weft/'.length)));
  return [...paths].filter((path) => /\.js$|\/build\//.test(path));
}

const carrierProgram = 'native/carrier/build/weft-carrier';

test('every program that the chart starts is in the image, however the image is built', () => {
  const started = startedFiles();
  assert.ok(started.includes('dist/daemonset/main.js'), started.join());
  assert.ok(started.includes('native/ready/build/weft-ready'), started.join());
  assert.ok(started.includes(carrierProgram), started.join());
  for (const place of ['daemonset/Dockerfile', 'daemonset/image-tree'])
    for (const path of started) {
      if (path === carrierProgram) continue;
      const copied = path.startsWith('dist/') ? 'dist' : path;
      assert.ok(text(place).includes(copied), `${place} does not copy ${path}`);
    }
});

test("scripts that build an image without a container engine use daemonset/image-tree and the Dockerfile's Node.js version", () => {
  const [, version] = /^FROM node:(\d+)-/m.exec(text('daemonset', 'Dockerfile')) ?? [];
  for (const path of ['daemonset/image', 'test/cluster/weft-image']) {
    assert.match(text(path), /image-tree/, path);
    assert.match(text(path), new RegExp(`native/node\\.sh"? ${version}\\b`), path);
  }
});

test("the carrier's image is built by one script, with a container engine or without", () => {
  const carrier = text('daemonset', 'chart', 'templates', 'carrier.yaml');
  const tree = text('native', 'carrier', 'image-tree');
  for (const [path] of carrier.matchAll(/\/weft\/native\/[\w./-]+/g))
    assert.ok(tree.includes(path.split('/').at(-1) ?? ''), `native/carrier/image-tree does not copy ${path}`);
  for (const path of ['native/carrier/Dockerfile', 'daemonset/image', 'test/cluster/weft-image'])
    assert.match(text(path), /native\/carrier\/image-tree/, path);
});
