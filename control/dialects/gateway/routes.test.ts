import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filter, mirrorTo } from '../../../test/support/filters.js';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { Route, RouteRule } from '../../../src/model/route.js';
import type { ServiceKey } from '../../../src/model/workload.js';
import { parseManifests } from '../../source/parse.js';
import { compile, type Compiler } from '../../compile/compile.js';
import { isRoute, type RouteObject } from '../../objects/objects.js';
import type { CompiledRoute } from './routes.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const service = (name: string, more = 'clusterIP: 10.96.0.1', namespace = 'shop'): string =>
  `---\nkind: Service\nmetadata: { name: ${name}, namespace: ${namespace} }
spec: { ${more}, ports: [{ port: 80 }, { port: 81 }, { port: 53, protocol: UDP }] }\n`;
const services = `${service('api')}${service('v2')}${service('far', undefined, 'other')}`;
const manifest = (kind: string, spec: string, name = 'r', namespace = 'shop'): string =>
  `---\napiVersion: gateway.networking.k8s.io/v1\nkind: ${kind}\nmetadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}\n`;
const parent = (more = ''): string => `parentRefs: [{ group: '', kind: Service, name: api${more} }]`;

function load(text: string): Compiler {
  const { objects, errors } = parseManifests('x', text);
  assert.deepEqual(errors, []);
  return compile(objects, settings);
}
function compiled(text: string, name = 'r'): CompiledRoute {
  const compiler = load(services + text);
  const found = [...compiler.keys()]
    .map((key) => compiler.object(key))
    .find((object): object is RouteObject => !!object && isRoute(object) && object.metadata.name === name);
  assert.ok(found);
  return compiler.route(found);
}
function routeOf(text: string): Route {
  const { route } = compiled(text);
  assert.ok(route);
  return route;
}
function ruleOf(rule: string, kind = 'HTTPRoute'): RouteRule {
  const [first] = routeOf(manifest(kind, `{ ${parent()}, rules: [{ ${rule} }] }`)).rules;
  assert.ok(first);
  return first;
}
const refusal = (rule: string, kind = 'HTTPRoute'): string => {
  const { errors } = parseManifests('x', manifest(kind, `{ ${parent()}, rules: [{ ${rule} }] }`));
  assert.ok(errors[0], 'it was accepted');
  return `${errors[0].field}: ${errors[0].message}`;
};
const problemOf = (text: string, name = 'r'): string | undefined =>
  compiled(text, name).parents[0]?.problem?.reason;

test('a route without rules or matches applies to all requests to its parent', () => {
  const all = [{ path: { kind: 'prefix', value: '/' }, headers: [], query: [] }];
  const route = routeOf(manifest('HTTPRoute', `{ ${parent()} }`));
  assert.equal(route.key, 'HTTPRoute/shop/r');
  assert.equal(route.createdMs, 0);
  assert.deepEqual(route.parents, [{ service: 'shop/api.shop.svc.cluster.local' }]);
  assert.deepEqual(route.rules, [{ matches: all, filters: [], backends: [] }]);
  assert.deepEqual(ruleOf('backendRefs: [{ name: v2, port: 80 }]'), {
    matches: all,
    filters: [],
    backends: [
      {
        target: { kind: 'service', service: 'shop/v2.shop.svc.cluster.local', port: 80 },
        weight: 1,
        filters: [],
      },
    ],
  });
});

test('matches: a prefix has no trailing slash, header names are in lower case, of two matches with one name the first counts', () => {
  const [match] = ruleOf(
    `matches: [{ path: { value: /v1/ }, method: GET,
      headers: [{ name: Host, value: a }, { name: X, value: b, type: RegularExpression }, { name: x, value: c }],
      queryParams: [{ name: Q, value: d }, { name: q, value: e }, { name: Q, value: f }] }]`,
  ).matches;
  assert.deepEqual(match, {
    path: { kind: 'prefix', value: '/v1' },
    method: 'GET',
    headers: [
      { kind: 'exact', name: 'host', value: 'a' },
      { kind: 'regex', name: 'x', value: 'b' },
    ],
    query: [
      { kind: 'exact', name: 'Q', value: 'd' },
      { kind: 'exact', name: 'q', value: 'e' },
    ],
  });
  const pathOf = (path: string): unknown => ruleOf(`matches: [{ path: { ${path} } }]`).matches[0]?.path;
  assert.deepEqual(pathOf('type: Exact, value: /v1/'), { kind: 'exact', value: '/v1/' });
  assert.deepEqual(pathOf("type: RegularExpression, value: '/a[0-9]+'"), {
    kind: 'regex',
    value: '/a[0-9]+',
  });
});

