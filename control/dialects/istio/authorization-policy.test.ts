import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atPod, bank, istio, type Asked } from '../../../test/support/istio-security.js';
import type { AuthorizationPolicy } from '../../../src/model/policy.js';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { compile } from '../../compile/compile.js';
import { remarksText } from '../remarks.js';
import { parseManifests } from '../../source/parse.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' };

/** The policy of an AuthorizationPolicy, with its remark. */
function compiled(
  spec: string,
  more = '',
): { policy?: AuthorizationPolicy; remark: string; problem?: string } {
  const { objects, errors } = parseManifests('x', istio('AuthorizationPolicy', spec, { more }));
  assert.deepEqual(errors, []);
  const compiler = compile(objects, settings);
  const policies = [...compiler.all()].flatMap((one) => (one.kind === 'policy' ? [one.value] : []));
  const [object] = objects;
  assert.ok(object);
  const problem = compiler.problemOf(object)?.reason;
  return {
    ...(policies[0] ? { policy: policies[0] } : {}),
    remark: remarksText(compiler.remarksOf(object)) ?? '',
    ...(problem === undefined ? {} : { problem }),
  };
}
const refusal = (spec: string): string => {
  const { errors } = parseManifests('x', istio('AuthorizationPolicy', spec));
  assert.ok(errors[0], `it was accepted: ${spec}`);
  return errors[0].message;
};
const allowed = (spec: string, asked: Asked, more = ''): boolean =>
  atPod(bank(istio('AuthorizationPolicy', spec, { more })), asked).allowed;

/** Whether a rule with this text matches: an ALLOW with it allows, a DENY with it denies. */
function assertMatches(rule: string, asked: Asked, matches: boolean): void {
  const shown = `${rule} ${JSON.stringify(asked)}`;
  assert.equal(allowed(`{ rules: [{ ${rule} }] }`, asked), matches, `ALLOW ${shown}`);
  assert.equal(allowed(`{ action: DENY, rules: [{ ${rule} }] }`, asked), !matches, `DENY ${shown}`);
}
const source = (text: string): string => `from: [{ source: { ${text} } }]`;
const operation = (text: string): string => `to: [{ operation: { ${text} } }]`;
const when = (key: string, text: string): string => `when: [{ key: '${key}', ${text} }]`;

test('no rules and an empty spec: an ALLOW allows nothing, a DENY denies nothing; an empty rule matches everything', () => {
  for (const spec of ['', '{}', '{ action: ALLOW }', '{ rules: [] }']) {
    assert.equal(allowed(spec, {}), false, spec);
    assert.deepEqual(compiled(spec).policy?.rules, [], 'it was read');
  }
  for (const spec of ['{ action: DENY }', '{ action: DENY, rules: [] }'])
    assert.equal(allowed(spec, {}), true, spec);
  for (const isRaw of [{}, { isRaw: true as const }]) {
    assert.equal(allowed('{ rules: [{}] }', isRaw), true);
    assert.equal(allowed('{ action: DENY, rules: [{}] }', isRaw), false);
  }
});

test('a DENY counts before an ALLOW, whatever their names are', () => {
  const mesh = bank(
    istio('AuthorizationPolicy', '{ rules: [{}] }', { name: 'a' }),
    istio('AuthorizationPolicy', `{ action: DENY, rules: [{ ${source('namespaces: [shop]')} }] }`, {
      name: 'b',
    }),
  );
  const verdict = atPod(mesh, {});
  assert.deepEqual([verdict.allowed, verdict.policy, verdict.rule], [false, 'bank/AuthorizationPolicy/b', 0]);
  assert.equal(atPod(mesh, { from: 'bank/web' }).allowed, true);
});

