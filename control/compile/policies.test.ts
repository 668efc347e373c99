import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anyRequest } from '../../test/support/mesh.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { AuthorizationPolicy, PolicyMatch } from '../../src/model/policy.js';
import { parseManifests } from '../source/parse.js';
import { compile } from './compile.js';

const manifest = (spec: string): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, namespace: shop }\nspec: { action: DENY, ${spec} }`;
function policyOf(spec: string): AuthorizationPolicy {
  const { objects, errors } = parseManifests('x', manifest(spec));
  assert.deepEqual(errors, []);
  const [resource] = [
    ...compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' }).all(),
  ];
  assert.ok(resource?.kind === 'policy');
  return resource.value;
}
function httpOf(to: string): PolicyMatch['http'] {
  return policyOf(`rules: [{ to: [{ ${to} }] }]`).rules[0]?.clauses[0]?.matches[0]?.http;
}
const refusal = (spec: string): string => {
  const { errors } = parseManifests('x', manifest(spec));
  assert.ok(errors[0], 'it was accepted');
  return errors[0].message;
};

test('a rule without HTTP conditions has no HTTP match', () => {
  assert.equal(httpOf('ports: [80]'), undefined);
});

test('server names of TLS: exact, by suffix, and excluded', () => {
  const [match] =
    policyOf("rules: [{ to: [{ ports: [443], sni: [API.test, '*.b'], notSni: [c.b] }] }]").rules[0]
      ?.clauses[0]?.matches ?? [];
  assert.deepEqual(match?.tls, {
    serverNames: [
      { kind: 'exact', value: 'api.test' },
      { kind: 'suffix', value: '.b' },
    ],
    notServerNames: [{ kind: 'exact', value: 'c.b' }],
  });
  assert.equal(match?.http, undefined);
  assert.match(refusal('rules: [{ to: [{ sni: [] }] }]'), /fewer than 1/);
  assert.match(refusal("rules: [{ to: [{ notSni: ['a*b'] }] }]"), /must be a server name/);
  assert.match(
    refusal("rules: [{ to: [{ sni: ['10.0.0.1'] }] }]"),
    /sni: "10.0.0.1": no ClientHello names an address/,
  );
});

test('paths: exact, by characters at either end, and by segments', () => {
  const pathOf = (text: string): unknown => httpOf(`paths: ['${text}']`)?.paths[0];
  assert.deepEqual(pathOf('/a'), { kind: 'exact', value: '/a' });
  assert.deepEqual(pathOf('/a/*'), { kind: 'prefix', value: '/a/' });
  assert.deepEqual(pathOf('/a*'), { kind: 'prefix', value: '/a' });
  assert.deepEqual(pathOf('*'), { kind: 'prefix', value: '' });
  assert.deepEqual(pathOf('*.php'), { kind: 'suffix', value: '.php' });
  assert.deepEqual(pathOf('/users/{*}/orders/{**}'), {
    kind: 'template',
    segments: ['users', '*', 'orders', '**'],
  });
  for (const text of ['/a*b', '*a*', '/*/a', '/a/**', '/{**}/a', '/{a}', '/a{*}', '*/{*}', '/a*/{*}'])
    assert.match(refusal(`rules: [{ to: [{ paths: ['${text}'] }] }]`), /must be a path/, text);
  for (const text of ['', 'a', '/a?b', '/a#b'])
    assert.match(refusal(`rules: [{ to: [{ notPaths: ['${text}'] }] }]`), /must be a path/, text);
});

test('methods, hosts and headers', () => {
  assert.deepEqual(
    httpOf(`methods: [GET], notMethods: [PUT], hosts: ['API.test', '*.b'], notHosts: ['c*']`),
    {
      ...anyRequest,
      methods: ['GET'],
      notMethods: ['PUT'],
      hosts: [
        { kind: 'exact', value: 'api.test' },
        { kind: 'suffix', value: '.b' },
      ],
      notHosts: [{ kind: 'prefix', value: 'c' }],
    },
  );
  assert.deepEqual(
    httpOf(`headers: [{ name: X-A }, { name: x-b, values: ['1', '2*'] }, { name: x-c, notValues: ['*'] },
      { name: x-d, values: ['*'], notValues: ['spiffe://d'] }]`)?.headers,
    [
      { name: 'x-a', values: [{ kind: 'presence' }], negated: false },
      {
        name: 'x-b',
        values: [
          { kind: 'exact', value: '1' },
          { kind: 'prefix', value: '2' },
        ],
        negated: false,
      },
      { name: 'x-c', values: [{ kind: 'presence' }], negated: true },
      { name: 'x-d', values: [{ kind: 'presence' }], negated: false },
      { name: 'x-d', values: [{ kind: 'exact', value: 'spiffe://d' }], negated: true },
    ],
  );
  assert.match(refusal('rules: [{ to: [{ methods: [get] }] }]'), /must be a method in upper case/);
  assert.match(refusal("rules: [{ to: [{ methods: ['*'] }] }]"), /without \*/);
  assert.match(refusal("rules: [{ to: [{ hosts: ['a:80'] }] }]"), /without its port/);
  // An empty list would match everything, although its author meant nothing.
  assert.match(refusal('rules: [{ to: [{ paths: [] }] }]'), /fewer than 1/);
});

test('a policy that targets Services is not applied by nodes, and names Services of its own namespace', () => {
  const { scope, services } = policyOf("targetRefs: [{ group: '', kind: Service, name: api }], rules: []");
  assert.equal(scope, 'workload');
  assert.deepEqual(services, ['shop/api.shop.svc.cluster.local']);
  assert.match(
    refusal(
      "targetRefs: [{ group: '', kind: Service, name: api }], selector: { matchLabels: { a: b } }, rules: []",
    ),
    /either selector or targetRefs/,
  );
  assert.match(refusal("targetRefs: [{ group: '', kind: Pod, name: api }], rules: []"), /allowed values/);
  assert.match(refusal('targetRefs: [], rules: []'), /fewer than 1/);
});
