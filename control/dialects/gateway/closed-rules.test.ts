import assert from 'node:assert/strict';
import { test } from 'node:test';
import { features } from '../../../src/discovery/capabilities.js';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { RouteRule } from '../../../src/model/route.js';
import { isRoute, type Condition, type RouteObject } from '../../objects/objects.js';
import { shopManifest } from '../../../test/support/manifests.js';
import { parseManifests } from '../../source/parse.js';
import { readObject } from '../../source/validate.js';
import { routeStatus } from '../../status/route.js';
import type { StatusLookup } from '../../status/status.js';
import { compile, type Compiler } from '../../compile/compile.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const mesh = shopManifest();
const rest = { backendRefs: [{ name: 'api', port: 80 }] };
const good = { matches: [{ path: { value: '/good' } }], ...rest };
const routeOf = (kind: string, rules: unknown, refs: unknown = undefined): RouteObject =>
  ({
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind,
    metadata: { name: 'r', namespace: 'shop' },
    spec: { parentRefs: refs ?? [{ group: '', kind: 'Service', name: 'api' }], rules },
  }) as unknown as RouteObject;

/** The compiled rules and the conditions of a route, read as from the API server and as from a file. */
function inForce(object: RouteObject): {
  compiler: Compiler;
  rules: readonly RouteRule[];
  route: RouteObject;
} {
  const read = readObject(object).object;
  assert.ok(read && isRoute(read));
  const file = parseManifests('x.json', JSON.stringify(object));
  const [ofFile] = [...file.objects, ...file.closed].map(({ ...one }) => one);
  assert.ok(ofFile && isRoute(ofFile));
  assert.deepEqual(ofFile.spec, read.spec, 'files and cluster alike');
  const compiler = compile([...parseManifests('mesh', mesh).objects, read], settings);
  const found = [...compiler.all()].find(({ kind }) => kind === 'route');
  return { compiler, rules: found?.kind === 'route' ? found.value.rules : [], route: read };
}
const isClosed = ({ backends, filters }: RouteRule): boolean =>
  filters.length === 0 && backends.length === 1 && backends[0]?.target.kind === 'invalid';
function conditionsOf(
  { compiler, route }: ReturnType<typeof inForce>,
  olderVersions?: StatusLookup['olderVersions'],
): readonly Condition[] {
  const update = routeStatus(route, { mesh: compiler, timestamp: '2026-01-01T00:00:00Z', olderVersions });
  const { parents } = (update?.status ?? {}) as { parents?: { conditions: readonly Condition[] }[] };
  return parents?.[0]?.conditions ?? [];
}
const said = (conditions: readonly Condition[], type: string): string | undefined => {
  const found = conditions.find((one) => one.type === type);
  return found && `${found.status} ${found.reason} ${found.message}`;
};

test('a rule with a part that Weft does not know is closed for what it may match; the other rules are in force, and the status says so', () => {
  const v1 = { path: { kind: 'prefix', value: '/v1' } };
  const of = (rule: object): object => ({ matches: [{ path: { value: '/v1' } }], ...rest, ...rule });
  const plain = { ...v1, headers: [], query: [] };
  const cases: readonly (readonly [object, object, RegExp])[] = [
    [of({ filters: [{ type: 'Buffer' }] }), plain, /rules\[1\]\.filters\[0\]\.type must be equal/],
    [of({ hedging: {} }), plain, /rules\[1\] must NOT have additional properties: hedging/],
    [of({ retry: { backoff: 'soon' } }), plain, /rules\[1\]\.retry\.backoff/],
    [
      of({ matches: [{ path: { type: 'Glob', value: '/v1' }, method: 'GET' }] }),
      { method: 'GET', headers: [], query: [], unreadable: true },
      /rules\[1\]\.matches\[0\]\.path\.type/,
    ],
    [
      of({ matches: [{ path: { value: '/v1' }, headers: [{ type: 'Glob', name: 'a', value: 'b' }] }] }),
      { ...plain, unreadable: true },
      /rules\[1\]\.matches\[0\]\.headers\[0\]\.type/,
    ],
    [
      of({ matches: [{ path: { value: '/v1' }, method: 'QUERY' }] }),
      { ...plain, unreadable: true },
      /method/,
    ],
    [
      of({ matches: [{ method: 'QUERY' }] }),
      { path: { kind: 'prefix', value: '/' }, headers: [], query: [], unreadable: true },
      /method/,
    ],
    [of({ matches: [{ path: { value: '/v1' }, cookies: [] }] }), { ...plain, unreadable: true }, /cookies/],
    [
      of({ matches: 'all' }),
      { headers: [], query: [], unreadable: true },
      /rules\[1\]\.matches must be array/,
    ],
  ];
  for (const [rule, match, why] of cases) {
    const found = inForce(routeOf('HTTPRoute', [good, rule, good]));
    const shown = JSON.stringify(rule);
    assert.equal(found.rules.length, 3, shown);
    const [first, closed, last] = found.rules;
    assert.ok(first && closed && last && isClosed(closed) && !isClosed(first) && !isClosed(last), shown);
    assert.deepEqual(closed.matches, [match], shown);
    const target = closed.backends[0]?.target;
    assert.match(target?.kind === 'invalid' ? target.reason : '', why);
    const conditions = conditionsOf(found);
    assert.match(said(conditions, 'Accepted') ?? '', /^True Accepted/);
    assert.match(
      said(conditions, 'PartiallyInvalid') ?? '',
      /^True UnsupportedValue Dropped Rule: rules\[1\].*500$/,
    );
  }
});

