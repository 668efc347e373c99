/** Differential test: a route of a newer control plane, decoded by this version, compared with the route as its author meant it. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { encodeRoute, readRoute } from '../../discovery/codec/route.js';
import * as pb from '../../discovery/gen/weft.js';
import type { PathMatch, Route, RouteKey, RouteMatch, RouteRule } from '../../model/route.js';
import type { ServiceKey } from '../../model/workload.js';
import type { Mutable } from '../../../test/support/mutable.js';
import type { RequestHead } from '../http/http-stream.js';
import { compileRoutes } from './compile.js';

const rounds = 3_000;
const pick = <T>(list: readonly T[]): T => list[randomInt(list.length)] as T;
const api = 'shop/api.shop.svc.cluster.local' as ServiceKey;
const paths = ['/', '/a', '/a/b', '/a/b/c', '/x', '/pkg.S/Get'];

const randomPath = (): PathMatch =>
  pick<PathMatch>([
    { kind: 'exact', value: pick(paths) },
    { kind: 'prefix', value: pick(paths) },
    { kind: 'prefix', value: pick(paths) },
    { kind: 'regex', value: pick(['/a.*', '/.*', '/a/b/.*']) },
    { kind: 'suffix', value: '/Get' },
  ]);
const randomMatch = (): RouteMatch => ({
  ...pick([{}, { path: randomPath() }, { path: randomPath() }]),
  ...pick([{}, {}, { method: pick(['GET', 'POST']) }]),
  headers: ['h1', 'h2'].flatMap((name) =>
    pick([[], [{ kind: pick(['exact', 'regex'] as const), name, value: pick(['1', '2']) }]]),
  ),
  query: pick([[], [], [{ kind: 'exact', name: 'q', value: pick(['1', '2']) }]]),
});
const randomRule = (name: string): RouteRule => ({
  name,
  matches: Array.from({ length: randomInt(1, 3) }, randomMatch),
  filters: pick([[], [filter('rewrite', { hostname: 'x' })]]),
  backends: [{ target: { kind: 'service', service: api, port: 80 }, weight: 1, filters: [] }],
});
const randomRoute = (): Route => ({
  key: 'HTTPRoute/shop/api' as RouteKey,
  kind: 'http',
  namespace: 'shop',
  name: 'api',
  createdMs: 0,
  parents: [{ service: api }],
  rules: Array.from({ length: randomInt(2, 5) }, (_, index) => randomRule(`r${index}`)),
});
const randomRequest = (): RequestHead => ({
  method: pick(['GET', 'POST']),
  path: pick([...paths, '/a/', '/a/b/c/d', '/y/Get']) + pick(['', '?q=1', '?q=2']),
  authority: 'api',
  scheme: 'http',
  headers: ['h1', 'h2'].flatMap((name) => pick([[], [name, '1'], [name, '2']])),
});

type Rule = Mutable<pb.RouteRule>;
type Match = Mutable<pb.RouteMatch>;
/** A part that this version does not know, in the message of a rule. False: the rule has no such part. */
const changes: Readonly<Record<string, (rule: Rule) => boolean>> = {
  'a filter': (rule) => {
    rule.filters = [...rule.filters, { filter: undefined }];
    return true;
  },
  'a filter of a backend': (rule) => {
    rule.backends = rule.backends.map((backend) => ({ ...backend, filters: [{ filter: undefined }] }));
    return true;
  },
  'a kind of path': (rule) => {
    const match = pick(rule.matches) as Match;
    // Exact paths precede every other kind, so no new kind has their rank.
    if (match.pathKind === '' || match.pathKind === 'exact') return false;
    match.pathKind = 'glob';
    return true;
  },
  'a kind of header value': (rule) => {
    const match = pick(rule.matches) as Match;
    if (match.headers.length === 0) return false;
    match.headers = match.headers.map((one, index) => (index === 0 ? { ...one, kind: 'glob' } : one));
    return true;
  },
  'a kind of query value': (rule) => {
    const match = pick(rule.matches) as Match;
    if (match.query.length === 0) return false;
    match.query = match.query.map((one) => ({ ...one, kind: 'glob' }));
    return true;
  },
};
const hasKnownMatches = new Set(['a filter', 'a filter of a backend']);

