/** The outputs are in control/migrate/golden. UPDATE_GOLDEN=1 writes them. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { manifestFindings } from '../../problems/manifest-findings.js';
import { parseManifests } from '../../source/parse.js';
import { loadTexts } from '../load.js';
import { convert, type Converted, type ConvertOptions } from './convert.js';

const golden = fileURLToPath(new URL('../../../../control/migrate/golden', import.meta.url));
const options: ConvertOptions = { root: 'weft-system', istioRoot: 'istio-system', clusterNetworks: [] };

const converted = (text: string, more: Partial<ConvertOptions> = {}): Converted =>
  convert(loadTexts([{ file: 'in.yaml', text }]), { ...options, ...more });
const textOf = ({ files }: Converted): string => files.map(({ text }) => text).join('---\n');
/** The specs of the output, by kind and name. */
function specs(result: Converted): Readonly<Record<string, Readonly<Record<string, unknown>>>> {
  const { objects, errors } = parseManifests('out.yaml', textOf(result));
  assert.deepEqual(errors, []);
  return Object.fromEntries(
    objects.map((one) => [`${one.kind} ${one.metadata.name}`, (one as { spec?: object }).spec as never]),
  );
}

for (const name of ['bookinfo', 'security', 'emojivoto'])
  test(`${name}: the output is as expected, and the control plane reads all of it`, () => {
    const result = converted(readFileSync(join(golden, `${name}.yaml`), 'utf8'));
    const lines = [
      ...result.differs.map((line) => `differs: ${line}`),
      ...result.lost.map((line) => `not converted: ${line}`),
    ];
    const text = `${textOf(result)}${lines.map((line) => `# stderr: ${line}\n`).join('')}`;
    const file = join(golden, `${name}.converted.yaml`);
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, text);
    assert.equal(text, readFileSync(file, 'utf8'));
    const { errors } = parseManifests(file, text);
    assert.deepEqual(errors, []);
    assert.deepEqual(
      manifestFindings([{ file, text }], 'weft-system').filter(({ what }) => what.includes(file)),
      [],
    );
  });

const service = (name: string, ports = '[{ port: 80 }]'): string =>
  `apiVersion: v1\nkind: Service\nmetadata: { name: ${name}, namespace: shop }\nspec: { selector: { app: ${name} }, ports: ${ports} }\n---\n`;
const virtualService = (spec: string): string =>
  `${service('api')}${service('web', '[{ port: 80 }, { port: 81 }]')}apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: r, namespace: shop }\nspec: ${spec}\n`;
const to = (subset: string): string => `route: [{ destination: { host: api, subset: ${subset} } }]`;

test('rules whose order an HTTPRoute would change are not converted, and the object may stay', () => {
  for (const [first, second] of [
    ['{ headers: { x: { exact: a } } }', '{ uri: { prefix: /a } }'],
    ['{ uri: { prefix: /a } }', '{ uri: { exact: /a/b } }'],
    ['{ uri: { prefix: / } }', '{ uri: { regex: "/.*" } }'],
    ['{ uri: { regex: "/a.*" } }', '{ uri: { regex: "/(a|b)/c.*" } }'],
    ['{ method: { exact: GET } }', '{ uri: { exact: /a } }'],
  ]) {
    const result = converted(
      virtualService(
        `{ hosts: [api], http: [{ match: [${first}], ${to('v1')} }, { match: [${second}], ${to('v2')} }] }`,
      ),
    );
    assert.deepEqual(specs(result), {}, `${first} ${second}`);
    assert.match(result.lost.join('\n'), /http\[1\]: the order of the rules matters: .*keep it/);
  }
});

