import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as pb from '../../discovery/gen/weft.js';
import { RegexCost, RegexTime } from '../../policy/regex.js';
import { route } from '../../../test/support/waypoint.js';
import { decodeMatch } from '../../discovery/codec/route-match.js';
import type { RequestHead } from '../http/http-stream.js';
import { compileRoutes } from '../routes/compile.js';
import { limitMatch, requestMatch, type MatchableRequest } from './request-match.js';

const match = (fields: Partial<pb.RouteMatch>): pb.RouteMatch => pb.RouteMatch.fromPartial(fields);
const headOf = (path: string, more: Partial<RequestHead> = {}): RequestHead => ({
  method: 'GET',
  path,
  authority: 'api.shop:8080',
  scheme: 'http',
  headers: [],
  ...more,
});
const times = new Map<string, RegexTime>();
function request(head: RequestHead, group = 'shop', time?: RegexTime): MatchableRequest {
  const regexTime = (namespace: string): RegexTime => {
    let found = time ?? times.get(namespace);
    if (!found) times.set(namespace, (found = new RegexTime(10_000)));
    return found;
  };
  return { context: { state: { regexTime } }, client: { group }, downstream: { head } };
}

test('without matches every request matches; of several, one suffices', () => {
  assert.ok(requestMatch([])(request(headOf('/'))));
  assert.ok(requestMatch([match({})])(request(headOf('*'))));
  const matches = requestMatch([
    match({ pathKind: 'exact', path: '/a' }),
    match({ method: 'POST', pathKind: 'prefix', path: '/b' }),
  ]);
  assert.ok(matches(request(headOf('/a?x=1'))));
  assert.ok(!matches(request(headOf('/a/'))));
  assert.ok(!matches(request(headOf('/b'))));
  assert.ok(matches(request(headOf('/b/c', { method: 'POST' }))));
  assert.ok(!matches(request(headOf('/bc', { method: 'POST' }))));
});

test('a filter matches the requests that a route with the same match gets', () => {
  const conditions: Partial<pb.RouteMatch>[] = [
    {},
    { method: 'POST' },
    { headers: [{ kind: 'exact', name: 'x', value: '1' }] },
    { headers: [{ kind: 'regex', name: 'x', value: '[0-9]+' }] },
    { headers: [{ kind: 'exact', name: 'host', value: 'api.shop' }] },
    { query: [{ kind: 'exact', name: 'q', value: 'a b' }] },
    { query: [{ kind: 'regex', name: 'q', value: 'a.*' }] },
  ];
  const paths: Partial<pb.RouteMatch>[] = [
    {},
    { pathKind: 'prefix', path: '/' },
    { pathKind: 'prefix', path: '/a' },
    { pathKind: 'prefix', path: '/a/b' },
    { pathKind: 'exact', path: '/a' },
    { pathKind: 'exact', path: '/a/' },
    { pathKind: 'regex', path: '/[ab]/?' },
    { pathKind: 'suffix', path: '/Get' },
  ];
  const heads = [
    '/',
    '/a',
    '/a/',
    '/a/b',
    '/a/b/c',
    '/ab',
    '/shop.Api/Get',
    '/b',
    '*',
    '/a?q=a%20b',
    '/?q=ab',
  ].flatMap((path) => [
    headOf(path),
    headOf(path, { method: 'POST', headers: ['x', '1'] }),
    headOf(path, { headers: ['x', '12', 'x', '3'], authority: 'api.shop' }),
  ]);
  for (const path of paths)
    for (const condition of conditions) {
      const message = match({ ...path, ...condition });
      const ofFilter = requestMatch([message]);
      const ofRoute = compileRoutes([route('r', [{ matches: [decodeMatch(message)] }])]);
      for (const head of heads)
        assert.equal(
          ofFilter(request(head)),
          ofRoute?.(head) !== undefined,
          `${JSON.stringify(message)} ${JSON.stringify(head)}`,
        );
    }
});

test('what is not understood does not compile', () => {
  for (const fields of [
    { pathKind: 'glob', path: '/a' },
    { headers: [{ kind: 'glob', name: 'x', value: '1' }] },
    { query: [{ kind: 'exact', name: '', value: '1' }] },
    { unreadable: true },
    { pathKind: 'regex', path: '(a{100}){100}' },
  ])
    assert.throws(() => requestMatch([match({}), match(fields)]), JSON.stringify(fields));
});

test('an invalid regular expression is an error for each request: it is unknown which it was meant for', () => {
  const matches = requestMatch([match({ pathKind: 'regex', path: '(a' })]);
  for (let i = 0; i < 2; i++) assert.throws(() => matches(request(headOf('/a'))), /is invalid/);
});

test('regular expressions take the time budget of the client’s namespace', () => {
  const matches = requestMatch([match({ pathKind: 'regex', path: '/a' })]);
  const used = new RegexTime(0);
  assert.throws(() => matches(request(headOf('/a'), 'shop', used)), RegexCost);
  assert.ok(matches(request(headOf('/a'), 'other')));
});

test('a limit counts a request if an endpoint may read its path as the one that is limited', () => {
  const orders = [match({ pathKind: 'prefix', path: '/orders' })];
  for (const path of ['/orders', '/orders;x=1', '/orders;/1', '//orders', '/%2forders', '/a;/..;/orders'])
    assert.ok(limitMatch(orders)(request(headOf(path))), path);
  assert.ok(!limitMatch(orders)(request(headOf('/other;x=/orders1'))));
  assert.ok(!requestMatch(orders)(request(headOf('/orders;x=1'))), 'other filters take the path as it is');
});
