import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RequestHead } from '../http/http-stream.js';
import { filter, mirrorTo } from '../../../test/support/filters.js';
import { backend, route } from '../../../test/support/waypoint.js';
import type { CorsFilter, RedirectFilter } from '../../discovery/gen/weft.js';
import type { RouteFilter, RouteRule } from '../../model/route.js';
import { compileRoutes } from '../routes/compile.js';
import { filterProblem } from './chain.js';
import { addCorsHeaders, preflightOf } from './cors.js';
import { redirectOf } from './redirect.js';
import { changePath } from './path-change.js';
import { changeHeaders } from './header-mutation.js';

const head = (path: string, more: Partial<RequestHead> = {}): RequestHead => ({
  method: 'GET',
  path,
  authority: 'api.shop:8080',
  scheme: 'http',
  headers: [],
  ...more,
});

test('headers: set replaces all values, add appends, remove removes all; cookies stay separate', () => {
  const change = (headers: string[], set: string[][], add: string[][], remove: string[]): string[] => {
    const pairs = (of: string[][]) => of.map(([name = '', value = '']) => ({ name, value }));
    changeHeaders(headers, { set: pairs(set), add: pairs(add), remove });
    return headers;
  };
  assert.deepEqual(change(['a', '1', 'b', '2', 'a', '3'], [['a', '4']], [], []), ['a', '4', 'b', '2']);
  assert.deepEqual(change([], [['a', '4']], [], []), ['a', '4']);
  assert.deepEqual(change(['a', '1'], [], [['a', '2']], []), ['a', '1,2']);
  assert.deepEqual(change(['b', '1'], [], [['a', '2']], []), ['b', '1', 'a', '2']);
  assert.deepEqual(change(['a', '1', 'b', '2', 'a', '3'], [], [], ['a', 'c']), ['b', '2']);
  assert.deepEqual(change(['a', '1'], [['a', '2']], [['a', '3']], ['a']), []);
  assert.deepEqual(change(['set-cookie', 'a=1'], [], [['set-cookie', 'b=2']], []), [
    'set-cookie',
    'a=1',
    'set-cookie',
    'b=2',
  ]);
  // A value that equals the name is not a name.
  assert.deepEqual(change(['x', 'a', 'a', '1', 'y', 'b'], [], [], ['a']), ['x', 'a', 'y', 'b']);
});

