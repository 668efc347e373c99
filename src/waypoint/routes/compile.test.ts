import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { route } from '../../../test/support/waypoint.js';
import type { ServiceKey } from '../../model/workload.js';
import type { PathMatch, Route, RouteMatch, RouteRule, ValueMatch } from '../../model/route.js';
import { RegexTime } from '../../policy/regex.js';
import type { RequestHead } from '../http/http-stream.js';
import { compileRoutes } from './compile.js';

const head = (path: string, more: Partial<RequestHead> = {}): RequestHead => ({
  method: 'GET',
  path,
  authority: 'api.shop',
  scheme: 'http',
  headers: [],
  ...more,
});
const match = (path: PathMatch | undefined, more: Partial<RouteMatch> = {}): RouteMatch => ({
  headers: [],
  query: [],
  ...(path ? { path } : {}),
  ...more,
});
const exact = (value: string): PathMatch => ({ kind: 'exact', value });
const prefix = (value: string): PathMatch => ({ kind: 'prefix', value });
const regex = (value: string): PathMatch => ({ kind: 'regex', value });
const suffix = (value: string): PathMatch => ({ kind: 'suffix', value });
const is = (name: string, value: string, kind: ValueMatch['kind'] = 'exact'): ValueMatch => ({
  kind,
  name,
  value,
});
const rule = (name: string, ...matches: RouteMatch[]): Partial<RouteRule> => ({ name, matches });
const named = (routes: readonly Route[], request: RequestHead): string | undefined =>
  compileRoutes(routes)?.(request)?.rule.name;

test('the more specific match wins, in the order of the Gateway API, at any position', () => {
  const x = is('x', '1');
  const y = is('y', '1');
  // Each match wins over all that follow it.
  const order = [
    rule('exact', match(exact('/a/b'))),
    rule('regex', match(regex('/a/.*'))),
    rule('long prefix', match(prefix('/a/b'))),
    rule('method', match(prefix('/a'), { method: 'GET' })),
    rule('two headers', match(prefix('/a'), { headers: [x, y] })),
    rule('one header, two queries', match(prefix('/a'), { headers: [x], query: [x, y] })),
    rule('one header', match(prefix('/a'), { headers: [x] })),
    rule('two queries', match(prefix('/a'), { query: [x, y] })),
    rule('one query', match(prefix('/a'), { query: [y] })),
    rule('prefix', match(prefix('/a'))),
    rule('root', match(prefix('/'), { method: 'GET', headers: [x, y] })),
    rule('nothing said'),
  ];
  const request = head('/a/b?x=1&y=1', { headers: ['x', '1', 'y', '1'] });
  for (let from = 0; from < order.length; from++) {
    const left = order.slice(from);
    for (const given of [left, [...left].reverse()]) {
      assert.equal(named([route('r', given)], request), left[0]?.name, `${from}`);
      const spread = given.map((one, i) => route(`r${i}`, [one], { createdMs: 5 }));
      assert.equal(named(spread, request), left[0]?.name, `${from}, of many routes`);
    }
  }
});

test('among equal matches the oldest route wins, then the first by name, then the first rule', () => {
  const one = (name: string, createdMs: number, namespace = 'shop'): Route =>
    route(name, [rule(`${namespace}/${name}.0`), rule(`${namespace}/${name}.1`)], { createdMs, namespace });
  assert.equal(named([one('a', 2), one('b', 1)], head('/')), 'shop/b.0');
  assert.equal(named([one('b', 1), one('a', 1)], head('/')), 'shop/a.0');
  assert.equal(named([one('a', 1, 'z'), one('b', 1, 'a')], head('/')), 'a/b.0');
});

test('a prefix matches whole segments', () => {
  const routes = [route('r', [rule('foo', match(prefix('/foo')))])];
  for (const path of ['/foo', '/foo/', '/foo/bar', '/foo?x', '/foo/?x'])
    assert.equal(named(routes, head(path)), 'foo');
  for (const path of ['/foobar', '/fo', '/', '/Foo', '/a/foo', '*', '/foo%2Fbar'])
    assert.equal(named(routes, head(path)), undefined, path);
  assert.equal(named([route('r', [rule('all')])], head('*')), 'all');
});

test('an exact path is exact: a trailing slash and case matter, the query does not', () => {
  const routes = [route('r', [rule('foo', match(exact('/foo')))])];
  assert.equal(named(routes, head('/foo?x=/bar')), 'foo');
  for (const path of ['/foo/', '/FOO', '/foo/bar']) assert.equal(named(routes, head(path)), undefined, path);
});