test('gRPC methods are paths', () => {
  const pathOf = (method: string): unknown =>
    ruleOf(`matches: [{ method: { ${method} } }]`, 'GRPCRoute').matches[0]?.path;
  assert.deepEqual(pathOf('service: a.B, method: C'), { kind: 'exact', value: '/a.B/C' });
  assert.deepEqual(pathOf('service: a.B'), { kind: 'prefix', value: '/a.B' });
  assert.deepEqual(pathOf('method: C'), { kind: 'suffix', value: '/C' });
  assert.deepEqual(pathOf("type: RegularExpression, service: 'a|b'"), {
    kind: 'regex',
    value: '/(?:a|b)/(?:[^/]+)',
  });
  assert.deepEqual(ruleOf('matches: [{ headers: [{ name: X, value: y }] }]', 'GRPCRoute').matches, [
    { headers: [{ kind: 'exact', name: 'x', value: 'y' }], query: [] },
  ]);
  assert.match(refusal('matches: [{ method: { service: a/b } }]', 'GRPCRoute'), /gRPC service/);
  assert.match(refusal('matches: [{ method: {} }]', 'GRPCRoute'), /needs service/);
});

test('filters, with their defaults', () => {
  const filterOf = (filter: string, matches = ''): unknown =>
    ruleOf(`${matches} filters: [{ ${filter} }]`).filters[0];
  assert.deepEqual(
    filterOf('type: RequestRedirect, requestRedirect: { scheme: https }'),
    filter('redirect', { scheme: 'https', statusCode: 302 }),
  );
  assert.deepEqual(
    filterOf(
      'type: RequestHeaderModifier, requestHeaderModifier: { add: [{ name: A, value: B }], remove: [C] }',
    ),
    filter('requestHeaders', { add: [{ name: 'a', value: 'B' }], remove: ['c'] }),
  );
  assert.deepEqual(
    filterOf('type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: "" } }'),
    filter('rewrite', { path: { kind: 'prefix', value: '' } }),
  );
  const backend = {
    kind: 'service',
    service: 'shop/v2.shop.svc.cluster.local' as ServiceKey,
    port: 80,
  } as const;
  const mirror = (more: string): unknown =>
    filterOf(`type: RequestMirror, requestMirror: { backendRef: { name: v2, port: 80 }${more} }`);
  assert.deepEqual(mirror(''), mirrorTo(backend, 100, 100));
  assert.deepEqual(mirror(', percent: 5'), mirrorTo(backend, 5, 100));
  assert.deepEqual(mirror(', fraction: { numerator: 1, denominator: 1000 }'), mirrorTo(backend, 1, 1000));
  assert.deepEqual(
    filterOf('type: CORS, cors: { allowOrigins: ["*"] }'),
    filter('cors', { allowOrigins: ['*'], maxAgeS: 5 }),
  );
});

test('an annotation adds the Via filter ahead of all others; a value that is no name is reported', () => {
  const annotated = (value: string): CompiledRoute =>
    compiled(
      manifest(
        'HTTPRoute',
        `{ ${parent()}, rules: [{ filters: [{ type: RequestRedirect, requestRedirect: {} }] }, {}] }`,
      ).replace('metadata: {', `metadata: { annotations: { weft.dev/via: '${value}' },`),
    );
  const via = filter('via', { pseudonym: 'api.shop:80' });
  assert.deepEqual(
    annotated('api.shop:80').route?.rules.map((rule) => rule.filters),
    [[via, filter('redirect', { statusCode: 302 })], [via]],
  );
  for (const value of ['', 'a b', 'a, 1.1 b', 'é', 'x'.repeat(65)]) {
    const { route, unread } = annotated(value);
    assert.match(unread ?? '', /weft\.dev\/via: .* is no name/);
    assert.deepEqual(route?.rules[1]?.filters, []);
  }
});

