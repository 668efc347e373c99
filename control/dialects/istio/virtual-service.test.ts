/** Golden tests: VirtualServices and the routes that waypoints get. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeRoute, encodeRoute } from '../../../src/discovery/codec/route.js';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { Route, RouteRule } from '../../../src/model/route.js';
import { compile, type Compiler } from '../../compile/compile.js';
import type { IstioObject } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';

const services = `
kind: Service
metadata: { name: payment-service, namespace: production }
spec: { clusterIP: 10.96.0.1, ports: [{ name: http, port: 80 }] }
---
kind: Service
metadata: { name: two, namespace: production }
spec: { clusterIP: 10.96.0.2, ports: [{ name: http, port: 80 }, { name: http-alt, port: 8080 }, { name: tcp, port: 9000 }] }
---
kind: Service
metadata: { name: secure, namespace: production }
spec: { clusterIPs: [10.96.0.3, 'fd00:96::3'], ports: [{ name: tls, port: 443 }] }
---
kind: Service
metadata: { name: away, namespace: other }
spec: { clusterIP: 10.96.0.4, ports: [{ name: http, port: 80 }] }
`;
const virtualService = (name: string, spec: string, more = 'namespace: production'): string => `
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, ${more} }
spec: ${spec}
`;

function mesh(yaml: string): Compiler {
  const { objects, errors } = parseManifests('x', services + yaml);
  assert.deepEqual(errors, []);
  return compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
}
function routesOf(compiler: Compiler): Route[] {
  const routes = [...compiler.all()].flatMap((one) => (one.kind === 'route' ? [one.value] : []));
  for (const route of routes) {
    const decoded = decodeRoute(encodeRoute(route));
    assert.ok(decoded.ok, JSON.stringify(decoded));
    assert.deepEqual(encodeRoute(decoded.value), encodeRoute(route));
  }
  return routes;
}
const virtual = (
  compiler: Compiler,
  name: string,
  namespace = 'production',
): IstioObject<'VirtualService'> => {
  const found = compiler.indexes.VirtualService.get(namespace, name);
  assert.ok(found);
  return found;
};
const remark = (compiler: Compiler, name: string, namespace?: string): string | undefined =>
  compiler.remarkOf(virtual(compiler, name, namespace));
const problem = (compiler: Compiler, name: string, namespace?: string): string | undefined =>
  compiler.problemOf(virtual(compiler, name, namespace))?.message;
/** The rules of a VirtualService of `payment-service`. */
function rules(http: string): readonly RouteRule[] {
  const [route] = routesOf(mesh(virtualService('a', `{ hosts: [payment-service], http: [${http}] }`)));
  assert.ok(route);
  return route.rules;
}
const to = (name: string, weight = 100, port = 80) => ({
  target: {
    kind: 'service',
    service: `production/${name}.production.svc.cluster.local`,
    port,
  },
  weight,
  filters: [],
});

test('the example of published guides: rules in the order written, subsets, weights', () => {
  const compiler = mesh(`
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: { name: payment-service, namespace: production }
spec:
  hosts: [payment-service]
  http:
    - match: [{ headers: { x-user-type: { exact: beta-tester } } }]
      route: [{ destination: { host: payment-service, subset: v2 }, weight: 100 }]
    - route:
        - { destination: { host: payment-service, subset: v1 }, weight: 90 }
        - { destination: { host: payment-service, subset: v2 }, weight: 10 }
`);
  assert.deepEqual(routesOf(compiler), [
    {
      key: 'VirtualService/production/payment-service/production/payment-service/80',
      kind: 'http',
      namespace: 'production',
      name: 'payment-service',
      createdMs: 0,
      parents: [{ service: 'production/payment-service.production.svc.cluster.local', port: 80 }],
      ordered: true,
      rules: [
        {
          name: '0',
          matches: [{ headers: [{ kind: 'exact', name: 'x-user-type', value: 'beta-tester' }], query: [] }],
          filters: [],
          backends: [to('v2.subset.payment-service')],
        },
        {
          name: '1',
          matches: [],
          filters: [],
          backends: [to('v1.subset.payment-service', 90), to('v2.subset.payment-service', 10)],
        },
      ],
    },
  ]);
  assert.equal(remark(compiler, 'payment-service'), undefined);
  assert.equal(problem(compiler, 'payment-service'), undefined);
});