test('rules whose order an HTTPRoute keeps, or that no request shares, are converted', () => {
  for (const [first, second] of [
    ['{ uri: { exact: /a/b } }', '{ uri: { prefix: /a } }'],
    ['{ uri: { prefix: /a } }', '{ uri: { prefix: /b/longer } }'],
    ['{ headers: { x: { exact: a } } }', '{ headers: { x: { exact: b } }, uri: { prefix: /a } }'],
    ['{ method: { exact: GET } }', '{ method: { exact: POST }, uri: { exact: /a } }'],
    ['{ uri: { exact: /a } }', '{ uri: { exact: /bcd } }'],
  ]) {
    const result = converted(
      virtualService(
        `{ hosts: [api], http: [{ match: [${first}], ${to('v1')} }, { match: [${second}], ${to('v2')} }] }`,
      ),
    );
    assert.deepEqual(result.lost, [], `${first} ${second}`);
    assert.equal((specs(result)['HTTPRoute r']?.['rules'] as unknown[]).length, 2);
  }
});

test('a prefix of Istio is a prefix of the text, not of whole segments', () => {
  const result = converted(
    virtualService(`{ hosts: [api], http: [{ match: [{ uri: { prefix: /a.b } }], ${to('v1')} }] }`),
  );
  const [rule] = specs(result)['HTTPRoute r']?.['rules'] as { matches: unknown }[];
  assert.deepEqual(rule?.matches, [{ path: { type: 'RegularExpression', value: '/a\\.b.*' } }]);
});

test('a match that an HTTPRoute lacks leaves the whole object, because its requests would meet later rules', () => {
  for (const match of [
    'withoutHeaders: { x: {} }',
    'sourceLabels: { app: web }',
    'sourceNamespace: shop',
    'scheme: { exact: https }',
    'method: { regex: G.* }',
  ]) {
    const result = converted(
      virtualService(`{ hosts: [api], http: [{ match: [{ ${match} }], ${to('v1')} }, { ${to('v2')} }] }`),
    );
    assert.deepEqual(specs(result), {}, match);
    assert.equal(result.lost.length, 1, match);
  }
});

test('what a rule does and an HTTPRoute cannot leaves the whole object', () => {
  for (const action of [
    'directResponse: { status: 503 }',
    'delegate: { name: other }',
    `rewrite: { uri: /b }, match: [{ uri: { prefix: /a } }], ${to('v1')}`,
    `rewrite: { uriRegexRewrite: { match: a, rewrite: b } }, ${to('v1')}`,
    'route: [{ destination: { host: outside.example } }]',
  ]) {
    const result = converted(virtualService(`{ hosts: [api], http: [{ ${action} }] }`));
    assert.deepEqual(specs(result), {}, action);
    assert.equal(result.lost.length, 1, action);
  }
});

test('of several VirtualServices for a host, of which Istio takes one, none is converted', () => {
  const route = '{ hosts: [api], http: [{ route: [{ destination: { host: api } }] }] }';
  const result = converted(
    `${virtualService(route)}---\n${virtualService(route)
      .replace(/^[^]*kind: VirtualService/, 'apiVersion: networking.istio.io/v1\nkind: VirtualService')
      .replace('name: r', 'name: q')}`,
  );
  assert.deepEqual(specs(result), {});
  assert.equal(result.lost.length, 2);
});

test('annotations of Linkerd on routes are not lost', () => {
  const result = converted(
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r, namespace: shop, annotations: { retry.linkerd.io/http: 5xx } }\nspec: { parentRefs: [{ group: '', kind: Service, name: api }] }\n",
  );
  assert.match(result.lost.join('\n'), /retry\.linkerd\.io\/http=5xx: /);
});

test('rules for single ports become a route for each port', () => {
  const result = converted(
    virtualService(
      '{ hosts: [web], http: [{ match: [{ port: 81 }], route: [{ destination: { host: api } }] }, { route: [{ destination: { host: web } }] }] }',
    ),
  );
  const found = specs(result);
  assert.deepEqual(
    Object.keys(found)
      .filter((name) => name.startsWith('HTTPRoute'))
      .sort(),
    ['HTTPRoute r-80', 'HTTPRoute r-81'],
  );
  assert.equal((found['HTTPRoute r-80']?.['rules'] as unknown[]).length, 1);
  assert.equal((found['HTTPRoute r-81']?.['rules'] as unknown[]).length, 2);
});