test('a gRPC rule with an unknown kind of match is closed for every method that its known conditions allow', () => {
  const rule = { matches: [{ method: { type: 'Glob', service: 's' } }], ...rest };
  const { rules } = inForce(
    routeOf('GRPCRoute', [rule, { ...rest, matches: [{ method: { service: 's' } }] }]),
  );
  assert.deepEqual(rules[0]?.matches, [{ headers: [], query: [], unreadable: true }]);
  assert.ok(rules[0] && isClosed(rules[0]) && rules[1] && !isClosed(rules[1]));
});

test('a route whose parents or list of rules cannot be read is closed as a whole', () => {
  for (const object of [
    routeOf('HTTPRoute', 'all'),
    routeOf('HTTPRoute', [good], [{ group: '', kind: 'Service', name: 'api', weight: 1 }]),
    {
      ...routeOf('HTTPRoute', [good]),
      spec: { ...routeOf('HTTPRoute', [good]).spec, mode: 'x' },
    } as unknown as RouteObject,
  ]) {
    const { rules } = inForce(object);
    assert.equal(rules.length, 1);
    assert.ok(rules[0] && isClosed(rules[0]) && rules[0].matches.length === 0);
  }
});

test('an object cannot write the marks of a closed rule itself', () => {
  const sly = { ...good, invalid: 'x', matches: [{ path: { value: '/a' }, unreadable: 'other' }] };
  const { rules } = inForce(routeOf('HTTPRoute', [sly]));
  assert.ok(rules[0] && isClosed(rules[0]));
  assert.deepEqual(rules[0].matches[0]?.unreadable, true);
});

test('the status names the rule, the feature and the version of a waypoint that cannot apply it', () => {
  const mirrored = {
    filters: [{ type: 'RequestMirror', requestMirror: { backendRef: { name: 'api', port: 80 } } }],
    ...rest,
  };
  const versions = (...lacks: string[]): StatusLookup['olderVersions'] => {
    for (const one of lacks) assert.ok(features.has(one));
    return ({ namespace, name }) =>
      `${namespace}/${name}` === 'shop/wp' ? [{ version: '0.0.9', lacks }] : [];
  };
  const found = inForce(routeOf('HTTPRoute', [good, mirrored]));
  const partial = conditionsOf(found, versions('RouteFilter.mirror'));
  assert.match(said(partial, 'Accepted') ?? '', /^True Accepted/);
  assert.match(
    said(partial, 'PartiallyInvalid') ?? '',
    /^True UnsupportedValue Dropped Rule: rules\[1\] needs RouteFilter\.mirror, which waypoint shop\/wp of version 0\.0\.9 does not support; requests that such a rule might match are answered with 500$/,
  );
  const whole = conditionsOf(found, versions('RouteRule.backends'));
  assert.match(
    said(whole, 'Accepted') ?? '',
    /^False UnsupportedValue rules\[0\] needs RouteRule\.backends, rules\[1\]/,
  );
  assert.equal(said(whole, 'PartiallyInvalid'), undefined);
  assert.equal(said(conditionsOf(found, versions('RouteFilter.cors')), 'PartiallyInvalid'), undefined);
  assert.equal(said(conditionsOf(found), 'PartiallyInvalid'), undefined);
});