test('a timeout longer than a timer can wait is limited to the longest wait', () => {
  const rule = ruleOf(
    `timeouts: { request: 99999h, backendRequest: 9999h }, retry: { backoff: 9999h },
     sessionPersistence: { absoluteTimeout: 9999h }`,
  );
  const { requestTimeoutMs, backendRequestTimeoutMs, retry, sessionPersistence } = rule;
  for (const ms of [requestTimeoutMs, backendRequestTimeoutMs, retry?.backoffMs])
    assert.equal(ms, 2 ** 31 - 1);
  assert.equal(sessionPersistence?.absoluteTimeoutMs, 9_999 * 3_600_000, 'no timer waits for it');
});

test('timeouts, retries and sessions', () => {
  const rule = ruleOf(
    `timeouts: { request: 1h30m, backendRequest: 500ms }, retry: { codes: [503], attempts: 2, backoff: 1s500ms },
     sessionPersistence: { absoluteTimeout: 1h, cookie: { lifetimeType: Permanent } }`,
  );
  assert.equal(rule.requestTimeoutMs, 5_400_000);
  assert.equal(rule.backendRequestTimeoutMs, 500);
  assert.deepEqual(rule.retry, { codes: [503], attempts: 2, backoffMs: 1500 });
  assert.deepEqual(rule.sessionPersistence, {
    kind: 'cookie',
    name: 'weft-shop-r-0',
    absoluteTimeoutMs: 3_600_000,
    permanent: true,
  });
  assert.deepEqual(ruleOf('sessionPersistence: { type: Header, header: { name: S } }').sessionPersistence, {
    kind: 'header',
    name: 'S',
    permanent: false,
  });
  assert.match(refusal('timeouts: { request: 1d }'), /pattern/);
  assert.match(refusal('timeouts: { request: 1s, backendRequest: 2s }'), /longer/);
  assert.match(refusal('sessionPersistence: { cookie: { lifetimeType: Permanent } }'), /absoluteTimeout/);
});

test('what the published CRDs refuse is refused in files', () => {
  const redirect = 'filters: [{ type: RequestRedirect, requestRedirect: {} }';
  assert.match(refusal(`${redirect}], backendRefs: [{ name: v2, port: 80 }]`), /must not have backendRefs/);
  assert.match(refusal(`${redirect}, { type: URLRewrite, urlRewrite: {} }]`), /cannot be combined/);
  assert.match(refusal('filters: [{ type: URLRewrite }]'), /needs urlRewrite/);
  assert.match(refusal('filters: [{ type: Nonsense }]'), /allowed values/);
  assert.match(refusal('matches: [{ path: { value: a } }]'), /cannot occur in a request/);
  assert.match(refusal('matches: [{ path: { value: /a/../b } }]'), /cannot occur in a request/);
  assert.match(refusal('matches: [{ paths: {} }]'), /paths/);
  assert.match(
    refusal(
      `matches: [{ path: { type: Exact, value: /a } }],
       filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }]`,
    ),
    /exactly one match/,
  );
});

test('an unresolved backend responds with an error, and its reason is reported', () => {
  const of = (ref: string): [unknown, string | undefined] => {
    const { route, unresolved } = compiled(
      manifest('HTTPRoute', `{ ${parent()}, rules: [{ backendRefs: [{ ${ref} }] }] }`) +
        service('outside', 'type: ExternalName'),
    );
    return [route?.rules[0]?.backends[0]?.target.kind, unresolved?.reason];
  };
  assert.deepEqual(of('name: v2, port: 80'), ['service', undefined]);
  // GEP-1294: without ReferenceGrant.
  assert.deepEqual(of('name: far, namespace: other, port: 80'), ['service', undefined]);
  assert.deepEqual(of('name: gone, port: 80'), ['invalid', 'BackendNotFound']);
  assert.deepEqual(of('name: far, port: 80'), ['invalid', 'BackendNotFound']);
  assert.deepEqual(of('name: v2, port: 82'), ['invalid', 'BackendNotFound']);
  assert.deepEqual(of('name: v2, port: 53'), ['invalid', 'BackendNotFound']);
  assert.deepEqual(of('name: v2'), ['invalid', 'BackendNotFound']);
  assert.deepEqual(of('name: outside, port: 80'), ['invalid', 'BackendNotFound']);
  assert.deepEqual(of('name: v2, kind: Bucket, group: x.test, port: 80'), ['invalid', 'InvalidKind']);
});