for (const [what, change] of Object.entries(changes))
  test(`${what} that is not known: no request of its rule reaches another rule’s backend, and the other rules stay`, () => {
    let ofRule = 0;
    let others = 0;
    for (let round = 0; round < rounds; round++) {
      const route = randomRoute();
      const message = pb.Route.decode(encodeRoute(route)) as Mutable<pb.Route>;
      const index = randomInt(message.rules.length);
      const changed = message.rules[index] as Rule;
      if (!change(changed)) continue;
      const { value } = readRoute(route.key, pb.Route.encode(message).finish());
      assert.ok(value);
      const meant = compileRoutes([route]);
      const decoded = compileRoutes([value]);
      for (let i = 0; i < 10; i++) {
        const request = randomRequest();
        const [wanted, got] = [meant?.(request)?.rule, decoded?.(request)?.rule];
        const shown = JSON.stringify({ request, wanted, got });
        const isClosed = got?.backends[0]?.target.kind === 'invalid';
        assert.equal(isClosed, got?.name === changed.name && got !== undefined, shown);
        if (wanted?.name === changed.name && wanted !== undefined) {
          ofRule++;
          assert.ok(isClosed, shown);
        } else if (hasKnownMatches.has(what)) {
          others++;
          assert.equal(got?.name, wanted?.name, shown);
          if (got) assert.deepEqual(got, wanted);
        }
      }
    }
    assert.ok(ofRule > 100, 'requests of the closed rule');
    assert.ok(!hasKnownMatches.has(what) || others > 100, 'requests of other rules');
  });

test('an unknown field of a match, which may be a further condition, takes precedence among matches of its path', () => {
  const route = (first: RouteMatch, second: RouteMatch): Route => ({
    ...randomRoute(),
    rules: [
      { ...randomRule('known'), matches: [first] },
      { ...randomRule('closed'), matches: [second] },
    ],
  });
  const header = { kind: 'exact', name: 'h1', value: '1' } as const;
  const path = { kind: 'prefix', value: '/a' } as const;
  const request: RequestHead = { ...randomRequest(), method: 'GET', path: '/a/b', headers: ['h1', '1'] };
  const ruleOf = (known: PathMatch): string | undefined => {
    const given = route(
      { path: known, method: 'GET', headers: [header], query: [] },
      { path, headers: [], query: [], unreadable: true },
    );
    return compileRoutes([given])?.(request)?.rule.name;
  };
  assert.equal(ruleOf(path), 'closed');
  assert.equal(ruleOf({ kind: 'prefix', value: '/a/b' }), 'known');
  assert.equal(ruleOf({ kind: 'exact', value: '/a/b' }), 'known');
  // Field 50 in the first match of the first rule.
  const bytes = encodeRoute({ ...route({ path, headers: [], query: [] }, { headers: [], query: [] }) });
  const message = pb.Route.decode(bytes) as Mutable<pb.Route>;
  const encoded = pb.RouteMatch.encode(message.rules[0]?.matches[0] ?? pb.RouteMatch.create()).finish();
  const match = Buffer.concat([
    encoded,
    new BinaryWriter()
      .uint32(50 << 3)
      .uint32(1)
      .finish(),
  ]);
  const rule = new BinaryWriter()
    .uint32((2 << 3) | 2)
    .bytes(match)
    .finish();
  const whole = new BinaryWriter()
    .uint32((6 << 3) | 2)
    .bytes(rule)
    .finish();
  const { value } = readRoute('HTTPRoute/shop/api', Buffer.concat([bytes, whole]));
  assert.deepEqual(value?.rules.at(-1)?.matches, [{ path, headers: [], query: [], unreadable: true }]);
});