test('headers: repeated fields form a list, the host is the client’s, regular expressions match the whole value', () => {
  const routes = (header: ValueMatch): Route[] => [
    route('r', [rule('yes', match(undefined, { headers: [header] }))]),
  ];
  const holds = (header: ValueMatch, headers: string[], authority = 'api.shop'): boolean =>
    named(routes(header), head('/', { headers, authority })) === 'yes';
  assert.equal(holds(is('x', 'a'), ['x', 'a']), true);
  assert.equal(holds(is('x', 'a'), ['x', 'A']), false);
  assert.equal(holds(is('x', 'a'), []), false);
  assert.equal(holds(is('x', 'a, b'), ['x', 'a', 'x', 'b']), true);
  assert.equal(holds(is('x', 'a.c', 'regex'), ['x', 'abc']), true);
  assert.equal(holds(is('x', 'b', 'regex'), ['x', 'abc']), false);
  assert.equal(holds(is('x', '.*', 'regex'), []), false);
  assert.equal(holds(is('host', 'API.shop'), [], 'api.shop:80'), true);
  assert.equal(holds(is('host', 'api.shop:80'), [], 'api.shop:80'), true);
  assert.equal(holds(is('host', 'api.shop'), ['host', 'api.shop'], 'other'), false);
  assert.equal(holds(is('x', '(', 'regex'), ['x', '(']), true, 'it holds, and refuses');
  assert.equal(holds(is('x', '(', 'regex'), []), false);
});

test('query parameters are decoded, and the first value of a name counts', () => {
  const holds = (query: ValueMatch[], path: string): boolean =>
    named([route('r', [rule('yes', match(undefined, { query }))])], head(path)) === 'yes';
  assert.equal(holds([is('a', 'b c')], '/?a=b%20c'), true);
  assert.equal(holds([is('a', 'b c')], '/?a=b+c'), true);
  assert.equal(holds([is('ä', 'ö')], '/?%C3%A4=%C3%B6'), true);
  assert.equal(holds([is('a', '1')], '/?a=1&a=2'), true);
  assert.equal(holds([is('a', '2')], '/?a=1&a=2'), false);
  assert.equal(holds([is('a', '')], '/?a'), true);
  assert.equal(holds([is('A', '1')], '/?a=1'), false);
  assert.equal(holds([is('a', '1')], '/a=1'), false);
  assert.equal(holds([is('a', '1'), is('b', '[0-9]+', 'regex')], '/?b=22&a=1'), true);
});

test('a gRPC method wins over less specific matches, and yields to its service', () => {
  const rules = [
    rule('all'),
    rule('method', match(suffix('/Get'))),
    rule('service', match(prefix('/shop.Api'))),
    rule('both', match(exact('/shop.Api/Put'))),
  ];
  const routes = [route('r', rules, { kind: 'grpc' })];
  assert.equal(named(routes, head('/other.Api/Get')), 'method');
  assert.equal(named(routes, head('/shop.Api/Get')), 'service');
  assert.equal(named(routes, head('/shop.Api/Put')), 'both');
  assert.equal(named(routes, head('/other.Api/List')), 'all');
});

test('regular expressions match in linear time, whatever the expression and the path', () => {
  const evil = [
    route('r', [
      rule('a', match(regex('/(a+)+$'))),
      rule('b', match(regex('/(a|aa)*b'))),
      rule('c', match(undefined, { headers: [is('x', '(.*)*z', 'regex')] })),
      rule('d', match(prefix('/a/a/x'))),
    ]),
  ];
  const matcher = compileRoutes(evil);
  const started = process.cpuUsage();
  assert.equal(matcher?.(head(`/${'a'.repeat(5_000)}!`, { headers: ['x', 'y'.repeat(5_000)] })), undefined);
  for (let i = 0; i < 20; i++)
    assert.equal(
      compileRoutes([route('d', [evil[0]?.rules[3] ?? {}])])?.(head('/a'.repeat(30_000))),
      undefined,
    );
  // Backtracking would practically never end.
  assert.ok(process.cpuUsage(started).user < 20e6);
});