test('an unsupported filter closes its rule or backend', () => {
  const invalid = { kind: 'invalid', reason: 'a filter of the rule is not supported' };
  const of = (rule: string): CompiledRoute =>
    compiled(manifest('HTTPRoute', `{ ${parent()}, rules: [{ ${rule} }] }`));
  const extension = of(
    `filters: [{ type: ExtensionRef, extensionRef: { group: x.test, kind: X, name: x } },
               { type: RequestRedirect, requestRedirect: {} }]`,
  );
  assert.deepEqual(extension.route?.rules[0]?.filters, []);
  assert.deepEqual(extension.route?.rules[0]?.backends, [{ target: invalid, weight: 1, filters: [] }]);
  assert.equal(extension.unresolved?.reason, 'InvalidKind');
  const one = of(
    `backendRefs: [{ name: v2, port: 80 },
      { name: v2, port: 81, filters: [{ type: ExtensionRef, extensionRef: { group: x.test, kind: X, name: x } }] }]`,
  );
  assert.deepEqual(
    one.route?.rules[0]?.backends.map(({ target }) => target.kind),
    ['service', 'invalid'],
  );
});

test('parents: Services with an address of their own, by port', () => {
  const of = (more: string, extra = ''): string | undefined =>
    problemOf(manifest('HTTPRoute', `{ parentRefs: [{ group: '', kind: Service, ${more} }] }`) + extra);
  assert.equal(of('name: api'), undefined);
  assert.equal(of('name: api, port: 81'), undefined);
  assert.equal(of('name: far, namespace: other'), undefined);
  assert.equal(of('name: gone'), 'NoMatchingParent');
  assert.equal(of('name: far'), 'NoMatchingParent');
  assert.equal(of('name: api, port: 82'), 'NoMatchingParent');
  assert.equal(of('name: api, sectionName: http'), 'NoMatchingParent', 'no port has that name');
  assert.equal(of('name: head', service('head', 'clusterIP: None')), 'NoMatchingParent');
  assert.equal(of('name: out', service('out', 'type: ExternalName')), 'NoMatchingParent');
});

test('sectionName of a Service parent is the name of one of its TCP ports; if port is given as well, both must match', () => {
  const ports = `---\nkind: Service\nmetadata: { name: named, namespace: shop }
spec: { clusterIP: 10.96.0.7, ports: [{ name: http, port: 80 }, { name: admin, port: 81 }, { name: dns, port: 53, protocol: UDP }] }\n`;
  const of = (more: string, kind = 'HTTPRoute', name = 'r'): string =>
    manifest(kind, `{ parentRefs: [{ group: '', kind: Service, name: named${more} }] }`, name) + ports;
  const parentsOf = (more: string) => compiled(of(more)).route?.parents.map(({ port }) => port);
  assert.deepEqual(parentsOf(', sectionName: http'), [80]);
  assert.deepEqual(parentsOf(', sectionName: admin, port: 81'), [81]);
  assert.equal(problemOf(of(', sectionName: admin, port: 80')), 'NoMatchingParent');
  assert.equal(problemOf(of(', sectionName: dns')), 'NoMatchingParent');
  const { message = '' } = compiled(of(', sectionName: https')).parents[0]?.problem ?? {};
  assert.match(message, /shop\/named has no TCP port with the name https/);
  // A more specific kind takes the port by its name as well.
  const both = of(', sectionName: http') + of(', sectionName: http', 'GRPCRoute', 'g');
  assert.equal(problemOf(both), 'Conflicted');
  assert.equal(
    problemOf(of(', sectionName: admin') + of(', sectionName: http', 'GRPCRoute', 'g')),
    undefined,
  );
});