test('sources: principals without spiffe://, namespaces, service accounts, trust domains and addresses', () => {
  const cases: [string, Asked, boolean][] = [
    ['principals: [cluster.local/ns/shop/sa/web]', {}, true],
    ['principals: [cluster.local/ns/shop/sa/other]', {}, false],
    ['principals: ["cluster.local/ns/shop/*"]', {}, true],
    ['principals: ["*/sa/web"]', {}, true],
    ['principals: ["*"]', {}, true],
    ['principals: ["*"]', { from: 'none' }, false],
    ['principals: [nobody]', {}, false],
    ['notPrincipals: ["*"]', { from: 'none' }, true],
    ['notPrincipals: ["*"]', {}, false],
    ['namespaces: [shop]', {}, true],
    ['namespaces: ["sh*"]', {}, true],
    ['namespaces: ["*op"]', {}, true],
    ['namespaces: [bank]', {}, false],
    ['notNamespaces: [bank]', {}, true],
    ['notNamespaces: [shop]', {}, false],
    ['serviceAccounts: [shop/web]', {}, true],
    // Without a namespace: the policy's own.
    ['serviceAccounts: [web]', {}, false],
    ['serviceAccounts: [web]', { from: 'bank/web' }, true],
    ['notServiceAccounts: [shop/web]', {}, false],
    ['trustDomains: [cluster.local]', {}, true],
    ['trustDomains: [cluster.loca]', {}, false],
    ['trustDomains: ["cluster*"]', {}, true],
    ['notTrustDomains: [cluster.local]', {}, false],
    ['ipBlocks: [10.0.0.0/24]', {}, true],
    ['ipBlocks: [10.0.0.1]', {}, true],
    ['ipBlocks: [10.0.1.0/24]', {}, false],
    ['notIpBlocks: [10.0.0.1]', {}, false],
    // Fields of one source must all match.
    ['namespaces: [shop], ipBlocks: [10.9.0.0/16]', {}, false],
  ];
  for (const [text, asked, matches] of cases) {
    assertMatches(source(text), asked, matches);
    assertMatches(source(text), { ...asked, isRaw: true }, matches);
  }
  assertMatches('from: [{ source: { namespaces: [x] } }, { source: { namespaces: [shop] } }]', {}, true);
});

test('a principal with spiffe://, which matches nobody in Istio, allows nobody and denies', () => {
  const text = source('principals: ["spiffe://cluster.local/ns/shop/sa/web"]');
  assert.equal(allowed(`{ rules: [{ ${text} }] }`, {}), false);
  assert.equal(allowed(`{ action: DENY, rules: [{ ${text} }] }`, {}), false);
});

test('operations: ports, methods, paths with templates, and hosts with and without a port', () => {
  const cases: [string, Asked, boolean][] = [
    ['ports: ["80", "81"]', {}, true],
    ['ports: ["81"]', {}, false],
    ['notPorts: ["80"]', {}, false],
    ['methods: [GET]', {}, true],
    ['methods: [POST]', {}, false],
    ['methods: ["*"]', {}, true],
    ['methods: ["*"], paths: [/a]', { path: '/b' }, false],
    ['notMethods: [GET]', {}, false],
    ['paths: [/a]', { path: '/a?x=1' }, true],
    ['paths: ["/a*"]', { path: '/abc' }, true],
    ['paths: ["*c"]', { path: '/abc' }, true],
    ['paths: ["*"]', { path: '/abc' }, true],
    ['paths: ["/users/{*}/orders/{**}"]', { path: '/users/1/orders/2/3' }, true],
    ['paths: ["/users/{*}/orders/{**}"]', { path: '/users/1/2/orders' }, false],
    ['notPaths: ["/a*"]', { path: '/abc' }, false],
    ['hosts: [api.bank]', { host: 'api.bank:8080' }, true],
    ['hosts: [API.bank]', {}, true],
    ['hosts: ["*.bank"]', {}, true],
    ['hosts: ["api.bank:8080"]', { host: 'api.bank:8080' }, true],
    ['hosts: ["api.bank:8080"]', {}, false],
    ['hosts: ["api.bank:*"]', { host: 'api.bank:1' }, true],
    ['hosts: ["api.bank:*"]', {}, false],
    ['hosts: [other, "api.bank:*"]', { host: 'api.bank:1' }, true],
    ['notHosts: [api.bank]', {}, false],
    ['notHosts: ["api.bank:8080"]', { host: 'api.bank:8080' }, false],
    ['notHosts: ["api.bank:8080"]', {}, true],
  ];
  for (const [text, asked, matches] of cases) assertMatches(operation(text), asked, matches);
  assertMatches('to: [{ operation: { paths: [/x] } }, { operation: { ports: ["80"] } }]', {}, true);
});

