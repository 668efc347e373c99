/** Golden tests: the Services, clients and ports that VirtualServices are in force for, their conflicts, and their delegates. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  mesh,
  problem,
  remark,
  routed,
  routesOf,
  rules,
  to,
  virtualService,
} from '../../../test/support/virtual-services.js';
import type { Compiler } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import { parseManifests } from '../../source/parse.js';

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

test('an object whose rules would be multiplied without bound is closed, in time', () => {
  const of = (count: number, one: (i: number) => string): string =>
    Array.from({ length: count }, (_, i) => one(i)).join(', ');
  const matches = of(101, (i) => `{ headers: { x${i}: { exact: a } } }`);
  const inner = `{ http: [{ match: [${of(100, (i) => `{ headers: { y${i}: { exact: a } } }`)}], ${routed} }] }`;
  const root = `{ hosts: [payment-service], http: [{ match: [${matches}], delegate: { name: inner } }] }`;
  const delegated = mesh(virtualService('a', root) + virtualService('inner', inner));
  assert.match(
    remark(delegated, 'a') ?? '',
    /http\[0\]\.delegate: with those of its delegates .* more than 10000 matches/,
  );
  const [closed] = routesOf(delegated)[0]?.rules ?? [];
  assert.equal(closed?.matches.length, 101);
  assert.equal(closed.backends[0]?.target.kind, 'invalid');

  const body = `directResponse: { status: 200, body: { string: ${'x'.repeat(600_000)} } }`;
  const large = mesh(virtualService('a', `{ hosts: ['*'], http: [${of(12, () => `{ ${body} }`)}] }`));
  const routes = routesOf(large);
  assert.match(remark(large, 'a') ?? '', /http: closed: with all of its Services and ports/);
  const kinds = routes.map(({ rules: [rule] }) => rule?.backends[0]?.target.kind);
  assert.ok(kinds.includes('invalid') && kinds.includes(undefined), kinds.join());
});

test('the expressions of filters have the budget of those of matches', () => {
  const origins = Array.from({ length: 20 }, (_, i) => `{ regex: 'a${i}[b-z]{900}' }`).join(', ');
  const rewrites = Array.from(
    { length: 20 },
    (_, i) =>
      `{ match: [{ headers: { x: { exact: a${i} } } }], rewrite: { uriRegexRewrite: { match: 'a${i}[b-z]{900}', rewrite: x } }, ${routed} }`,
  ).join(', ');
  for (const http of [`{ corsPolicy: { allowOrigins: [${origins}] }, ${routed} }`, rewrites]) {
    const compiler = mesh(virtualService('a', `{ hosts: [payment-service], http: [${http}] }`));
    assert.match(remark(compiler, 'a') ?? '', /the regular expressions together exceed 8192 steps/);
    assert.equal(routesOf(compiler)[0]?.rules.at(-1)?.backends[0]?.target.kind, 'invalid');
  }
});

test('a wildcard matches all Services of a namespace or none', () => {
  const found = (host: string): number =>
    routesOf(
      mesh(
        virtualService(
          'a',
          `{ hosts: ['${host}'], http: [{ ${routed.replace('payment-service', 'two')} }] }`,
        ),
      ),
    ).length;
  assert.equal(found('*.production.svc.cluster.local'), found('*'));
  assert.equal(found('*.svc.cluster.local'), found('*'));
  assert.equal(found('*.vice.production.svc.cluster.local'), 0);
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

test('a subset that no DestinationRule defines is closed until one does', () => {
  const compiler = mesh(
    virtualService(
      'a',
      '{ hosts: [two], http: [{ route: [{ destination: { host: two, subset: v9, port: { number: 80 } } }] }] }',
    ),
  );
  assert.equal(routesOf(compiler)[0]?.rules[0]?.backends[0]?.target.kind, 'invalid');
  assert.match(
    remark(compiler, 'a') ?? '',
    /no DestinationRule defines subset v9 of Service production\/two/,
  );
  const [rule] = parseManifests(
    'x',
    `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: two, namespace: production }
spec: { host: two, subsets: [{ name: v9, labels: { version: v9 } }] }
`,
  ).objects;
  assert.ok(rule);
  compiler.apply(new Map([[objectKey(rule), rule]]));
  assert.deepEqual(routesOf(compiler)[0]?.rules[0]?.backends[0]?.target, {
    kind: 'service',
    service: 'production/v9.subset.two.production.svc.cluster.local',
    port: 80,
  });
  assert.equal(remark(compiler, 'a'), undefined);
});
