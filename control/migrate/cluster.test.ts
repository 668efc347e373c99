/** The objects of a cluster, from an API server over TLS, with the real client. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import { migrateReport } from './check.js';
import { loadCluster } from './cluster.js';
import { reportLines } from './report.js';

const lists: Readonly<Record<string, readonly object[]>> = {
  '/api/v1/namespaces': [{ metadata: { name: 'shop', labels: { 'istio-injection': 'enabled' } } }],
  '/api/v1/services': [
    {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { clusterIP: '10.0.0.1', selector: { app: 'web' }, ports: [{ port: 80 }] },
    },
  ],
  '/api/v1/pods': [1, 2, 3].map((i) => ({
    metadata: { name: `web-${i}`, namespace: 'shop', labels: { app: 'web' } },
    spec: { nodeName: 'a', containers: [{ name: 'app' }, { name: 'istio-proxy' }] },
    status: { podIPs: [{ ip: `10.244.0.${i}` }] },
  })),
  // An older installation: v1 is not served.
  '/apis/networking.istio.io/v1beta1/virtualservices': [
    {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { hosts: ['web'], http: [{ route: [{ destination: { host: 'web' } }] }] },
    },
  ],
  '/apis/networking.istio.io/v1alpha3/envoyfilters': [
    { metadata: { name: 'lua', namespace: 'shop' }, spec: {} },
  ],
  '/apis/linkerd.io/v1alpha2/serviceprofiles': [
    {
      metadata: { name: 'web.shop.svc.cluster.local', namespace: 'shop' },
      spec: { routes: [{ name: 'a', condition: { method: 'GET' } }] },
    },
  ],
};

test('a cluster is reported like a directory: objects by the served version, sidecars, what may not be read', async (t) => {
  const server = createApiServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'https://x');
    const status =
      pathname.endsWith('/authorizationpolicies') && pathname.includes('security.istio.io')
        ? 403
        : lists[pathname]
          ? 200
          : 404;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(
        status === 200
          ? { kind: 'List', metadata: {}, items: lists[pathname] }
          : { kind: 'Status', message: `status ${status}` },
      ),
    );
  });
  t.after(() => close(server));
  const report = migrateReport(await loadCluster(await listen(server)), 'weft-system');
  const text = [...reportLines(report)].join('\n');
  assert.match(text, /^MISSING {2}Namespace shop$/m);
  assert.match(text, /^MISSING {2}Pod shop\/web-1 and 2 more\n.*it has the sidecar istio-proxy/m);
  assert.match(text, /VirtualService shop\/web$/m);
  assert.match(text, /it has no waypoint, which VirtualService shop\/web needs/);
  assert.match(text, /^MISSING {2}EnvoyFilter shop\/lua$/m);
  assert.match(text, /^MISSING {2}ServiceProfile shop\/web\.shop\.svc\.cluster\.local$/m);
  assert.match(text, /^UNREAD .*kind AuthorizationPolicy: .*403/m);
  assert.deepEqual(report.assumed, []);
});

test('an account of one namespace gets the objects of that namespace, and the report says that they are not all', async (t) => {
  const own: Readonly<Record<string, unknown>> = {
    '/api/v1/namespaces/shop': { metadata: { name: 'shop' } },
    '/api/v1/namespaces/shop/services': { items: lists['/api/v1/services'] },
    '/apis/networking.istio.io/v1beta1/namespaces/shop/virtualservices': {
      items: lists['/apis/networking.istio.io/v1beta1/virtualservices'],
    },
  };
  const asked: string[] = [];
  const server = createApiServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'https://x');
    asked.push(pathname);
    const body = own[pathname];
    response.writeHead(body ? 200 : 403, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body ?? { kind: 'Status', message: `${pathname} is forbidden` }));
  });
  t.after(() => close(server));
  const config = await listen(server);
  const { objects, unread = [] } = await loadCluster(config, 'shop');
  assert.deepEqual(objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort(), [
    'Namespace shop',
    'Service web',
    'VirtualService web',
  ]);
  assert.ok(
    unread.some(({ text }) =>
      /kind Service: only those of namespace shop can be read: .*forbidden/.test(text),
    ),
  );
  assert.ok(unread.some(({ text }) => /kind Node: (?!only).*forbidden/.test(text)));
  asked.length = 0;
  assert.deepEqual((await loadCluster(config)).objects, [], 'nothing of a namespace that was not asked for');
  assert.ok(!asked.some((path) => path.includes('/shop')));
});