/** The specification, word for word: all matching rules, sorted. */
function naive(routes: readonly Route[], request: RequestHead): string | undefined {
  const at = request.path.indexOf('?');
  const path = at < 0 ? request.path : request.path.slice(0, at);
  const parameters = new URLSearchParams(at < 0 ? '' : request.path.slice(at + 1));
  const value = (one: ValueMatch, text: string | null): boolean =>
    text !== null &&
    (one.kind === 'exact' ? text === one.value : new RegExp(`^(?:${one.value})$`).test(text));
  const headerValue = (name: string): string | null => {
    const i = request.headers.indexOf(name);
    return i < 0 ? null : (request.headers[i + 1] ?? null);
  };
  const found: { key: (number | string)[]; name: string }[] = [];
  for (const one of routes) {
    one.rules.forEach((rule, index) => {
      for (const m of rule.matches.length > 0 ? rule.matches : [match(undefined)]) {
        const p = m.path ?? prefix('/');
        const holds =
          p.kind === 'exact'
            ? path === p.value
            : p.kind === 'regex'
              ? new RegExp(`^(?:${p.value})$`).test(path)
              : p.value === '/' || path === p.value || path.startsWith(`${p.value}/`);
        if (!holds || (m.method !== undefined && m.method !== request.method)) continue;
        if (!m.headers.every((h) => value(h, headerValue(h.name)))) continue;
        if (!m.query.every((q) => value(q, parameters.get(q.name)))) continue;
        found.push({
          key: [
            ['exact', 'regex', 'prefix'].indexOf(p.kind),
            -p.value.length,
            m.method === undefined ? 1 : 0,
            -m.headers.length,
            -m.query.length,
            one.createdMs,
            `${one.namespace}/${one.name}`,
            index,
          ],
          name: rule.name ?? '',
        });
      }
    });
  }
  found.sort((a, b) => {
    for (let i = 0; i < a.key.length; i++) {
      const [x, y] = [a.key[i] ?? 0, b.key[i] ?? 0];
      if (x !== y) return x < y ? -1 : 1;
    }
    return 0;
  });
  return found[0]?.name;
}

test('the compiled matcher of five thousand routes chooses as one that tries them all', () => {
  let state = 42;
  const random = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const pick = <T>(of: readonly T[]): T => of[random(of.length)] as T;
  const segments = ['a', 'b', 'c', 'aa', 'v1', 'x-y', 'A'];
  const path = (deep = 4): string =>
    `/${Array.from({ length: random(deep) }, () => pick(segments)).join('/')}`;
  const routes: Route[] = [];
  for (let i = 0; i < 5_000; i++) {
    const rules = Array.from({ length: 1 + random(2) }, (_, r) =>
      rule(
        `${i}.${r}`,
        ...Array.from({ length: random(3) }, () => {
          const kind = random(20);
          const value = path(kind < 14 ? 6 : 4);
          const p =
            kind === 0
              ? regex(`${value}(/.*)?`)
              : kind < 8
                ? exact(value)
                : kind < 19
                  ? prefix(value)
                  : undefined;
          return match(p, {
            ...(random(3) === 0 ? { method: pick(['GET', 'POST']) } : {}),
            headers:
              random(3) === 0 ? [is(pick(['x', 'y']), pick(['1', '2']))] : [is('z', String(random(30)))],
            query: random(4) === 0 ? [is(pick(['q', 'r']), pick(['1', '2']))] : [],
          });
        }),
      ),
    ).filter(({ matches }) => (matches?.length ?? 0) > 0);
    routes.push(
      route(`r${random(1000)}`, rules, { createdMs: random(10), namespace: pick(['shop', 'other']) }),
    );
  }
  // With an unlimited time budget: on a busy machine the budget could run out, and the rules would be refused.
  const matcher = compileRoutes(routes, new RegexTime(Infinity));
  assert.ok(matcher);
  let matched = 0;
  for (let i = 0; i < 150; i++) {
    const request = head(path(7) + (random(2) === 0 ? `?${pick(['q', 'r'])}=${pick(['1', '2'])}` : ''), {
      method: pick(['GET', 'POST', 'PUT']),
      headers: [pick(['x', 'y']), pick(['1', '2']), 'z', String(random(40))],
    });
    const expected = naive(routes, request);
    assert.equal(matcher(request)?.rule.name, expected, JSON.stringify(request));
    if (expected !== undefined) matched++;
  }
  assert.ok(matched > 50, `${matched}`);
});

test('a rule with a regular expression that is invalid here refuses all requests that it might match, and no other rule matches them', () => {
  const target = { kind: 'service', service: 'shop/api' as ServiceKey, port: 80 } as const;
  const backends = [{ target, weight: 1, filters: [] }];
  const filters = [filter('redirect', { statusCode: 302 })] as const;
  for (const guard of [
    match(regex('/admin(')),
    match(prefix('/admin'), { query: [is('q', '(', 'regex')] }),
  ]) {
    const rules = [
      { ...rule('guard', guard), filters, backends },
      { ...rule('rest', match(prefix('/'))), backends },
    ];
    const found = compileRoutes([route('r', rules)])?.(head('/admin?q=1'));
    assert.equal(found?.rule.name, 'guard');
    assert.deepEqual(found.rule.filters, []);
    assert.deepEqual(
      found.rule.backends.map((one) => one.target.kind),
      ['invalid'],
    );
  }
});