test('matches', () => {
  const [rule] = rules(`{
    match: [{ uri: { prefix: /a }, ignoreUriCase: true, scheme: { exact: http }, method: { regex: 'G.*' },
      authority: { exact: Payment.shop }, headers: { X-A: {}, x-b: { prefix: b } }, withoutHeaders: { x-c: { exact: c } },
      queryParams: { q: { regex: '1+' } }, sourceNamespace: other }, { uri: { exact: /b }, port: 81 }],
    route: [{ destination: { host: payment-service.production.svc.cluster.local } }] }`);
  assert.deepEqual(rule?.matches, [
    {
      path: { kind: 'string-prefix', value: '/a' },
      ignorePathCase: true,
      headers: [
        { kind: 'regex', name: ':method', value: 'G.*' },
        { kind: 'exact', name: ':scheme', value: 'http' },
        { kind: 'exact', name: ':authority', value: 'payment.shop' },
        { kind: 'present', name: 'x-a', value: '' },
        { kind: 'prefix', name: 'x-b', value: 'b' },
      ],
      query: [{ kind: 'regex', name: 'q', value: '1+' }],
      withoutHeaders: [{ kind: 'exact', name: 'x-c', value: 'c' }],
      clients: [{ namespace: 'other', serviceAccount: '' }],
    },
  ]);
});

const routed = 'route: [{ destination: { host: payment-service } }]';
const filtersOf = (http: string) => rules(`{ ${http}, ${routed} }`)[0]?.filters;

test('rewrites replace what the match has matched', () => {
  const [prefix, exact, regex] = rules(`{
    match: [{ uri: { prefix: /a/ } }, { uri: { exact: /b } }, { uri: { regex: '/c.*' } }],
    rewrite: { uri: /z, authority: other.host }, ${routed} }`);
  const of = (kind: string) => [
    {
      $case: 'rewrite',
      value: { hostname: 'other.host', path: { kind, value: '/z' }, pathSubstitution: undefined },
    },
  ];
  assert.deepEqual(
    [prefix?.filters, exact?.filters, regex?.filters],
    [of('string-prefix'), of('full'), of('full')],
  );
  assert.deepEqual(filtersOf("rewrite: { uriRegexRewrite: { match: '^/a(.*)', rewrite: '/b\\1' } }"), [
    {
      $case: 'rewrite',
      value: {
        hostname: '',
        path: undefined,
        pathSubstitution: { pattern: '^/a(.*)', substitution: '/b\\1' },
      },
    },
  ]);
});

test('redirects and direct responses', () => {
  const of = (redirect: string) => {
    const value = rules(`{ redirect: ${redirect} }`)[0]?.filters[0]?.value as { path?: { value: string } };
    return { ...value, path: value.path?.value };
  };
  const plain = { scheme: '', hostname: '', port: 80, path: undefined, statusCode: 301 };
  assert.deepEqual(of('{ uri: /b }'), { ...plain, path: '/b' });
  assert.deepEqual(of('{ authority: b.c, redirectCode: 308 }'), {
    ...plain,
    hostname: 'b.c',
    statusCode: 308,
  });
  assert.deepEqual(of('{ scheme: https }'), { ...plain, scheme: 'https', port: 443 });
  assert.deepEqual(of('{ scheme: https, derivePort: FROM_REQUEST_PORT }'), { ...plain, scheme: 'https' });
  assert.deepEqual(of('{ port: 8443 }'), { ...plain, port: 8443 });
  const [direct] = rules('{ directResponse: { status: 503, body: { bytes: aGk= } } }');
  assert.deepEqual(direct?.filters, [
    { $case: 'directResponse', value: { status: 503, body: Buffer.from('hi') } },
  ]);
});

