import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadKubeConfig } from './config.js';

test('without a cluster the error says to set KUBECONFIG', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-kubeconfig-'));
  const { HOME, KUBECONFIG } = process.env;
  try {
    process.env['HOME'] = dir;
    delete process.env['KUBECONFIG'];
    await assert.rejects(loadKubeConfig(), /WEFT_KUBERNETES_API.*KUBECONFIG|KUBECONFIG/);
    const file = join(dir, 'config');
    writeFileSync(
      file,
      JSON.stringify({
        'current-context': 'a',
        contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
        clusters: [{ name: 'a', cluster: { server: 'http://localhost:8080' } }],
        users: [{ name: 'a', user: {} }],
      }),
    );
    process.env['KUBECONFIG'] = file;
    assert.equal((await loadKubeConfig()).currentContext, 'a');
  } finally {
    if (HOME !== undefined) process.env['HOME'] = HOME;
    if (KUBECONFIG === undefined) delete process.env['KUBECONFIG'];
    else process.env['KUBECONFIG'] = KUBECONFIG;
    rmSync(dir, { recursive: true });
  }
});