test('a fault whose requests an earlier rule may have is not converted', () => {
  const fault = 'fault: { abort: { httpStatus: 500, percentage: { value: 50 } } }';
  const result = converted(
    virtualService(
      `{ hosts: [api], http: [{ match: [{ uri: { exact: /a } }], ${to('v1')} }, { ${fault}, ${to('v2')} }] }`,
    ),
  );
  assert.match(result.lost.join('\n'), /http\[1\]\.fault: an earlier rule has some of its requests/);
  assert.equal(specs(result)['TrafficPolicy r-faults'], undefined);
});

test('a fault without a percentage is for no request, as in Istio', () => {
  const fault = 'fault: { abort: { httpStatus: 500 }, delay: { fixedDelay: 1s, percentage: {} } }';
  const result = converted(virtualService(`{ hosts: [api], http: [{ ${fault}, ${to('v1')} }] }`));
  assert.deepEqual(specs(result)['TrafficPolicy r-faults']?.['faults'], [
    { name: 'rule-0', delay: { duration: '1s', percent: '0' }, abort: { httpStatus: 500, percent: '0' } },
  ]);
});

test('retries without retryOn are on what Istio retries by default, and a rule does not have all of it', () => {
  const result = converted(
    virtualService(`{ hosts: [api], http: [{ retries: { attempts: 2 }, ${to('v1')} }] }`),
  );
  const [rule] = specs(result)['HTTPRoute r']?.['rules'] as { readonly retry?: object }[];
  assert.deepEqual(rule?.retry, { attempts: 2 });
  assert.match(result.lost.join('\n'), /retries\.retryOn: a rule of an HTTPRoute has no unavailable/);
});

test('settings of a rule for clients of some, or of another namespace, are not made settings for all', () => {
  const rule = (spec: string): Converted =>
    converted(
      `${service('api')}apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: d, namespace: shop }\nspec: ${spec}\n`,
    );
  const policy = 'trafficPolicy: { loadBalancer: { simple: RANDOM } }';
  assert.deepEqual(Object.keys(specs(rule(`{ host: api, ${policy} }`))), ['TrafficPolicy d']);
  for (const spec of [
    `{ host: api, ${policy}, workloadSelector: { matchLabels: { app: web } } }`,
    `{ host: api, ${policy}, exportTo: ['.'] }`,
    `{ host: api.other.svc.cluster.local, ${policy} }`,
    `{ host: '*.example', ${policy} }`,
  ]) {
    assert.deepEqual(specs(rule(spec)), {}, spec);
    assert.equal(rule(spec).lost.length, 1, spec);
  }
});

const authorization = (spec: string): Converted =>
  converted(
    `${service('api')}apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p, namespace: shop }\nspec: ${spec}\n`,
  );
const rulesOf = (spec: string): { readonly action: unknown; readonly rules: unknown } => {
  const { action, rules } = specs(authorization(spec))['AccessPolicy p'] ?? {};
  return { action, rules };
};

test('an alternative of an ALLOW that has no form is left out, and a rule without alternatives too', () => {
  assert.deepEqual(
    rulesOf(
      "{ rules: [{ from: [{ source: { namespaces: [a] } }, { source: { trustDomains: [a] } }] }, { from: [{ source: { notRequestPrincipals: ['a/b'] } }] }] }",
    ),
    { action: 'ALLOW', rules: [{ from: [{ namespaces: ['a'] }] }] },
  );
  assert.deepEqual(rulesOf("{ rules: [{ when: [{ key: connection.sni, values: ['*.example'] }] }] }"), {
    action: 'ALLOW',
    rules: [{ to: [{ sni: ['*.example'] }] }],
  });
  for (const value of ['10.0.0.1', 'a.example.'])
    assert.deepEqual(
      rulesOf(`{ rules: [{ when: [{ key: connection.sni, values: ['${value}'] }] }] }`),
      { action: 'ALLOW', rules: [] },
      value,
    );
  assert.deepEqual(
    rulesOf("{ rules: [{ to: [{ operation: { paths: [/a], methods: ['G*'] } }] }] }"),
    { action: 'ALLOW', rules: [] },
    'a method that cannot be written must not be dropped',
  );
});

