import assert from 'node:assert/strict';
import { test } from 'node:test';
import { route } from '../../../test/support/waypoint.js';
import { identity } from '../../../test/support/mesh.js';
import { routeWithout, featuresOfRoute } from '../../discovery/capabilities.js';
import { decodeRoute, encodeRoute } from '../../discovery/codec/route.js';
import type { Route, RouteMatch, RouteRule, ValueMatch } from '../../model/route.js';
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
const rule = (name: string, ...matches: Partial<RouteMatch>[]): Partial<RouteRule> => ({
  name,
  matches: matches.map((match) => ({ headers: [], query: [], ...match })),
});
const ordered = (...rules: Partial<RouteRule>[]): Route => ({ ...route('r', rules), ordered: true });
const is = (name: string, value: string, kind: ValueMatch['kind'] = 'exact'): ValueMatch => ({
  kind,
  name,
  value,
});
const named = (
  of: Route,
  request: RequestHead,
  client?: Parameters<NonNullable<ReturnType<typeof compileRoutes>>>[1],
) => compileRoutes([of])?.(request, client)?.rule.name;

test('rules match in the order written, whatever is more specific', () => {
  const rules = [
    rule('prefix', { path: { kind: 'string-prefix', value: '/a' } }),
    rule('exact', { path: { kind: 'exact', value: '/abc' } }),
    rule('header', { headers: [is('x', '1')] }),
    rule('all'),
  ];
  assert.equal(named(ordered(...rules), head('/abc')), 'prefix');
  assert.equal(named(ordered(...rules.slice(1)), head('/abc')), 'exact');
  assert.equal(named(ordered(...rules), head('/b', { headers: ['x', '1'] })), 'header');
  assert.equal(named(ordered(...rules), head('/b')), 'all');
  assert.equal(named(ordered(...rules.slice(0, 2)), head('/b')), undefined);
  assert.equal(compileRoutes([ordered(...rules)])?.(head('/ab/c'))?.prefix, '/a');
});

test('a route of the Gateway API precedes an ordered one while both are there', () => {
  const both = [ordered(rule('written first')), route('gateway', [rule('sorted')])];
  assert.equal(compileRoutes(both)?.(head('/'))?.rule.name, 'sorted');
});

test('a string prefix is no path of segments, and the case of a path is ignored where that is said', () => {
  const path = { kind: 'string-prefix', value: '/Foo.' } as const;
  assert.equal(named(ordered(rule('yes', { path })), head('/Foo.bar')), 'yes');
  assert.equal(named(ordered(rule('yes', { path })), head('/foo.bar')), undefined);
  const ignoring = ordered(rule('yes', { path, ignorePathCase: true }));
  assert.equal(named(ignoring, head('/FOO.bar')), 'yes');
  assert.equal(named(ignoring, head('/FOO/bar')), undefined);
  const exact = ordered(rule('yes', { path: { kind: 'exact', value: '/a' }, ignorePathCase: true }));
  assert.equal(named(exact, head('/A?x')), 'yes');
  assert.equal(named(exact, head('/A/')), undefined);
});

test('values: exact, by prefix, by expression, and present; headers that must not match', () => {
  const holds = (match: Partial<RouteMatch>, request: RequestHead): boolean =>
    named(ordered(rule('yes', match)), request) === 'yes';
  const withX = head('/?q=1&flag&p=ab%20c', { headers: ['x', 'abc'] });
  assert.equal(holds({ headers: [is('x', 'ab', 'prefix')] }, withX), true);
  assert.equal(holds({ headers: [is('x', 'bc', 'prefix')] }, withX), false);
  assert.equal(holds({ headers: [is('x', '', 'present')] }, withX), true);
  assert.equal(holds({ headers: [is('y', '', 'present')] }, withX), false);
  assert.equal(holds({ withoutHeaders: [is('x', 'abc')] }, withX), false);
  assert.equal(holds({ withoutHeaders: [is('x', 'abd'), is('y', '', 'present')] }, withX), true);
  assert.equal(holds({ query: [is('flag', '', 'present'), is('p', 'ab ', 'prefix')] }, withX), true);
  assert.equal(holds({ query: [is('q', '[0-9]', 'regex')] }, withX), true);
  assert.equal(holds({ query: [is('fla', '', 'present')] }, withX), false);
  const pseudo = head('/', { method: 'PUT', scheme: 'https', authority: 'api.shop:8080' });
  assert.equal(holds({ headers: [is(':method', 'P', 'prefix'), is(':scheme', 'https')] }, pseudo), true);
  assert.equal(holds({ headers: [is(':authority', 'api.shop')] }, pseudo), true, 'with any port');
  assert.equal(holds({ headers: [is(':authority', 'api.shop:8080')] }, pseudo), true);
  assert.equal(holds({ headers: [is(':authority', 'api.sho')] }, pseudo), false);
  assert.equal(holds({ headers: [is(':authority', '.*\\.shop', 'regex')] }, pseudo), true);
});

