import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { deadPort } from '../../test/support/waypoint.js';
import { distRoot } from './run.js';
import { writeLedger } from './standalone/ledger.js';

test('weft status --kubernetes is about the cluster also where a testbed runs', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-status-'));
  writeLedger(dir, {
    owner: undefined,
    from: dir,
    nodes: [],
    netns: [],
    instances: [],
    waypoints: [],
    processes: {},
  });
  const server = `https://127.0.0.1:${await deadPort()}`;
  const config = join(dir, 'kubeconfig');
  writeFileSync(
    config,
    stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server } }],
      users: [{ name: 'u', user: {} }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }),
  );
  const said = (...flags: string[]): string => {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [join(distRoot, 'src/cli/weft.js'), 'status', '--state', dir, ...flags],
      { env: { ...process.env, KUBECONFIG: config }, encoding: 'utf8' },
    );
    return stdout + stderr;
  };
  assert.match(said('--kubernetes'), /^weft: WEFT_KUBERNETES_API: /);
  for (const flags of [[], ['--no-kubernetes']]) assert.match(said(...flags), /^control plane: /);
});