test('conditions: each key, values and notValues; all of them must hold', () => {
  const cases: [string, string, Asked, boolean][] = [
    ['request.headers[X-Role]', 'values: [admin]', { headers: { 'x-role': 'admin' } }, true],
    ['request.headers[X-Role]', 'values: ["ad*"]', { headers: { 'x-role': 'admin' } }, true],
    ['request.headers[X-Role]', 'values: ["*"]', { headers: { 'x-role': 'a' } }, true],
    ['request.headers[X-Role]', 'values: ["*"]', {}, false],
    ['request.headers[X-Role]', 'notValues: [admin]', {}, true],
    ['request.headers[X-Role]', 'notValues: [admin]', { headers: { 'x-role': 'admin' } }, false],
    ['request.headers[x]', 'values: ["a*"], notValues: [ab]', { headers: { x: 'ab' } }, false],
    ['request.headers[:authority]', 'values: ["api.bank:81"]', { host: 'api.bank:81' }, true],
    ['source.ip', 'values: [10.0.0.0/24]', {}, true],
    ['source.ip', 'notValues: [10.0.0.1]', {}, false],
    ['source.namespace', 'values: [shop]', {}, true],
    ['source.principal', 'values: [cluster.local/ns/shop/sa/web]', {}, true],
    ['source.principal', 'notValues: ["*"]', {}, false],
    ['source.serviceAccount', 'values: [shop/web]', {}, true],
    ['destination.ip', 'values: [10.0.0.2]', {}, true],
    ['destination.ip', 'notValues: [10.0.0.2]', {}, false],
    ['destination.port', 'values: ["80"]', {}, true],
    ['destination.port', 'notValues: ["80"]', {}, false],
  ];
  for (const [key, text, asked, matches] of cases) assertMatches(when(key, text), asked, matches);
  const both = `when: [{ key: destination.port, values: ["80"] }, { key: source.namespace, values: [x] }]`;
  assertMatches(both, {}, false);
});

test('what cannot be evaluated closes its item: an ALLOW allows nothing by it, a DENY denies what its other conditions leave', () => {
  const items = [
    source(`notRequestPrincipals: [${[1, 2, 3, 4, 5, 6, 7].map((i) => `i${i}/s`).join()}]`),
    when('request.auth.claims[]', 'values: [a]').replace('[]', '[ [ ]'),
    source('trustDomains: ["*local"]'),
    source('trustDomains: [cluster.local], principals: ["cluster.local/*"]'),
    operation('methods: ["GE*"]'),
    operation('paths: [/a, "/{**}/b"]'),
    operation('paths: [x]'),
    operation('notMethods: ["*"]'),
    when('connection.sni', 'values: [10.0.0.1]'),
    when('connection.sni', 'values: [a, "b*c"]'),
    when('experimental.envoy.filters.network.x', 'values: [a]'),
    when('request.headers[:path]', 'values: [a]'),
  ];
  for (const item of items)
    for (const asked of [{}, { isRaw: true as const }]) {
      assert.equal(allowed(`{ rules: [{ ${item} }] }`, asked), false, `ALLOW ${item}`);
      assert.equal(allowed(`{ action: DENY, rules: [{ ${item} }] }`, asked), false, `DENY ${item}`);
      assert.match(compiled(`{ rules: [{ ${item} }] }`).remark, /closed|closes/, item);
    }
  const others = source('trustDomains: ["*local"], namespaces: [evil]');
  assert.equal(allowed(`{ action: DENY, rules: [{ ${others} }] }`, {}), true, 'other conditions stay');
  const two = `{ rules: [{ ${source('trustDomains: ["*local"]')} }, { ${source('namespaces: [shop]')} }] }`;
  assert.equal(allowed(two, {}), true, 'other rules stay');
});