test('faults, mirrors, CORS and headers', () => {
  const [fault] =
    filtersOf(
      'fault: { delay: { percentage: { value: 0.1 }, fixedDelay: 5s }, abort: { percentage: { value: 50 }, grpcStatus: UNAVAILABLE } }',
    ) ?? [];
  assert.deepEqual(fault?.value, {
    name: 'VirtualService production/a 0',
    matches: [],
    delayMs: 5000,
    delayPpm: 1000,
    abort: { $case: 'grpcStatus', value: 14 },
    abortPpm: 500_000,
    untilMs: 0,
    activeMax: 10_000,
    dryRun: false,
  });
  const mirrors = filtersOf(
    'mirror: { host: two, port: { number: 8080 } }, mirrorPercentage: { value: 12.5 }',
  );
  assert.deepEqual(mirrors, [
    {
      $case: 'mirror',
      value: {
        backend: { service: 'production/two.production.svc.cluster.local', port: 8080, invalid: '' },
        numerator: 125_000,
        denominator: 1_000_000,
      },
    },
  ]);
  const [cors] =
    filtersOf(
      "corsPolicy: { allowOrigins: [{ exact: '*' }, { prefix: 'https://a.' }], allowOrigin: ['https://b'], allowMethods: [GET], maxAge: 24h, allowCredentials: true }",
    ) ?? [];
  assert.deepEqual(cors?.value, {
    allowOrigins: ['*'],
    originMatches: [
      { name: '', kind: 'prefix', value: 'https://a.' },
      { name: '', kind: 'exact', value: 'https://b' },
    ],
    allowMethods: ['GET'],
    allowHeaders: [],
    exposeHeaders: [],
    allowCredentials: true,
    maxAgeS: 86_400,
    forwardUnmatchedPreflights: true,
  });
  assert.deepEqual(
    filtersOf(
      "headers: { request: { set: { ':Authority': a.b }, add: { X: '50%%' } }, response: { remove: [Server] } }",
    ),
    [
      {
        $case: 'requestHeaders',
        value: { set: [{ name: 'host', value: 'a.b' }], add: [{ name: 'x', value: '50%' }], remove: [] },
      },
      { $case: 'responseHeaders', value: { set: [], add: [], remove: ['server'] } },
    ],
  );
});

test('timeouts and retries', () => {
  const [rule] = rules(`{ timeout: 1.5s, retries: { attempts: 3, perTryTimeout: 250ms, backoff: 10ms,
    retryOn: '5xx,gateway-error,reset-before-request,unavailable,retriable-4xx,503,envoy-ratelimited' }, ${routed} }`);
  assert.equal(rule?.requestTimeoutMs, 1500);
  assert.deepEqual(rule?.retryPolicy, {
    conditionKind: ['5xx', 'gateway-error', 'connect-failure', 'refused-stream'],
    codes: [409, 503],
    grpcCodes: [14],
    attempts: 3,
    perTryTimeoutMs: 250,
    backoffBaseMs: 10,
    backoffMsMax: 100,
    retryAfterMsMax: 0,
    unsafeMethods: ['POST', 'PATCH'],
    hedge: false,
    dryRun: false,
  });
});

test('what cannot be read closes its rule with the field in the status, and the other rules stay', () => {
  for (const [bad, field] of [
    ["match: [{ uri: { regex: '(' } }]", 'http[0].match[0].uri.regex'],
    ['fault: { abort: { percentage: { value: 1 }, http2Error: X } }', 'http[0].fault.abort.http2Error'],
    ['fault: { delay: { percentage: { value: 101 }, fixedDelay: 1s } }', 'http[0].fault.delay'],
    ['retries: { attempts: 1, retryOn: sometimes }', 'http[0].retries.retryOn'],
    ["headers: { request: { set: { x: '%REQ(y)%' } } }", 'http[0].headers.request.set.x'],
    ["rewrite: { uriRegexRewrite: { match: '(', rewrite: x } }", 'http[0].rewrite.uriRegexRewrite.match'],
    ['redirect: { uri: /x }', 'http[0].route'],
  ] as const) {
    const compiler = mesh(
      virtualService('a', `{ hosts: [payment-service], http: [{ ${bad}, ${routed} }, { ${routed} }] }`),
    );
    const [route] = routesOf(compiler);
    assert.equal(route?.rules[0]?.backends[0]?.target.kind, 'invalid', field);
    assert.equal(route?.rules[1]?.backends[0]?.target.kind, 'service', field);
    assert.ok(remark(compiler, 'a')?.includes(field), remark(compiler, 'a'));
  }
});

test('an object that the schema refuses closes its hosts', () => {
  const { closed } = parseManifests(
    'x',
    virtualService('a', '{ hosts: [payment-service], http: [{ retry: {} }] }'),
  );
  const compiler = compile([...parseManifests('x', services).objects, ...closed], {
    trustDomain: parseTrustDomain('cluster.local'),
    rootsVersion: '1',
  });
  const [route] = routesOf(compiler);
  assert.equal(route?.rules[0]?.backends[0]?.target.kind, 'invalid');
});

