/** Effects of a route's filters on requests, through real tunnels. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RouteMesh, ask, httpRoute, inForce } from '../support/routes.js';

const mesh = new RouteMesh('route-filters');
before(() => mesh.up());
after(() => mesh.down());

test('request headers are set, added and removed, also per backend and by named rules', () =>
  mesh.withRoute(
    httpRoute(
      'headers',
      `
    - name: changed
      matches: [{ path: { type: PathPrefix, value: /set } }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-Header-Set, value: set-overwrites }], add: [{ name: X-Header-Add, value: add-appends }], remove: [X-Header-Remove] } }]
      backendRefs: [{ name: echo-v1, port: 80 }]
    - name: backend
      matches: [{ path: { type: PathPrefix, value: /backend } }]
      backendRefs: [{ name: echo-v2, port: 80, filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-Of-Backend, value: v2 }] } }] }]`,
    ),
    inForce('headers'),
    async () => {
      const headers = { 'x-header-set': 'old', 'x-header-add': 'first', 'x-header-remove': 'x' };
      const { seen } = await ask('/set', { headers });
      assert.equal(seen?.headers['x-header-set'], 'set-overwrites');
      assert.match(seen?.headers['x-header-add'] ?? '', /^first, ?add-appends$/);
      assert.equal(seen?.headers['x-header-remove'], undefined);
      assert.equal((await ask('/backend')).seen?.headers['x-of-backend'], 'v2');
      assert.equal((await ask('/set')).seen?.headers['x-of-backend'], undefined);
    },
  ));

test('redirects: host, status, port, scheme and path, alone and together', () =>
  mesh.withRoute(
    httpRoute(
      'redirects',
      [
        ['/host', '{ hostname: example.org }'],
        ['/status', '{ hostname: example.org, statusCode: 301 }'],
        ['/s303', '{ hostname: example.org, statusCode: 303 }'],
        ['/s307', '{ hostname: example.org, statusCode: 307 }'],
        ['/s308', '{ hostname: example.org, statusCode: 308 }'],
        ['/port', '{ port: 8083 }'],
        ['/scheme', '{ scheme: https }'],
        ['/scheme-and-host', '{ scheme: https, hostname: example.org }'],
        ['/prefix', '{ path: { type: ReplacePrefixMatch, replacePrefixMatch: /replacement } }'],
        ['/full', '{ path: { type: ReplaceFullPath, replaceFullPath: /replaced } }'],
        [
          '/full-and-host',
          '{ hostname: example.org, statusCode: 301, path: { type: ReplaceFullPath, replaceFullPath: /replaced } }',
        ],
      ]
        .map(
          ([path, filter]) => `
    - matches: [{ path: { type: PathPrefix, value: ${path} } }]
      filters: [{ type: RequestRedirect, requestRedirect: ${filter} }]`,
        )
        .join(''),
    ),
    async () => (await ask('/host')).status === 302,
    async () => {
      const cases: [string, number, string][] = [
        ['/host/a?b=c', 302, 'http://example.org/host/a?b=c'],
        ['/status', 301, 'http://example.org/status'],
        ['/s303', 303, 'http://example.org/s303'],
        ['/s307', 307, 'http://example.org/s307'],
        ['/s308', 308, 'http://example.org/s308'],
        ['/port', 302, 'http://echo:8083/port'],
        ['/scheme', 302, 'https://echo/scheme'],
        ['/scheme-and-host', 302, 'https://example.org/scheme-and-host'],
        ['/prefix/lemon', 302, 'http://echo/replacement/lemon'],
        ['/full/path/original', 302, 'http://echo/replaced'],
        ['/full-and-host', 301, 'http://example.org/replaced'],
      ];
      for (const [path, status, location] of cases) {
        const response = await ask(path);
        assert.equal(response.status, status, path);
        assert.equal(response.headers['location'], location);
      }
    },
  ));

test('rewrites: a prefix, a full path, the host', () =>
  mesh.withRoute(
    httpRoute(
      'rewrites',
      `
    - matches: [{ path: { type: PathPrefix, value: /prefix/one } }]
      filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /one } } }]
      backendRefs: [{ name: echo-v1, port: 80 }]
    - matches: [{ path: { type: PathPrefix, value: /strip } }]
      filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }]
      backendRefs: [{ name: echo-v1, port: 80 }]
    - matches: [{ path: { type: PathPrefix, value: /full/one } }]
      filters: [{ type: URLRewrite, urlRewrite: { hostname: other.example, path: { type: ReplaceFullPath, replaceFullPath: /one } } }]
      backendRefs: [{ name: echo-v2, port: 80 }]`,
    ),
    inForce('rewrites'),
    async () => {
      assert.equal((await ask('/prefix/one/two?q=1')).seen?.path, '/one/two?q=1');
      assert.equal((await ask('/prefix/one')).seen?.path, '/one');
      assert.equal((await ask('/strip/three')).seen?.path, '/three');
      assert.equal((await ask('/strip')).seen?.path, '/');
      const full = await ask('/full/one/two');
      assert.equal(full.seen?.path, '/one');
      assert.equal(full.seen?.headers['host'], 'other.example');
    },
  ));

test('a mirror gets the requests of its backend, and its response is discarded', () =>
  mesh.withRoute(
    httpRoute(
      'mirror',
      `
    - filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: echo-v2, port: 80 } } }]
      backendRefs: [{ name: echo-v1, port: 80 }]`,
    ),
    inForce('mirror'),
    async () => {
      const key = `mirrored-${Date.now()}`;
      // Each request of a key is counted where it is served: v2 has failed once already when it is called itself.
      assert.equal((await ask(`/flaky/${key}/1`)).status, 503);
      assert.equal((await ask(`/flaky/${key}/1`)).pod, 'echo-v1');
      const direct = await ask(`/flaky/${key}/1`, { service: 'echo-v2' });
      assert.equal(direct.status, 200, 'v2 has counted the mirrored requests');
    },
  ));