test('the query is read the same with escapes and without', () => {
  for (const query of ['a=1&b=2', 'b=2', 'x&b=2', 'bb=2&b=2', 'b=2&b=3', '&&b=2', 'ab=1&b=2&']) {
    for (const escaped of [query, `${query}&z=%20`]) {
      const yes = named(ordered(rule('yes', { query: [is('b', '2')] })), head(`/?${escaped}`));
      assert.equal(yes, 'yes', escaped);
    }
  }
  for (const query of ['', 'b', 'b=', 'b=22', 'b=3&b=2', 'a=b=2', 'B=2', 'ab=2'])
    assert.equal(
      named(ordered(rule('yes', { query: [is('b', '2')] })), head(`/?${query}`)),
      undefined,
      query,
    );
});

test('a match for certain clients holds for no other client, and for none without an identity', () => {
  const clients = [
    { namespace: 'shop', serviceAccount: 'web' },
    { namespace: 'ops', serviceAccount: '' },
  ];
  const of = ordered(rule('theirs', { clients }), rule('others'));
  assert.equal(named(of, head('/'), { identity: identity('shop', 'web') }), 'theirs');
  assert.equal(named(of, head('/'), { identity: identity('shop', 'other') }), 'others');
  assert.equal(named(of, head('/'), { identity: identity('shop', 'web2') }), 'others');
  assert.equal(named(of, head('/'), { identity: identity('shop', 'we') }), 'others');
  assert.equal(named(of, head('/'), { identity: identity('ops', 'any') }), 'theirs');
  assert.equal(named(of, head('/'), { identity: identity('ops2', 'any') }), 'others');
  assert.equal(named(of, head('/'), { identity: undefined }), 'others');
  assert.equal(named(of, head('/')), 'others');
});

test('an older waypoint, which would sort the rules, gets them closed', () => {
  const given: Route = {
    ...ordered(
      rule('first', {
        path: { kind: 'string-prefix', value: '/a' },
        withoutHeaders: [is('x', '', 'present')],
      }),
      rule('second'),
    ),
    clientNamespaces: ['shop'],
  };
  const bytes = encodeRoute(given);
  const lacks = featuresOfRoute(bytes);
  assert.ok(lacks.includes('Route.ordered'));
  const sent = routeWithout(given.key, bytes, [...lacks]);
  assert.deepEqual(
    featuresOfRoute(sent).filter((one) => one !== 'RouteMatch.unreadable'),
    [],
  );
  const decoded = decodeRoute(sent);
  assert.ok(decoded.ok);
  for (const { backends } of decoded.value.rules) assert.equal(backends[0]?.target.kind, 'invalid');
});

test('matching allocates nothing', () => {
  const clients = [{ namespace: 'ops', serviceAccount: 'none' }];
  const many = Array.from({ length: 20 }, (_, i) =>
    rule(`r${i}`, {
      path: { kind: 'string-prefix', value: `/other${i}` },
      headers: [is('x-user-type', `u${i}`), is(':authority', `h${i}`)],
      query: [is('q', String(i))],
    }),
  );
  const more = [
    rule('case', { path: { kind: 'exact', value: '/Other' }, ignorePathCase: true }),
    rule('absent', { withoutHeaders: [is('x-user-type', '', 'present')] }),
    rule('client', { clients }),
    rule('query', { headers: [is('x-user-type', 'normal')], query: [is('q', '2')] }),
    rule('all'),
  ];
  const match = compileRoutes([ordered(...many, ...more)]);
  const request = head('/orders/1', { headers: ['accept', '*/*', 'x-user-type', 'normal'] });
  const client = { identity: identity('shop', 'web') };
  const rounds = 50_000;
  const run = (): number => {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < rounds; i++) match?.(request, client);
    return process.memoryUsage().heapUsed - before;
  };
  for (let i = 0; i < 3; i++) run();
  // An object of one field takes 16 bytes. The smallest of several runs: other parts of the process allocate as well.
  const grown = Math.min(...Array.from({ length: 5 }, run));
  assert.ok(grown < rounds * 8, `${grown} bytes in ${rounds} matches`);
});
