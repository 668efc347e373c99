import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { UnreadKinds } from './list.js';
import { objectFindings } from './object-findings.js';

const meta = (name: string, labels: Readonly<Record<string, string>> = {}) => ({
  metadata: { name, namespace: 'shop', labels },
});
const pod = (name: string) => ({
  ...meta(name, { app: 'api' }),
  spec: {
    containers: [{ image: 'x', ports: [{ containerPort: 8080 }] }],
    initContainers: [
      { image: 'x', ports: [{ containerPort: 80 }] },
      { image: 'x', restartPolicy: 'Always', ports: [{ containerPort: 9090 }] },
    ],
  },
  status: { phase: 'Running' },
});

test('objects are read page by page, and a kind that the cluster does not have is empty', async (t) => {
  const lists: Readonly<Record<string, readonly (readonly object[])[]>> = {
    '/api/v1/namespaces': [[{ metadata: { name: 'shop', labels: { 'weft.dev/mesh': 'enabled' } } }]],
    '/api/v1/pods': [[pod('a')], [pod('b')]],
    '/api/v1/services': [
      [
        {
          ...meta('api', { 'istio.io/use-waypoint': 'wp' }),
          spec: { selector: { app: 'api' }, ports: [{ port: 80, targetPort: 8080 }] },
        },
      ],
    ],
    '/apis/weft.dev/v1alpha1/accesspolicies': [
      [{ ...meta('p'), spec: { action: 'DENY', rules: [{ to: [{ ports: [80, 9090] }] }] } }],
    ],
    '/apis/weft.dev/v1alpha1/workloads': [[]],
    '/apis/security.istio.io/v1/authorizationpolicies': [
      [
        {
          ...meta('i'),
          spec: {
            action: 'DENY',
            selector: { matchLabels: { app: 'api' } },
            rules: [{ to: [{ operation: { ports: ['80'] } }] }],
          },
        },
        { ...meta('none'), spec: { selector: { matchLabels: { app: 'apy' } } } },
      ],
    ],
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    const pages = lists[url.pathname];
    const at = Number(url.searchParams.get('continue') ?? 0);
    response.writeHead(pages ? 200 : 404, { 'content-type': 'application/json' });
    const next = pages && at + 1 < pages.length ? { continue: String(at + 1) } : {};
    response.end(JSON.stringify({ kind: 'List', items: pages?.[at] ?? [], metadata: next }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const config = new KubeConfig();
  config.loadFromClusterAndUser(
    {
      name: 'test',
      server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      skipTLSVerify: true,
    },
    { name: 'test' },
  );
  const found = await objectFindings(config, 'weft-system');
  assert.deepEqual(
    found.map(({ level }) => level),
    ['fail', 'fail', 'fail', 'warn'],
  );
  assert.match(found[0]?.what ?? '', /^Service shop\/api names the waypoint shop\/wp .*there is no Gateway/);
  assert.match(found[1]?.what ?? '', /^AccessPolicy shop\/p: ports 80 is the port of Service shop\/api/);
  assert.match(
    found[2]?.what ?? '',
    /^AuthorizationPolicy shop\/i: ports 80 is the port of Service shop\/api/,
  );
  assert.match(
    found[3]?.what ?? '',
    /^AuthorizationPolicy shop\/none selects no pod .*did you mean app=api\?/,
  );
});

test('a kind that may not be read is named, and nothing is said of what its objects would have', async (t) => {
  const forbidden = ['/apis/gateway.networking.k8s.io/v1/gateways', '/api/v1/pods'];
  const api = { ...meta('api', { 'weft.dev/waypoint': 'wp' }), spec: { ports: [{ port: 80 }] } };
  const policy = {
    ...meta('p'),
    spec: { action: 'DENY', selector: { matchLabels: { app: 'x' } }, rules: [] },
  };
  const lists: Readonly<Record<string, readonly object[]>> = {
    '/api/v1/services': [api],
    '/apis/weft.dev/v1alpha1/accesspolicies': [policy],
  };
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://x');
    const status = forbidden.includes(pathname) ? 403 : 200;
    response.writeHead(status, { 'content-type': 'application/json' });
    const failed = { kind: 'Status', status: 'Failure', message: 'no right', code: 403 };
    response.end(
      JSON.stringify(status === 403 ? failed : { kind: 'List', items: lists[pathname] ?? [], metadata: {} }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const config = new KubeConfig();
  const { port } = server.address() as AddressInfo;
  config.loadFromClusterAndUser(
    { name: 'test', server: `http://127.0.0.1:${port}`, skipTLSVerify: true },
    { name: 'test' },
  );
  const unread = new UnreadKinds();
  const found = await objectFindings(config, 'weft-system', unread.add);
  assert.deepEqual(
    found.filter(({ what }) => /shop\/(api|p)\b/.test(what)),
    [],
  );
  assert.match(unread.texts().join(), /^problems of (gateways, pods|pods, gateways) are not known.*no right/);
  forbidden.length = 0;
  assert.match(
    (await objectFindings(config, 'weft-system')).map(({ what }) => what).join('\n'),
    /shop\/api/,
    'a waypoint that is not there is a problem if Gateways can be read',
  );
});
