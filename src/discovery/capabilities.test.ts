import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { mirrorTo } from '../../test/support/filters.js';
import type { Route, RouteKey } from '../model/route.js';
import type { ServiceKey } from '../model/workload.js';
import {
  capabilitiesOf,
  features,
  featuresKey,
  featuresOfRoute,
  firstFeatures,
  readCapabilities,
  routeWithout,
  unsupportedRules,
  versionKey,
} from './capabilities.js';
import { decodeRoute, encodeRoute, readRoute, routeValues } from './codec/route.js';

const proto = readFileSync('src/discovery/proto/weft.proto', 'utf8').replace(/\/\/.*$/gm, '');
/** Message → its body, without nested braces. */
const bodies = new Map(
  [...proto.matchAll(/^message (\w+) \{(\}|[\s\S]*?^\})/gm)].map(([, name = '', body = '']) => [name, body]),
);
const fieldsOf = (body: string): { type: string; name: string }[] =>
  [...body.matchAll(/(?:repeated |optional )?([\w.]+) (\w+) = \d+;/g)].map(([, type = '', name = '']) => ({
    type,
    name,
  }));

test('every field and oneof member of a route and of a Service’s settings is a feature, and nothing else is', () => {
  const expected = new Set<string>();
  const visit = (message: string): void => {
    const body = bodies.get(message);
    assert.ok(body !== undefined, message);
    for (const { type, name } of fieldsOf(body)) {
      const feature = `${message}.${name}`;
      if (expected.has(feature)) continue;
      expected.add(feature);
      if (bodies.has(type)) visit(type);
      if (type !== 'string' || !/(^|_)kind$/.test(name)) continue;
      const values = routeValues[feature];
      assert.ok(values, `${feature} has a fixed set of values: list them in routeValues`);
      for (const value of values) expected.add(`${feature}=${value}`);
    }
  };
  visit('Route');
  visit('ServicePolicy');
  assert.ok(expected.size > 70);
  assert.deepEqual([...features].sort(), [...expected].sort());
  assert.doesNotMatch(proto, /^\s*enum /m, 'an alternative is a member of a oneof: its members are features');
});

test('every version has the features of the first one', () => {
  assert.deepEqual(
    [...firstFeatures].filter((feature) => !features.has(feature)),
    [],
  );
});

test('a waypoint of this version lacks nothing; one that states nothing has the features of 0.1.0', () => {
  assert.deepEqual(readCapabilities(capabilitiesOf('7.1.0')), { version: '7.1.0', lacks: [] });
  const old = [...features].filter((feature) => !firstFeatures.has(feature)).sort();
  assert.ok(old.includes('ServicePolicy.load_balancing'));
  for (const none of [undefined, null, {}, 'x', { [featuresKey]: 'all' }, { [versionKey]: 3 }])
    assert.deepEqual(readCapabilities(none), { version: '0.1.0', lacks: old });
  const strange = {
    [versionKey]: 'v'.repeat(1000),
    [featuresKey]: [1, null, {}, 'Route.unknown', ...old.slice(1)],
  };
  assert.deepEqual(readCapabilities(strange), { version: 'v'.repeat(64), lacks: [old[0]] });
});

const api = 'shop/api.shop.svc.cluster.local' as ServiceKey;
const backends = [{ target: { kind: 'service', service: api, port: 80 }, weight: 1, filters: [] }] as const;
const route: Route = {
  key: 'HTTPRoute/shop/api' as RouteKey,
  kind: 'http',
  namespace: 'shop',
  name: 'api',
  createdMs: 1,
  parents: [{ service: api, port: 80 }],
  rules: [
    {
      name: 'mirrored',
      matches: [{ path: { kind: 'prefix', value: '/v1' }, headers: [], query: [] }],
      filters: [mirrorTo({ kind: 'service', service: api, port: 81 }, 1, 2)],
      backends,
    },
    {
      matches: [
        { path: { kind: 'suffix', value: '/Get' }, method: 'POST', headers: [], query: [] },
        { headers: [{ kind: 'regex', name: 'x', value: 'a.*' }], query: [] },
      ],
      filters: [],
      backends,
      retry: { codes: [503] },
    },
    { matches: [], filters: [], backends },
  ],
};
const name = 'HTTPRoute/shop/api';