test('connection.sni is compared with the server name that a waypoint has read; without one the item is closed', () => {
  const name = when('connection.sni', 'values: [a.test, "*.b.test"], notValues: [x.b.test]');
  for (const [serverName, matches] of [
    ['a.test', true],
    ['y.b.test', true],
    ['x.b.test', false],
    ['b.test', false],
  ] as const)
    assertMatches(name, { serverName }, matches);
  assertMatches(when('connection.sni', 'values: ["*"]'), { serverName: 'a.test' }, true);
  for (const asked of [{}, { isRaw: true as const }]) {
    assert.equal(allowed(`{ rules: [{ ${name} }] }`, asked), false);
    assert.equal(allowed(`{ action: DENY, rules: [{ ${name} }] }`, asked), false);
  }
  const onPort = `when: [{ key: connection.sni, values: [a.test] }, { key: destination.port, values: ["443"] }]`;
  assert.equal(allowed(`{ action: DENY, rules: [{ ${onPort} }] }`, {}), true, 'other conditions stay');
});

const token = {
  iss: 'https://id.example/realm',
  sub: 'alice',
  aud: ['shop', 'bank'],
  azp: 'cli',
  groups: ['dev', 'ops'],
  realm: { roles: ['reader'] },
};

test('principals of tokens: issuer and subject together, whole, by wildcards and negated', () => {
  const whole = 'https://id.example/realm/alice';
  const cases: [string, boolean][] = [
    [`requestPrincipals: ["${whole}"]`, true],
    ['requestPrincipals: ["https://id.example/realm/bob", "x/y"]', false],
    ['requestPrincipals: ["https://id.example/alice"]', false],
    ['requestPrincipals: ["other/alice"]', false],
    ['requestPrincipals: ["*"]', true],
    ['requestPrincipals: ["https://id.example/realm/*"]', true],
    ['requestPrincipals: ["https://id.example/*"]', true],
    ['requestPrincipals: ["https://id.example/realm/al*"]', true],
    ['requestPrincipals: ["https://id.example/realms/*"]', false],
    ['requestPrincipals: ["*/alice"]', true],
    ['requestPrincipals: ["*ice"]', true],
    ['requestPrincipals: ["*/realm/alice"]', true],
    ['requestPrincipals: ["*/other/alice"]', false],
    ['requestPrincipals: [nobody]', false],
    [`notRequestPrincipals: ["${whole}"]`, false],
    ['notRequestPrincipals: ["https://id.example/realm/bob"]', true],
    ['notRequestPrincipals: ["other/alice"]', true],
    ['notRequestPrincipals: ["https://id.example/realm/*"]', false],
    ['notRequestPrincipals: ["*"]', false],
    ['requestPrincipals: ["*"], notRequestPrincipals: ["*/bob"]', true],
    [`requestPrincipals: ["*"], notRequestPrincipals: ["*/bob", "${whole}"]`, false],
    ['requestPrincipals: ["*"], namespaces: [evil]', false],
  ];
  for (const [text, matches] of cases) {
    assertMatches(source(text), { claims: token }, matches);
    const [field, values] = text.split(/: (?=\[)/);
    const key = { requestPrincipals: 'values', notRequestPrincipals: 'notValues' }[field ?? ''];
    if (key && !text.includes('],'))
      assertMatches(when('request.auth.principal', `${key}: ${values}`), { claims: token }, matches);
  }
  assertMatches(source('requestPrincipals: ["*"]'), {}, false);
  assertMatches(source('notRequestPrincipals: ["*"]'), {}, true);
  assertMatches(source(`requestPrincipals: ["${whole}"]`), { claims: { ...token, sub: undefined } }, false);
});

test('claims of tokens: audiences, presenter, lists and nested claims, with negations', () => {
  const cases: [string, string, boolean][] = [
    ['request.auth.audiences', 'values: [bank]', true],
    ['request.auth.audiences', 'notValues: [bank]', false],
    ['request.auth.presenter', 'values: ["c*"]', true],
    ['request.auth.claims[iss]', 'values: ["https://*"]', true],
    ['request.auth.claims[groups]', 'values: [ops]', true],
    ['request.auth.claims[groups]', 'values: [o]', false],
    ['request.auth.claims[realm][roles]', 'values: [reader]', true],
    ['request.auth.claims[realm][roles]', 'notValues: [reader]', false],
    ['request.auth.claims[realm.roles]', 'values: [reader]', false],
    ['request.auth.claims[absent]', 'values: ["*"]', false],
    ['request.auth.claims[absent]', 'notValues: [a]', true],
  ];
  for (const [key, text, matches] of cases) assertMatches(when(key, text), { claims: token }, matches);
  assertMatches(when('request.auth.claims[groups]', 'values: ["*"]'), {}, false);
});

test('addresses through proxies are compared, and one that is not known takes access away', () => {
  for (const item of [
    source('remoteIpBlocks: [192.0.2.0/24]'),
    when('remote.ip', 'values: [192.0.2.0/24]'),
  ]) {
    assertMatches(item, { remoteIp: '192.0.2.1' }, true);
    assertMatches(item, { remoteIp: '198.51.100.1' }, false);
    for (const action of ['ALLOW', 'DENY'])
      assert.equal(allowed(`{ action: ${action}, rules: [{ ${item} }] }`, {}), false, item);
  }
  assertMatches(source('notRemoteIpBlocks: [192.0.2.0/24]'), { remoteIp: '192.0.2.1' }, false);
});

test('where no waypoint reads requests, a condition on a token or a proxy closes its item', () => {
  for (const item of [
    source('requestPrincipals: ["*"]'),
    source('notRequestPrincipals: ["*"]'),
    source('remoteIpBlocks: [0.0.0.0/0]'),
    when('request.auth.principal', 'values: ["*"]'),
    when('request.auth.audiences', 'notValues: [a]'),
    when('request.auth.claims[iss]', 'values: [a]'),
    when('remote.ip', 'notValues: [192.0.2.0/24]'),
  ])
    for (const action of ['ALLOW', 'DENY'])
      assert.equal(allowed(`{ action: ${action}, rules: [{ ${item} }] }`, { isRaw: true }), false, item);
});

test('CUSTOM denies what its rules match, since there is no provider, and says so', () => {
  const spec = `{ action: CUSTOM, provider: { name: x }, rules: [{ ${operation('paths: ["/admin*"]')} }] }`;
  assert.equal(allowed(spec, { path: '/admin/x' }), false);
  assert.equal(allowed(spec, { path: '/x' }), true);
  assert.equal(allowed(spec, { path: '/admin' }, ', annotations: { istio.io/dry-run: "true" }'), false);
  assert.equal(compiled(spec).problem, 'Unsupported');
});

test('AUDIT and dry run record and change nothing', () => {
  const audit = atPod(bank(istio('AuthorizationPolicy', '{ action: AUDIT, rules: [{}] }')), {});
  assert.deepEqual([audit.allowed, audit.audited], [true, ['bank/AuthorizationPolicy/p']]);
  const none = atPod(bank(istio('AuthorizationPolicy', '{ action: AUDIT }')), {});
  assert.deepEqual(none.audited, []);
  const dryRun = ', annotations: { istio.io/dry-run: "true" }';
  for (const spec of ['{ action: DENY, rules: [{}] }', '{}']) {
    const verdict = atPod(bank(istio('AuthorizationPolicy', spec, { more: dryRun })), {});
    assert.deepEqual([verdict.allowed, verdict.audited], [true, ['bank/AuthorizationPolicy/p']], spec);
  }
  assert.equal(allowed('{}', {}, ', annotations: { istio.io/dry-run: "yes" }'), false);
});

test('the scope: a namespace, the mesh by the root namespace, a selector, of the root namespace in all namespaces', () => {
  const denied = (mesh: ReturnType<typeof bank>): string[] =>
    [
      ['bank', 'api'],
      ['bank', 'web'],
      ['shop', 'api'],
    ].flatMap(([namespace = '', name = '']) =>
      atPod(mesh, { from: 'a/b' }, namespace, name).allowed ? [] : [`${namespace}/${name}`],
    );
  const by = (spec: string, namespace: string): string[] =>
    denied(bank(istio('AuthorizationPolicy', spec, { namespace })));
  const select = 'selector: { matchLabels: { app: api } }';
  assert.deepEqual(by('{}', 'bank'), ['bank/api', 'bank/web']);
  assert.deepEqual(by('{ selector: {} }', 'bank'), ['bank/api', 'bank/web']);
  assert.deepEqual(by(`{ ${select} }`, 'bank'), ['bank/api']);
  assert.deepEqual(by('{}', 'weft-system'), ['bank/api', 'bank/web', 'shop/api']);
  assert.deepEqual(by(`{ ${select} }`, 'weft-system'), ['bank/api', 'shop/api']);
  assert.deepEqual(by('{}', 'other'), []);
  assert.deepEqual(by(`{ ${select} }`, 'other'), []);
});

test('the name of the resource shows the kind, and does not meet that of an AccessPolicy or of strict mode', () => {
  const access = `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, namespace: bank }\nspec: { action: DENY, rules: [{ from: [{ namespaces: [evil] }] }] }\n`;
  const strict = `kind: Namespace\nmetadata: { name: bank, labels: { weft.dev/mode: strict } }\n`;
  const mesh = bank(
    access,
    strict,
    istio('AuthorizationPolicy', '{ rules: [{}] }'),
    istio('AuthorizationPolicy', '{ rules: [{}] }', { name: 'weft-strict-namespace' }),
  );
  assert.equal(atPod(mesh, { from: 'evil/x' }).policy, 'bank/p');
  assert.equal(atPod(mesh, { from: 'none' }).policy, 'bank/weft-strict-namespace');
  assert.equal(atPod(mesh, {}).policy, 'bank/AuthorizationPolicy/p');
});

test('what Istio refuses is refused with its field', () => {
  const cases: [string, RegExp][] = [
    [`{ rules: [{ ${source('ipBlocks: [1.2.3.4/99]')} }] }`, /rules\[0\]\.from\[0\]\.source\.ipBlocks/],
    [
      `{ rules: [{ ${operation('ports: [http]')} }] }`,
      /rules\[0\]\.to\[0\]\.operation\.ports: "http" is no port/,
    ],
    ['{ rules: [{ from: [{ source: {} }] }] }', /rules\[0\]\.from\[0\]\.source: no field is set/],
    ['{ rules: [{ from: [{}] }] }', /no field is set/],
    ['{ rules: [{ from: [] }] }', /rules\[0\]\.from: the list is empty/],
    [`{ rules: [{ ${source('namespaces: [""]')} }] }`, /a value is empty/],
    [`{ rules: [{ ${source('serviceAccounts: ["a/*"]')} }] }`, /no service account/],
    [`{ rules: [{ ${when('source.name', 'values: [a]')} }] }`, /when\[0\]\.key: "source.name"/],
    ['{ rules: [{ when: [{ key: source.ip }] }] }', /give values or notValues/],
    ['{ selector: { matchLabels: { app: "a*" } } }', /without \*/],
    ['{ selector: { matchLabels: { a: b } }, targetRef: { kind: Service, name: a } }', /give only one/],
    ['{ targetRefs: [{ kind: Deployment, name: a }] }', /targetRefs\[0\]/],
    ['{ targetRef: { kind: Gateway, name: a } }', /targetRef: it must be/],
    ['{ targetRef: { kind: Service, name: a, namespace: other } }', /targetRef/],
    ['{ action: DENY, provider: { name: a } }', /provider/],
  ];
  for (const [spec, message] of cases) assert.match(refusal(spec), message, spec);
});
