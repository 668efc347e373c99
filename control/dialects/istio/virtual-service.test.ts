/** Golden tests: the fields of VirtualServices and the routes that waypoints get. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  mesh,
  problem,
  remark,
  routed,
  routesOf,
  rules,
  services,
  to,
  virtualService,
} from '../../../test/support/virtual-services.js';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { compile } from '../../compile/compile.js';
import { parseManifests } from '../../source/parse.js';

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

test('a rule with more mirrors than a rule of the Gateway API may have is closed', () => {
  const filters = (count: number) => {
    const mirror = '{ destination: { host: two, port: { number: 8080 } } }';
    return filtersOf(`mirrors: [${Array.from({ length: count }, () => mirror).join(', ')}]`)?.length;
  };
  assert.deepEqual([filters(16), filters(17)], [16, 0]);
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