test('each port gets the rules of its protocol', () => {
  const compiler = mesh(
    virtualService(
      'a',
      `{ hosts: [two, secure], http: [{ match: [{ port: 80 }], route: [{ destination: { host: payment-service } }] }],
         tcp: [{ route: [{ destination: { host: two, port: { number: 9000 } } }] }],
         tls: [{ match: [{ sniHosts: [a.test, '*.b.test'], destinationSubnets: [10.0.0.0/8] }], route: [{ destination: { host: secure } }] }] }`,
    ),
  );
  const routes = routesOf(compiler);
  assert.deepEqual(
    routes.map(({ kind, parents, rules: own }) => [kind, parents[0]?.port, own.length]),
    [
      ['http', 80, 1],
      ['tcp', 9000, 1],
      ['tls', 443, 2],
    ],
  );
  assert.deepEqual(routes[2]?.rules[0]?.matches, [
    {
      headers: [
        { kind: 'regex', name: ':authority', value: 'a\\.test|.+\\.b\\.test' },
        { kind: 'regex', name: ':destination', value: '10\\.96\\.0\\.3' },
      ],
      query: [],
    },
  ]);
});

test('the oldest of a host is in force, a wildcard yields to a name, and the others say so', () => {
  const at = (time: string): string => `namespace: production, creationTimestamp: '${time}'`;
  const compiler = mesh(
    virtualService(
      'young',
      `{ hosts: [payment-service], http: [{ ${routed} }] }`,
      at('2026-02-02T00:00:00Z'),
    ) +
      virtualService(
        'old',
        `{ hosts: [payment-service], http: [{ ${routed} }] }`,
        at('2026-01-01T00:00:00Z'),
      ) +
      virtualService(
        'wide',
        `{ hosts: ['*.production.svc.cluster.local'], http: [{ ${routed} }] }`,
        at('2025-01-01T00:00:00Z'),
      ) +
      virtualService(
        'foreign',
        `{ hosts: [payment-service.production.svc.cluster.local], http: [{ directResponse: { status: 200 } }] }`,
        'namespace: other',
      ),
  );
  const owners = routesOf(compiler).map(
    ({ namespace, name, parents }) => `${namespace}/${name} at ${parents[0]?.service}`,
  );
  const of = (name: string): string => `production/${name}.production.svc.cluster.local`;
  assert.deepEqual(owners.sort(), [
    // Acts on clients of its own namespace alone.
    `other/foreign at ${of('payment-service')}`,
    `production/old at ${of('payment-service')}`,
    `production/wide at ${of('two')}`,
    `production/wide at ${of('two')}`,
  ]);
  assert.match(problem(compiler, 'young') ?? '', /payment-service has VirtualService production\/old/);
  assert.equal(problem(compiler, 'old'), undefined);
});

test('a route of the Gateway API has its ports, and both objects say so', () => {
  const compiler = mesh(`${virtualService('a', `{ hosts: [two], http: [{ ${routed} }] }`)}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: production }
spec:
  parentRefs: [{ group: '', kind: Service, name: two, port: 80 }]
  rules: [{ backendRefs: [{ name: two, port: 80 }] }]
`);
  assert.deepEqual(
    routesOf(compiler)
      .map(({ key, parents }) => `${key.split('/')[0]} ${parents[0]?.port}`)
      .sort(),
    ['HTTPRoute 80', 'VirtualService 8080'],
  );
  assert.match(
    remark(compiler, 'a') ?? '',
    /port 80 of Service production\/two belongs to HTTPRoute production\/r/,
  );
  const [http] = [...compiler.ofKind('HTTPRoute')];
  assert.ok(http);
  assert.match(compiler.route(http).parents[0]?.remark ?? '', /VirtualService production\/a is not in force/);
});

test('gateways, exportTo, and hosts that are no Services', () => {
  const compiler = mesh(
    virtualService(
      'ingress',
      `{ hosts: [payment-service], gateways: [istio-system/gw], http: [{ ${routed} }] }`,
    ) +
      virtualService(
        'here',
        `{ hosts: [payment-service], exportTo: ['.', other], http: [{ ${routed} }, { match: [{ gateways: [gw] }], directResponse: { status: 200 } }] }`,
      ) +
      virtualService('nobody', `{ hosts: [two], exportTo: ['~'], http: [{ ${routed} }] }`) +
      virtualService('outside', `{ hosts: [example.com], http: [{ ${routed} }] }`) +
      virtualService(
        'only-theirs',
        `{ hosts: [payment-service.production.svc.cluster.local], exportTo: [production], http: [{ ${routed} }] }`,
        'namespace: other',
      ),
  );
  const routes = routesOf(compiler);
  assert.deepEqual(
    routes.map(({ name, clientNamespaces, rules: own }) => [name, clientNamespaces, own.length]),
    [['here', ['production', 'other'], 1]],
  );
  assert.match(problem(compiler, 'ingress') ?? '', /^gateways: /);
  assert.match(problem(compiler, 'nobody') ?? '', /^exportTo: /);
  assert.match(problem(compiler, 'outside') ?? '', /example\.com is no Service/);
  assert.match(remark(compiler, 'only-theirs', 'other') ?? '', /exportTo/);
});

