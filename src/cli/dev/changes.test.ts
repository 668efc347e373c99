import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { changedPaths, restartsFor, takeSnapshot } from './changes.js';

const restarted = (...paths: string[]): string[] =>
  Object.entries(restartsFor(paths))
    .filter(([, reached]) => reached)
    .map(([name]) => name);

test('a change restarts the programs that use the file, and no other program', () => {
  assert.deepEqual(restarted('control/main.ts'), ['control']);
  assert.deepEqual(restarted('daemonset/proxy/outbound.ts'), ['agents']);
  assert.deepEqual(restarted('src/waypoint/main.ts'), ['waypoints']);
  assert.deepEqual(restarted('src/policy/path-match.ts'), ['control', 'agents', 'waypoints']);
  assert.deepEqual(restarted('bpf/connect.bpf.c'), ['native', 'agents']);
  assert.deepEqual(restarted('native/index.ts'), ['agents']);
  assert.deepEqual(restarted('native/src/map.cc', 'control/main.ts'), ['native', 'control', 'agents']);
});

test('tests and the CLI restart nothing', () => {
  assert.deepEqual(restarted('src/policy/path-match.test.ts', 'src/cli/weft.ts'), []);
});

test('new, written and removed files count as changed, and build outputs are ignored', () => {
  const root = mkdtempSync(join(tmpdir(), 'weft-changes-'));
  try {
    for (const dir of ['src/base', 'daemonset', 'control', 'native/build', 'bpf'])
      mkdirSync(join(root, dir), { recursive: true });
    const write = (path: string): void => writeFileSync(join(root, path), '');
    for (const path of ['src/base/a.ts', 'src/base/b.ts', 'control/c.ts']) write(path);
    const before = takeSnapshot(root);
    assert.deepEqual(changedPaths(before, takeSnapshot(root)), []);
    utimesSync(join(root, 'src/base/a.ts'), 1, 1);
    rmSync(join(root, 'control/c.ts'));
    for (const path of ['bpf/d.c', 'native/build/e.h', 'src/base/.f.ts.swp']) write(path);
    assert.deepEqual(changedPaths(before, takeSnapshot(root)), ['bpf/d.c', 'control/c.ts', 'src/base/a.ts']);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