test('conditions on tokens are those of the field jwt, never wider than in Istio', () => {
  const from = (source: string, action = 'ALLOW'): unknown =>
    (
      rulesOf(`{ action: ${action}, rules: [{ from: [{ source: { ${source} } }] }] }`).rules as {
        from?: unknown;
      }[]
    )[0]?.from;
  assert.deepEqual(from('requestPrincipals: ["*"]'), [{ jwt: { subjects: ['*'] } }]);
  assert.deepEqual(from('notRequestPrincipals: ["*"]', 'DENY'), [{ jwt: { notSubjects: ['*'] } }]);
  assert.deepEqual(from('requestPrincipals: ["https://i/a", "https://i/b"]'), [
    { jwt: { issuers: ['https://i'], subjects: ['a', 'b'] } },
  ]);
  assert.deepEqual(from('requestPrincipals: ["https://i/*"]'), [
    { jwt: { issuers: ['https://i', 'https://i/*'], subjects: ['*'] } },
  ]);
  for (const source of [
    'requestPrincipals: ["a/b", "c/d"]',
    'notRequestPrincipals: ["a/b"]',
    'requestPrincipals: [x]',
    'requestPrincipals: ["a/b*"]',
  ])
    assert.equal(from(source), undefined, source);
  assert.deepEqual(
    rulesOf('{ action: DENY, rules: [{ from: [{ source: { requestPrincipals: ["a/b*"] } }] }] }').rules,
    [{}],
  );
});

test('a condition of a DENY that has no form is taken to hold', () => {
  assert.deepEqual(
    rulesOf(
      '{ action: DENY, rules: [{ from: [{ source: { trustDomains: [a], namespaces: [a] } }], to: [{ operation: { paths: [/a] } }] }] }',
    ),
    { action: 'DENY', rules: [{ from: [{ namespaces: ['a'] }], to: [{ paths: ['/a'] }] }] },
  );
  assert.deepEqual(
    rulesOf(
      "{ action: DENY, rules: [{ from: [{ source: { requestPrincipals: ['a/b*'] } }, { source: { namespaces: [a] } }] }] }",
    ),
    { action: 'DENY', rules: [{}] },
  );
  assert.deepEqual(
    rulesOf('{ action: CUSTOM, provider: { name: x }, rules: [{ to: [{ operation: { paths: [/a] } }] }] }'),
    {
      action: 'DENY',
      rules: [{ to: [{ paths: ['/a'] }] }],
    },
  );
});

test('no rules match nothing, an empty rule matches everything, as in Istio', () => {
  assert.deepEqual(rulesOf('{}'), { action: 'ALLOW', rules: [] });
  assert.deepEqual(rulesOf('{ rules: [{}] }'), { action: 'ALLOW', rules: [{}] });
  assert.deepEqual(rulesOf('{ action: DENY, rules: [{}] }'), { action: 'DENY', rules: [{}] });
});

test('a policy with a field that nobody knows, or for a target that has no form, is closed', () => {
  for (const spec of [
    '{ rules: [{ from: [{ source: { newField: [a] } }] }] }',
    '{ rules: [{}], targetRefs: [{ group: networking.istio.io, kind: ServiceEntry, name: a }] }',
    '{ rules: [{}], targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: a }] }',
  ]) {
    assert.deepEqual(rulesOf(spec), { action: 'DENY', rules: [{}] }, spec);
    assert.ok(authorization(spec).lost.length > 0);
  }
});

