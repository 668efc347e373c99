import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { askState } from '../../src/cli/control-admin.js';
import { edgesQuestion } from '../../src/cli/edges/edges-question.js';
import { encodeEdge } from '../../src/discovery/codec/edge.js';
import { EdgeReportClient } from '../../src/discovery/edge-report-client.js';
import { edge, party } from '../support/edges.js';
import { edgeStates } from '../../src/telemetry/observed/edge-states.js';
import { issueToken } from '../support/tokens.js';
import { manifests } from '../threats/support/two-nodes.js';
import { caFiles } from '../../control/certificates/authority-files.js';
import { runControl } from '../../control/control-plane.js';

test('a control plane with files tells those who may open its state directory what an agent has reported', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-edges-'));
  const state = join(dir, 'state');
  writeFileSync(join(dir, 'a.yaml'), manifests);
  const options = { from: [dir], state, listen: '127.0.0.1:0', trustDomain: 'cluster.local' };
  const first = await runControl(options);
  const token = await issueToken(state, 'n1', 60);
  const roots = readFileSync(join(state, caFiles.roots), 'utf8');
  const client = new EdgeReportClient({
    target: `127.0.0.1:${first.port}`,
    rootPem: () => roots,
    token: () => token,
  });
  try {
    const edges = [
      edge({ source: party('shop', 'a'), destination: party('shop', 'b') }, { connections: 2 }),
      edge({ source: party('bank', 'teller') }),
    ];
    await client.send({ program: 'p', number: 1, fromMs: 0, toMs: 1, edges: edges.map(encodeEdge) });
    const all = await askState(state, edgesQuestion({ sinceMs: 0 }));
    assert.deepEqual(
      edgeStates(all.edges, 0, 1).map(({ source, destination, connections, security }) => [
        source,
        destination,
        connections,
        security,
      ]),
      [
        ['bank/teller', 'shop/api', 1, 'mutual-tls'],
        ['shop/a', 'shop/b', 2, 'mutual-tls'],
      ],
    );
    assert.deepEqual(all.missing, []);
    assert.ok(all.sinceMs <= Date.now());
    assert.equal((await askState(state, edgesQuestion({ sinceMs: 0, namespace: 'bank' }))).edges.length, 1);
    assert.equal((await askState(state, edgesQuestion({ sinceMs: Date.now() + 1_000 }))).edges.length, 0);
    assert.equal(statSync(join(state, 'admin.sock')).mode & 0o777, 0o600);
  } finally {
    client.close();
    await first.close();
  }
  await assert.rejects(askState(state, edgesQuestion({ sinceMs: 0 })), { code: 'WEFT_ADMIN' });
  // A control plane that was killed leaves its socket.
  writeFileSync(join(state, 'admin.sock'), '');
  const second = await runControl(options);
  try {
    assert.deepEqual((await askState(state, edgesQuestion({ sinceMs: 0 }))).edges, []);
  } finally {
    await second.close();
    rmSync(dir, { recursive: true });
  }
});