test('a misspelled reference to a Service is reported, because no other controller reports it', () => {
  const of = (ref: string) =>
    compiled(manifest('HTTPRoute', `{ parentRefs: [{ name: api, ${ref} }], rules: [{}] }`));
  for (const [ref, message] of [
    ['kind: Service', /has no kind Service: add group: ""/],
    ['group: gateway.networking.k8s.io, kind: Service', /add group: ""/],
    ["group: ''", /add kind: Service/],
    ["group: '', kind: Pod", /write kind: Service/],
  ] as const) {
    const { route, parents } = of(ref);
    assert.equal(route, undefined, ref);
    assert.equal(parents[0]?.problem?.reason, 'NoMatchingParent', ref);
    assert.match(parents[0]?.problem?.message ?? '', message);
  }
  assert.equal(of('group: core, kind: Service').route?.parents.length, 1, 'as other meshes spell it');
});

test('a Gateway as a parent is left to other controllers', () => {
  const { route, parents } = compiled(
    manifest('HTTPRoute', '{ parentRefs: [{ name: api }, { group: x.test, kind: Service, name: api }] }'),
  );
  assert.equal(route, undefined);
  assert.deepEqual(parents, []);
});

test('of several kinds of routes on a port of a Service the most specific is in force, and the others report a conflict', () => {
  const both = (http: string, grpc: string): string =>
    manifest('HTTPRoute', `{ ${parent(http)} }`) +
    manifest('GRPCRoute', `{ ${parent(grpc)} }`, 'g') +
    manifest('TCPRoute', `{ ${parent()}, rules: [] }`, 't');
  assert.equal(problemOf(both('', '')), 'Conflicted');
  assert.equal(problemOf(both('', ''), 't'), 'Conflicted');
  assert.equal(problemOf(both('', ''), 'g'), undefined);
  assert.equal(problemOf(both(', port: 80', ', port: 81')), undefined);
  const part = compiled(both('', ', port: 80'));
  assert.equal(part.parents[0]?.problem, undefined);
  assert.match(part.parents[0]?.remark ?? '', /port 80 belongs to GRPCRoute shop\/g/);
  assert.deepEqual(part.route?.parents, [{ service: 'shop/api.shop.svc.cluster.local', port: 81 }]);
});

test('routes of different namespaces do not conflict', () => {
  const far = "parentRefs: [{ group: '', kind: Service, name: far, namespace: other }]";
  const texts =
    manifest('HTTPRoute', `{ ${far} }`) +
    manifest('GRPCRoute', `{ ${far} }`, 'producer', 'other') +
    manifest('GRPCRoute', `{ ${far} }`, 'consumer', 'third');
  assert.equal(problemOf(texts), undefined);
  assert.equal(problemOf(texts + manifest('GRPCRoute', `{ ${far} }`, 'same')), 'Conflicted');
});

test('TLS and TCP routes go to their backends, by weight', () => {
  const refs = 'backendRefs: [{ name: api, port: 80, weight: 0 }, { name: v2, port: 81, weight: 3 }]';
  for (const [kind, more] of [
    ['TLSRoute', 'hostnames: [a.test],'],
    ['TCPRoute', ''],
  ] as const) {
    const { rules } = routeOf(manifest(kind, `{ ${parent()}, ${more} rules: [{ ${refs} }] }`));
    assert.deepEqual(rules[0]?.matches, []);
    assert.deepEqual(
      rules[0]?.backends.map(({ target, weight }) => [target.kind, weight]),
      [
        ['service', 0],
        ['service', 3],
      ],
    );
    assert.match(refusal('', kind), /required property/);
  }
});

test('Kubernetes manifests are accepted as they are, except kinds of the same name in other groups', () => {
  const { objects, errors } = parseManifests(
    'x',
    `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z', generation: 2, managedFields: [{}] }
spec: { hostnames: [a.test], ${parent()} }
status: { parents: [] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: { name: g }
spec: { anything: 1 }
---
apiVersion: networking.example.com/v1
kind: Gateway
metadata: { name: g }
spec: { selector: {} }
`,
  );
  assert.deepEqual(errors, []);
  assert.deepEqual(
    objects.map(({ kind }) => kind),
    ['HTTPRoute'],
  );
  assert.ok(objects[0] && isRoute(objects[0]));
  const { route } = compile([...objects, ...parseManifests('y', services).objects], settings).route(
    objects[0],
  );
  assert.equal(route?.createdMs, Date.parse('2026-01-01T00:00:00Z'));
});