test("a mesh-wide policy moves to Weft's root namespace, one with a selector to each namespace that was given", () => {
  const policy = (spec: string): string =>
    `${service('api')}apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p, namespace: istio-system }\nspec: ${spec}\n`;
  const namespaces = (text: string): (string | undefined)[] =>
    parseManifests('out', textOf(converted(text))).objects.map((one) => one.metadata.namespace);
  assert.deepEqual(namespaces(policy('{}')), ['weft-system']);
  assert.deepEqual(namespaces(policy('{ selector: { matchLabels: { app: api } } }')), ['shop']);
});

const linkerd = (kind: string, name: string, spec: string, version = 'v1alpha1'): string =>
  `---\napiVersion: policy.linkerd.io/${version}\nkind: ${kind}\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`;
const server = (name: string, labels: string, port: number | string, more = ''): string =>
  linkerd('Server', name, `{ podSelector: { matchLabels: { ${labels} } }, port: ${port}${more} }`, 'v1beta3');

test('a Server without authorizations closes its port, and leaves the others open', () => {
  assert.deepEqual(specs(converted(server('s', 'app: a', 80)))['AccessPolicy server-s'], {
    action: 'ALLOW',
    selector: { matchLabels: { app: 'a' } },
    rules: [{ to: [{ notPorts: [80] }] }],
  });
});

test('the open ports of one Server are never those of another Server of the same pods', () => {
  const found = specs(
    converted(`${server('s', 'app: a', 80)}${server('t', 'tier: b', 90)}${server('u', 'app: c', 91)}`),
  );
  assert.deepEqual(found['AccessPolicy server-s']?.['rules'], [{ to: [{ notPorts: [80, 90] }] }]);
  assert.deepEqual(found['AccessPolicy server-u']?.['rules'], [{ to: [{ notPorts: [90, 91] }] }]);
});

test('a default of the namespace or of the pods that closes is not opened by a Server', () => {
  const namespace = `apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, annotations: { config.linkerd.io/default-inbound-policy: deny } }\n`;
  const ofNamespace = specs(converted(`${namespace}${server('s', 'app: a', 80)}`));
  assert.deepEqual(ofNamespace['AccessPolicy server-s']?.['rules'], []);
  assert.deepEqual(ofNamespace['AccessPolicy default-inbound-policy'], { action: 'ALLOW', rules: [] });
  const deployment = `apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: d, namespace: shop }\nspec: { template: { metadata: { labels: { app: a }, annotations: { config.linkerd.io/default-inbound-policy: deny } }, spec: {} } }\n`;
  assert.deepEqual(
    specs(converted(`${deployment}${server('s', 'app: a', 80)}`))['AccessPolicy server-s']?.['rules'],
    [],
  );
});

test('a port by a name that nobody gave closes all ports of the pods', () => {
  const result = converted(server('s', 'app: a', 'http'));
  assert.deepEqual(specs(result)['AccessPolicy server-s']?.['rules'], []);
  assert.match(result.lost.join('\n'), /port: the number of the port http is unknown.*closed/);
});

test("clients of the cluster's addresses are closed without --cluster-networks", () => {
  const text = server('s', 'app: a', 80, ', accessPolicy: cluster-unauthenticated');
  const closed = converted(text);
  assert.deepEqual(specs(closed)['AccessPolicy server-s']?.['rules'], [{ to: [{ notPorts: [80] }] }]);
  assert.match(closed.lost.join('\n'), /--cluster-networks/);
  assert.deepEqual(
    specs(converted(text, { clusterNetworks: ['10.0.0.0/8'] }))['AccessPolicy server-s']?.['rules'],
    [{ from: [{ cidrs: ['10.0.0.0/8'] }], to: [{ ports: [80] }] }, { to: [{ notPorts: [80] }] }],
  );
});