const pods = `
---
kind: Pod
metadata: { name: a, namespace: shop, labels: { app: web, tier: front } }
spec: { nodeName: n, serviceAccountName: web }
---
kind: Pod
metadata: { name: b, namespace: shop, labels: { app: web } }
spec: { nodeName: n, serviceAccountName: mixed }
---
kind: Pod
metadata: { name: c, namespace: shop, labels: { app: job } }
spec: { nodeName: n, serviceAccountName: mixed }
`;
test('labels of clients: service accounts of which all pods have them; those of which some have them are refused', () => {
  const compiler = mesh(
    virtualService(
      'a',
      `{ hosts: [payment-service], http: [{ match: [{ sourceLabels: { app: web } }], ${routed} }, { ${routed} }] }`,
    ) + pods,
  );
  const clientsOf = () =>
    routesOf(compiler)[0]?.rules.map(({ matches, backends }) => [
      backends[0]?.target.kind,
      matches[0]?.clients?.map(({ serviceAccount }) => serviceAccount),
    ]);
  assert.deepEqual(clientsOf(), [
    ['invalid', ['mixed']],
    ['service', ['web']],
    ['service', undefined],
  ]);
  const pod = compiler.indexes.Pod.get('shop', 'c');
  assert.ok(pod);
  compiler.apply(
    new Map([
      [
        'Pod/shop/c' as Parameters<Compiler['object']>[0],
        { ...pod, metadata: { ...pod.metadata, labels: { app: 'web' } } },
      ],
    ]),
  );
  assert.deepEqual(clientsOf(), [
    ['service', ['mixed', 'web']],
    ['service', undefined],
  ]);
});

test('rules for certain clients leave the others alone', () => {
  const [, refused, others] = rules(
    `{ match: [{ sourceNamespace: other, uri: { exact: /a } }], directResponse: { status: 200 } }`,
  );
  assert.deepEqual(refused?.matches, [
    { headers: [], query: [], clients: [{ namespace: 'other', serviceAccount: '' }] },
  ]);
  assert.deepEqual(refused?.filters[0]?.value, { status: 404, body: Buffer.alloc(0) });
  assert.deepEqual(others?.backends, [to('payment-service')]);
});

test('delegates: one level, within the root’s conditions, and only what is exported to the root’s namespace', () => {
  const inner = (spec: string, more?: string): string => virtualService('inner', spec, more);
  const root = `{ hosts: [payment-service], http: [{ name: root, match: [{ uri: { prefix: /a } }], timeout: 1s, delegate: { name: inner, namespace: other } }, { ${routed} }] }`;
  const full = 'route: [{ destination: { host: away } }]';
  const compiled = (spec: string) => {
    const compiler = mesh(virtualService('a', root) + inner(spec, 'namespace: other'));
    return { compiler, rules: routesOf(compiler)[0]?.rules ?? [] };
  };
  const good = compiled(
    `{ http: [{ match: [{ uri: { exact: /a/b }, method: { exact: GET } }, { uri: { prefix: /c } }], ${full} }, { match: [{ uri: { prefix: /d } }], ${full} }, { name: rest, ${full}, timeout: 2s }] }`,
  );
  assert.deepEqual(
    good.rules.map(({ name, requestTimeoutMs, matches }) => [
      name,
      requestTimeoutMs,
      matches.map(({ path }) => path?.value),
    ]),
    [
      ['root-0', 1000, ['/a/b']],
      ['root-rest', 2000, ['/a']],
      ['1', undefined, []],
    ],
  );
  assert.deepEqual(good.rules[0]?.backends[0]?.target, {
    kind: 'service',
    service: 'other/away.other.svc.cluster.local',
    port: 80,
  });
  assert.equal(remark(good.compiler, 'inner', 'other'), undefined);
  for (const spec of [
    `{ exportTo: ['.'], http: [{ ${full} }] }`,
    `{ hosts: [away], http: [{ ${full} }] }`,
    '{ http: [{ delegate: { name: x } }] }',
  ]) {
    const bad = compiled(spec);
    assert.deepEqual(
      bad.rules.map(({ backends }) => backends[0]?.target.kind),
      ['invalid', 'service'],
      spec,
    );
    assert.match(remark(bad.compiler, 'a') ?? '', /http\[0\]\.delegate/);
  }
});