test('paths of matches are normalized as in requests', () => {
  const pathOf = (path: string): unknown => ruleOf(`matches: [{ path: { ${path} } }]`).matches[0]?.path;
  assert.deepEqual(pathOf("type: Exact, value: '/caf%c3%a9'"), { kind: 'exact', value: '/caf%C3%A9' });
  assert.deepEqual(pathOf("value: '/%7eroot/'"), { kind: 'prefix', value: '/~root' });
  assert.match(refusal("matches: [{ path: { value: '/a%00' } }]"), /NUL/);
  assert.match(refusal("matches: [{ path: { value: '/é' } }]"), /cannot occur in a request/);
  const rewrite =
    "{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: '/a%' } } }";
  assert.match(refusal(`filters: [${rewrite}]`), /rules\[0\]: urlRewrite.path: "\/a%"/);
});

test('a host in a header match is normalized as in requests', () => {
  const [match] = ruleOf("matches: [{ headers: [{ name: Host, value: 'API.Test.' }] }]").matches;
  assert.deepEqual(match?.headers, [{ kind: 'exact', name: 'host', value: 'api.test' }]);
});

/** Compiles a route that a file would refuse, but that the API server admits. */
function taken(kind: string, rules: string): CompiledRoute {
  const text = manifest(kind, `{ ${parent()}, rules: [${rules}] }`);
  const { objects } = parseManifests('x', services);
  const { closed } = parseManifests('x', text);
  const [object] = closed;
  assert.ok(object && isRoute(object));
  return compile([...objects, object], settings).route(object);
}
const invalidKinds: [kind: string, rule: string, field: RegExp][] = [
  [
    'HTTPRoute',
    'path: { type: RegularExpression, value: "/a(" }',
    /rules\[0\]\.matches\[0\]\.path\.value: .*not a supported RE2 regular/,
  ],
  ['HTTPRoute', 'path: { type: RegularExpression, value: "(?=a)" }', /path\.value/],
  ['HTTPRoute', 'headers: [{ name: x, value: "[", type: RegularExpression }]', /headers\[0\]\.value/],
  ['HTTPRoute', 'queryParams: [{ name: x, value: "*", type: RegularExpression }]', /queryParams\[0\]\.value/],
  ['GRPCRoute', 'method: { type: RegularExpression, service: "a(" }', /method\.service/],
  ['GRPCRoute', 'method: { type: RegularExpression, service: "a(", method: "b)" }', /method\.service/],
];
test('a rule with an invalid regular expression refuses the requests that it might have matched', () => {
  for (const [kind, match, field] of invalidKinds) {
    const { route, invalid } = taken(
      kind,
      `{ matches: [{ ${match} }], backendRefs: [{ name: v2, port: 80 }] }`,
    );
    assert.match(invalid?.message ?? '', field, match);
    assert.equal(invalid?.everyRule, true);
    assert.deepEqual(
      route?.rules[0]?.backends.map(({ target }) => target.kind),
      ['invalid'],
      match,
    );
  }
});

test('one unreadable rule of a route does not affect the others', () => {
  const { route, invalid } = taken(
    'HTTPRoute',
    `{ matches: [{ path: { type: RegularExpression, value: '/a(' }, method: GET }], filters: [{ type: RequestRedirect, requestRedirect: {} }] },
     { matches: [{ path: { value: /b } }], backendRefs: [{ name: v2, port: 80 }] }`,
  );
  assert.equal(invalid?.everyRule, false);
  const [first, second] = route?.rules ?? [];
  assert.deepEqual(first?.filters, []);
  const [match] = first?.matches ?? [];
  assert.equal(match?.method, 'GET');
  assert.equal(match?.path?.kind, 'regex');
  assert.equal(second?.backends[0]?.target.kind, 'service');
});
