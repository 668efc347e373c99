import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { deadPort } from '../../test/support/waypoint.js';
import { distRoot } from './run.js';
import { certificateProblems } from './status.js';
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

test('a client certificate that a waypoint cannot use is a problem that names the Secret, and what happens meanwhile', () => {
  const of = (isKept: boolean): readonly string[] =>
    certificateProblems({
      gateway: 'shop/wp',
      netns: 'n',
      ready: true,
      report: {
        ready: true,
        control: { state: 'connected' },
        clientCertificates: [{ name: 'pay-client', problem: 'there are no files of it', isKept }],
      },
    });
  assert.match(
    of(false)[0] ?? '',
    /^Secret shop\/pay-client: waypoint shop\/wp .*get 503: there are no files of it$/,
  );
  assert.match(of(true)[0] ?? '', /the former one stays in use/);
  // Of an earlier version, and of one that does not respond.
  assert.deepEqual(certificateProblems({ gateway: 'shop/wp', netns: 'n', ready: false }), []);
});