test('an AuthorizationPolicy for a route, or with an authentication that was not given, allows nobody', () => {
  const policy = (target: string, refs: string): string =>
    linkerd('AuthorizationPolicy', 'p', `{ targetRef: ${target}, requiredAuthenticationRefs: ${refs} }`);
  const toServer = '{ group: policy.linkerd.io, kind: Server, name: s }';
  for (const text of [
    policy('{ group: policy.linkerd.io, kind: HTTPRoute, name: r }', '[{ kind: ServiceAccount, name: web }]'),
    policy(toServer, '[{ kind: MeshTLSAuthentication, name: gone }]'),
  ]) {
    const result = converted(`${server('s', 'app: a', 80)}${text}`);
    assert.deepEqual(specs(result)['AccessPolicy server-s']?.['rules'], [{ to: [{ notPorts: [80] }] }], text);
    assert.ok(result.lost.length > 0);
  }
  const allowed = converted(
    `${server('s', 'app: a', 80)}${policy(toServer, '[{ kind: ServiceAccount, name: web }]')}`,
  );
  assert.deepEqual(specs(allowed)['AccessPolicy server-s']?.['rules'], [
    { from: [{ serviceAccounts: ['shop/web'] }], to: [{ ports: [80] }] },
    { to: [{ notPorts: [80] }] },
  ]);
});

test('an authentication with a field that cannot be read allows nobody, and a PeerAuthentication with one denies plaintext', () => {
  const policy = linkerd(
    'AuthorizationPolicy',
    'p',
    '{ targetRef: { group: policy.linkerd.io, kind: Server, name: s }, requiredAuthenticationRefs: [{ kind: NetworkAuthentication, name: n }] }',
  );
  const network = linkerd(
    'NetworkAuthentication',
    'n',
    '{ networks: [{ cidr: 10.0.0.0/8, exept: [10.1.0.0/16] }] }',
  );
  const result = converted(`${server('s', 'app: a', 80)}${policy}${network}`);
  assert.deepEqual(specs(result)['AccessPolicy server-s']?.['rules'], [{ to: [{ notPorts: [80] }] }]);
  const peer = converted(
    'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: d, namespace: shop }\nspec: { mtls: { mode: NEWER } }\n',
  );
  assert.deepEqual(specs(peer)['AccessPolicy peer-authentication-d'], {
    action: 'DENY',
    rules: [{ from: [{ notIdentities: ['*'] }] }],
  });
  assert.equal(peer.lost.length, 1);
});

test('a file of which something cannot be read says so', () => {
  assert.equal(converted('a: [').lost.length, 1);
  assert.match(converted('name: {{ .Values.x }}').lost.join(), /Helm template/);
});

test('MUTUAL with a Secret becomes a BackendTLSPolicy that shows its certificate; files of a proxy are not converted', () => {
  const rule = (tls: string): string =>
    `${service('api')}apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: api, namespace: shop }\nspec: { host: api, trafficPolicy: { tls: ${tls} } }\n`;
  const result = converted(rule('{ mode: MUTUAL, credentialName: pay, sni: api.test }'));
  const [name = ''] = Object.keys(specs(result)).filter((one) => one.startsWith('BackendTLSPolicy '));
  assert.deepEqual(
    [specs(result)[name]?.['options'], specs(result)[name]?.['validation']],
    [{ 'weft.dev/client-certificate': 'pay' }, { hostname: 'api.test', wellKnownCACertificates: 'System' }],
  );
  assert.ok(result.differs.some((line) => line.includes('credentialName')));
  for (const tls of [
    '{ mode: MUTUAL, clientCertificate: /a, privateKey: /b }',
    '{ mode: MUTUAL, credentialName: pay, privateKey: /b }',
    '{ mode: MUTUAL }',
    '{ mode: SIMPLE, credentialName: pay }',
  ]) {
    const refused = converted(rule(tls));
    assert.ok(!textOf(refused).includes('kind: BackendTLSPolicy'), tls);
    assert.ok(
      refused.lost.some((line) => line.includes('tls')),
      tls,
    );
  }
});