test('for a waypoint that lacks a feature, only the rules that use it are closed, and it can decode all that it is sent', () => {
  const bytes = encodeRoute(route);
  const cases: readonly (readonly [string, readonly number[]])[] = [
    ['RouteFilter.mirror', [0]],
    ['MirrorFilter.denominator', [0]],
    ['RouteMatch.path_kind=suffix', [1]],
    ['ValueMatch.kind=regex', [1]],
    ['RouteRule.retry', [1]],
    ['RouteRetry.codes', [1]],
    ['RouteRule.name', [0]],
    ['RouteRule.backends', [0, 1, 2]],
    ['Route.created_ms', [0, 1, 2]],
    ['RouteFilter.cors', []],
  ];
  for (const [lacked, closed] of cases) {
    const has = new Set([...features].filter((one) => one !== lacked));
    const found = decodeRoute(routeWithout(name, bytes, [lacked]));
    assert.ok(found.ok, lacked);
    found.value.rules.forEach((rule, index) => {
      if (!closed.includes(index)) return assert.deepEqual(rule, route.rules[index], lacked);
      const target = rule.backends[0]?.target;
      assert.ok(rule.filters.length === 0 && rule.backends.length === 1);
      assert.ok(
        target?.kind === 'invalid' && target.reason.includes(lacked),
        `${lacked}: ${JSON.stringify(target)}`,
      );
    });
    // What the control plane sends is what the waypoint itself would make of the whole route.
    assert.deepEqual(found.value.rules, readRoute(name, bytes, has).value?.rules);
    const named = unsupportedRules(route, [lacked]);
    assert.deepEqual(
      [...named],
      lacked === 'Route.created_ms' ? [[undefined, lacked]] : closed.map((index) => [index, lacked]),
    );
  }
});

test('the closed form of an unknown match keeps its known conditions and is marked, and an older waypoint is sent no mark', () => {
  const lacks = ['RouteMatch.path_kind=suffix', 'ValueMatch.kind=regex'];
  const marked = decodeRoute(routeWithout(name, encodeRoute(route), lacks));
  assert.ok(marked.ok);
  assert.deepEqual(marked.value.rules[1]?.matches, [
    { method: 'POST', headers: [], query: [], unreadable: true },
    // The unknown condition is not one of the path.
    { path: { kind: 'prefix', value: '/' }, headers: [], query: [], unreadable: true },
  ]);
  const plain = decodeRoute(routeWithout(name, encodeRoute(route), [...lacks, 'RouteMatch.unreadable']));
  assert.ok(plain.ok);
  assert.ok(plain.value.rules.every(({ matches }) => matches.every(({ unreadable }) => !unreadable)));
});

test('routes that every version understands need no other form', () => {
  assert.deepEqual(featuresOfRoute(encodeRoute(route)), []);
  const [first] = route.rules;
  assert.ok(first);
  const marked = { ...first, matches: [{ headers: [], query: [], unreadable: true as const }] };
  assert.deepEqual(featuresOfRoute(encodeRoute({ ...route, rules: [marked] })), ['RouteMatch.unreadable']);
});

test('an older waypoint, which knows no closed match, gets none of the rules that requests of one could reach', () => {
  const marked: Route = {
    ...route,
    rules: [
      { matches: [{ headers: [], query: [], unreadable: true }], filters: [], backends },
      ...route.rules,
    ],
  };
  const lacks = ['RouteMatch.unreadable'];
  const found = decodeRoute(routeWithout(name, encodeRoute(marked), lacks));
  assert.ok(found.ok);
  assert.equal(found.value.rules.length, marked.rules.length);
  for (const { backends: ends, filters } of found.value.rules)
    assert.deepEqual([ends.map(({ target }) => target.kind), filters], [['invalid'], []]);
  assert.ok(unsupportedRules(marked, lacks).has(undefined));
  assert.equal(unsupportedRules(route, lacks).size, 0);
});