test('a prefix is replaced as in the Gateway API’s table', () => {
  const table: [string, string, string, string][] = [
    ['/foo/bar', '/foo', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo', '/xyz/', '/xyz/bar'],
    ['/foo', '/foo', '/xyz', '/xyz'],
    ['/foo/', '/foo', '/xyz', '/xyz/'],
    ['/foo/bar', '/foo', '', '/bar'],
    ['/foo/', '/foo', '', '/'],
    ['/foo', '/foo', '', '/'],
    ['/foo/', '/foo', '/', '/'],
    ['/foo', '/foo', '/', '/'],
    ['/foo/bar', '/foo', '/', '/bar'],
    ['/foo?x=1', '/foo', '/', '/?x=1'],
    ['/foo/bar?x=/foo', '/foo', '/xyz', '/xyz/bar?x=/foo'],
    ['/bar', '/', '/xyz', '/xyz/bar'],
    ['/', '/', '/xyz', '/xyz/'],
  ];
  for (const [path, prefix, value, expected] of table)
    assert.equal(changePath(path, { kind: 'prefix', value }, prefix), expected, `${path} ${prefix} ${value}`);
  assert.equal(changePath('/a/b?c', { kind: 'full', value: '/x' }, '/a'), '/x?c');
  assert.equal(changePath('/a', { kind: 'full', value: 'x' }, undefined), '/x');
  assert.equal(changePath('/a?b', { kind: 'full', value: '/x?y' }, undefined), '/x?y');
  const text = (path: string, value: string, prefix: string): string =>
    changePath(path, { kind: 'string-prefix', value }, prefix);
  assert.equal(text('/foo.bar?q', '/x', '/foo'), '/x.bar?q');
  assert.equal(text('/foo/bar', '/', '/foo/'), '/bar');
  assert.equal(text('/foo/bar', '/', '/foo'), '//bar');
  assert.equal(text('/a', '/v2', '/'), '/v2a');
});

test('a redirect has scheme, host and port as in the Gateway API', () => {
  const to = (fields: Partial<RedirectFilter>, port = 80, path = '/a?b'): string | undefined =>
    redirectOf(head(path), filter('redirect', { statusCode: 302, ...fields }).value, '/a', port).headers[1];
  assert.equal(to({}), 'http://api.shop/a?b');
  assert.equal(to({}, 8080), 'http://api.shop:8080/a?b');
  assert.equal(to({ scheme: 'https' }, 8080), 'https://api.shop/a?b');
  assert.equal(to({ scheme: 'https', port: 8443 }), 'https://api.shop:8443/a?b');
  assert.equal(to({ scheme: 'https', port: 443 }), 'https://api.shop/a?b');
  assert.equal(to({ scheme: 'http' }, 8080), 'http://api.shop/a?b');
  assert.equal(to({ port: 80 }, 8080), 'http://api.shop/a?b');
  assert.equal(to({ port: 443 }), 'http://api.shop:443/a?b');
  assert.equal(to({ hostname: 'other' }), 'http://other/a?b');
  assert.equal(to({ path: { kind: 'full', value: '/x' } }), 'http://api.shop/x?b');
  assert.equal(to({ path: { kind: 'prefix', value: '/x' } }, 80, '/a/c'), 'http://api.shop/x/c');
  for (const statusCode of [301, 302, 303, 307, 308])
    assert.equal(
      redirectOf(head('/'), filter('redirect', { statusCode }).value, undefined, 80).status,
      statusCode,
    );
});

const cors = (more: Partial<CorsFilter> = {}): CorsFilter => ({
  originMatches: [],
  forwardUnmatchedPreflights: false,
  allowOrigins: ['https://a.test', 'https://*.b.test', 'http://c.test:8080'],
  allowMethods: ['GET', 'PUT'],
  allowHeaders: ['x-a'],
  exposeHeaders: ['x-e'],
  allowCredentials: false,
  maxAgeS: 7,
  ...more,
});

test('CORS: preflights get a response, and only allowed origins are allowed in it', () => {
  const preflight = (origin: string | undefined, filter = cors(), method = 'OPTIONS', asks = true) =>
    preflightOf(
      head('/', {
        method,
        headers: [
          ...(origin === undefined ? [] : ['origin', origin]),
          ...(asks ? ['access-control-request-method', 'PUT', 'access-control-request-headers', 'x-z'] : []),
        ],
      }),
      filter,
    );
  const allows = (origin: string): boolean =>
    preflight(origin)?.headers.includes('access-control-allow-origin') === true;
  for (const origin of ['https://a.test', 'https://x.b.test', 'https://x.y.b.test', 'http://c.test:8080'])
    assert.ok(allows(origin), origin);
  for (const origin of [
    'http://a.test',
    'https://a.test.evil',
    'https://b.test',
    'https://xb.test',
    'https://.b.test.evil',
    'http://c.test',
    'null',
    'https://evil/x.b.testx',
  ])
    assert.ok(!allows(origin), origin);
  assert.equal(preflight('https://evil')?.status, 204);
  assert.deepEqual(preflight('https://a.test')?.headers, [
    'access-control-allow-origin',
    'https://a.test',
    'vary',
    'origin',
    'access-control-allow-methods',
    'GET, PUT',
    'access-control-allow-headers',
    'x-a',
    'access-control-max-age',
    '7',
  ]);
  assert.equal(preflight(undefined), undefined);
  assert.equal(preflight('https://a.test', cors(), 'GET'), undefined);
  assert.equal(preflight('https://a.test', cors(), 'OPTIONS', false), undefined);
  const open = cors({
    allowOrigins: ['*'],
    allowMethods: ['*'],
    allowHeaders: ['*'],
    allowCredentials: true,
  });
  const answered = preflight('https://any', open)?.headers ?? [];
  assert.ok(!answered.includes('*'), 'with credentials, browsers take a star literally');
  assert.equal(answered[1], 'https://any');
  assert.ok(answered.includes('PUT') && answered.includes('x-z') && answered.includes('true'));
});

test('CORS: a response has the rule’s headers, not the endpoint’s', () => {
  const answer = ['access-control-allow-origin', '*', 'x', 'y'];
  addCorsHeaders(answer, 'https://a.test', cors());
  assert.deepEqual(answer, [
    'x',
    'y',
    'access-control-allow-origin',
    'https://a.test',
    'vary',
    'origin',
    'access-control-expose-headers',
    'x-e',
  ]);
  const evil = ['access-control-allow-origin', '*', 'access-control-allow-credentials', 'true'];
  addCorsHeaders(evil, 'https://evil', cors());
  assert.deepEqual(evil, []);
});

test('a filter that cannot be applied closes its rule, and is a problem of its route', () => {
  const table: [RouteFilter, RegExp][] = [
    [filter('rewrite', { path: { kind: 'suffix', value: '' } }), /path change of unknown kind "suffix"/],
    [filter('redirect', { statusCode: 302, path: { kind: '', value: '' } }), /path change of unknown kind/],
    [filter('redirect', { statusCode: 200 }), /redirect with status 200/],
    [filter('redirect', { statusCode: 302, port: 70_000 }), /out of range/],
    [mirrorTo(backend('api').target, 1, 0), /without denominator/],
    [filter('mirror', { numerator: 1, denominator: 1 }), /backend without target/],
  ];
  for (const [one, why] of table) {
    for (const rule of [{ filters: [one] }, { backends: [backend('api', 1, { filters: [one] })] }]) {
      const asked = route('r', [rule]);
      assert.match(filterProblem(asked.rules[0] as RouteRule) ?? '', why);
      const matched = compileRoutes([asked])?.(head('/'));
      assert.deepEqual(
        matched?.rule.backends.map(({ target }) => target.kind),
        ['invalid'],
      );
      assert.deepEqual(matched?.chain.list.request, []);
    }
  }
});
