import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { distRoot } from './run.js';

test('nothing of a manifest reaches the terminal as a control character, neither in warnings nor in errors', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-printable-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'mesh.yaml');
  const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec: { template: { metadata: { labels: { app: web } }, spec: { containers: [] } } }
---`;
  const policy = `
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: "p\\e[31m", namespace: shop }
spec: { action: ALLOW, rules: [{ "x\\e[2J": 1 }] }
`;
  writeFileSync(file, `${deployment}${policy}`);
  for (const [destination, output] of [
    ['192.0.2.1:80', /not in force as written: .*x\?\[2J/],
    ['shop/n\u001b[2J', /no Service, pod, Deployment or app shop\/n\?\[2J/],
  ] as const) {
    const weft = join(distRoot, 'src', 'cli', 'weft.js');
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [weft, 'explain', 'shop/web', destination, '-f', file],
      { encoding: 'utf8' },
    );
    assert.match(stderr, output);
    assert.doesNotMatch(stdout + stderr, /[\u0000-\u0009\u000b-\u001f]/);
  }
});
