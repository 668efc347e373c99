/** Which right `weft explain` asks with, and that it reads all objects where the control plane does not respond. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { close, createApiServer, listen } from '../../../test/support/api-server.js';
import { askControl, namespacesToTry } from './control.js';

test('the right is tried in the namespace of the destination, then in that of the client, then in all', () => {
  for (const [ends, expected] of [
    [{ source: 'bank/teller', destination: 'shop/web:80' }, ['shop', 'bank', undefined]],
    [{ source: 'shop/web', destination: 'api.shop.svc.cluster.local:80' }, ['shop', undefined]],
    [{ source: 'shop/web', destination: 'api' }, ['shop', undefined]],
    [{ source: '10.0.0.1', destination: '10.0.0.2:80' }, [undefined]],
    [{ source: '10.0.0.1', destination: '[2001:db8::1]:80' }, [undefined]],
    [
      { identity: 'spiffe://cluster.local/ns/bank/sa/x', destination: 'shop/web' },
      ['shop', 'bank', undefined],
    ],
    // What is no name of a namespace is no part of a URL.
    [{ identity: 'nobody', destination: 'x.../y' }, [undefined]],
  ] as const)
    assert.deepEqual(namespacesToTry(ends), expected, JSON.stringify(ends));
});

test('a caller with the right in the namespace of the client alone asks there; without any, the reason names the right', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-explain-'));
  const asked: string[] = [];
  let allowed = '/namespaces/bank/explanations';
  const server = createApiServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'https://localhost');
    asked.push(pathname.slice('/apis/observe.weft.dev/v1alpha1'.length));
    const isAllowed = allowed !== '' && pathname.endsWith(allowed);
    response.writeHead(isAllowed ? 200 : 403, { 'content-type': 'application/json' });
    const item = {
      resources: [],
      trustDomain: 'cluster.local',
      rootNamespace: 'weft-system',
      hidden: ['shop'],
    };
    response.end(
      JSON.stringify(
        isAllowed
          ? { items: [item], sinceMs: 0, missing: [] }
          : { kind: 'Status', code: 403, message: 'you may not' },
      ),
    );
  });
  const config = await listen(server);
  const kubeconfig = join(dir, 'kubeconfig');
  writeFileSync(kubeconfig, config.exportConfig());
  const before = process.env['KUBECONFIG'];
  process.env['KUBECONFIG'] = kubeconfig;
  t.after(() => {
    if (before === undefined) delete process.env['KUBECONFIG'];
    else process.env['KUBECONFIG'] = before;
    close(server);
    rmSync(dir, { recursive: true });
  });
  const ends = { source: 'bank/teller', destination: 'shop/web:80' };
  const found = await askControl(ends, {});
  assert.deepEqual(found.explained?.hidden, ['shop']);
  assert.deepEqual(asked, ['/namespaces/shop/explanations', '/namespaces/bank/explanations']);
  allowed = '';
  const refused = await askControl(ends, {});
  assert.match(refused.why ?? '', /right to list explanations\.observe\.weft\.dev.*weft-edges-reader/);
});
