/** `weft explain` of a cluster reads with the caller's own rights, and is not certain of anything if it may not read all. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { close, createApiServer, listen } from '../../../test/support/api-server.js';
import { distRoot } from '../run.js';

const pod = (name: string, ip: string, node: string): object => ({
  metadata: { name, namespace: 'shop', labels: { app: name }, uid: name },
  spec: { nodeName: node, serviceAccountName: name, containers: [] },
  status: { phase: 'Running', podIPs: [{ ip }], conditions: [{ type: 'Ready', status: 'True' }] },
});
const items: Readonly<Record<string, readonly object[]>> = {
  '/api/v1/namespaces': [{ metadata: { name: 'shop', labels: { 'weft.dev/mesh': 'enabled' } } }],
  '/api/v1/nodes': [],
  '/api/v1/pods': [pod('web', '10.0.1.1', 'n1'), pod('api', '10.0.2.1', 'n2'), pod('bad', '10.0.1.2', 'n1')],
  '/api/v1/services': [
    {
      metadata: { name: 'api', namespace: 'shop' },
      spec: { selector: { app: 'api' }, clusterIPs: ['10.96.0.1'], ports: [{ port: 80, targetPort: 8080 }] },
    },
  ],
  '/apis/weft.dev/v1alpha1/accesspolicies': [
    {
      metadata: { name: 'no-bad', namespace: 'shop' },
      spec: { action: 'DENY', rules: [{ from: [{ serviceAccounts: ['shop/bad'] }] }] },
    },
  ],
};

test('explain of a cluster reads its objects by the API; what the caller may not read makes the outcome unknown', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-explain-'));
  let forbidden = '';
  const server = createApiServer((request, response) => {
    const path = (request.url ?? '').replace(/\?.*/, '');
    const found = items[path];
    const status = path === forbidden ? 403 : found ? 200 : 404;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(
        status === 200
          ? { metadata: {}, items: found }
          : { kind: 'Status', code: status, message: status === 403 ? 'ann may not list it' : 'not found' },
      ),
    );
  });
  const config = await listen(server);
  t.after(() => {
    close(server);
    rmSync(dir, { recursive: true });
  });
  const kubeconfig = join(dir, 'kubeconfig');
  writeFileSync(kubeconfig, config.exportConfig());
  const weft = (...args: readonly string[]): Promise<{ readonly code: number; readonly text: string }> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        [join(distRoot, 'src', 'cli', 'weft.js'), 'explain', ...args],
        { encoding: 'utf8', timeout: 60_000, env: { ...process.env, KUBECONFIG: kubeconfig } },
        (error, stdout, stderr) =>
          resolve({ code: error ? Number(error.code ?? 1) : 0, text: stdout + stderr }),
      );
    });
  const allowed = await weft('shop/web', 'shop/api');
  assert.equal(allowed.code, 0, allowed.text);
  assert.match(allowed.text, /^ALLOWED {2}shop\/web -> api\.shop\.svc\.cluster\.local:80/);
  assert.match(allowed.text, /path +hbone/);
  const refused = await weft('shop/bad', 'shop/api');
  assert.equal(refused.code, 3, refused.text);
  assert.match(refused.text, /policy shop\/no-bad rule 0 denies it/);
  forbidden = '/apis/weft.dev/v1alpha1/accesspolicies';
  const unknown = await weft('shop/bad', 'shop/api');
  assert.equal(unknown.code, 4, unknown.text);
  assert.match(unknown.text, /^UNKNOWN/);
  assert.match(unknown.text, /could not be read: .*AccessPolicy: .*ann may not list it/);
});
