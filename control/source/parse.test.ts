import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile } from '../compile/compile.js';
import { pickFields } from '../kinds/kinds.js';
import { fileErrorText, parseManifests } from './parse.js';
import { readObject } from './validate.js';

const policy = (spec: string): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: p, namespace: shop }
spec:
${spec}`;

const cases: [name: string, text: string, line: number, field: RegExp, message: RegExp][] = [
  ['broken YAML', 'kind: Pod\nmetadata: { name: [', 2, /^$/, /./],
  ['no kind', 'metadata: { name: x }', 1, /^kind$/, /missing/],
  ['an unknown action', policy('  action: MAYBE\n  rules: []'), 5, /^spec.action$/, /ALLOW, DENY/],
  [
    'a misspelt field',
    policy('  action: DENY\n  rules:\n    - form: []'),
    7,
    /^spec.rules.0.form$/,
    /additional/,
  ],
  [
    'a service account without its namespace',
    policy('  action: DENY\n  rules:\n    - from:\n        - serviceAccounts: [web]'),
    8,
    /^spec.rules.0.from.0.serviceAccounts.0$/,
    /must be a service account as NAMESPACE\/NAME/,
  ],
  [
    'a port out of range',
    policy('  action: DENY\n  rules:\n    - to:\n        - ports: [70000]'),
    8,
    /ports.0$/,
    /65535/,
  ],
  [
    'an invalid address',
    policy('  action: DENY\n  rules:\n    - from:\n        - cidrs: [10.0.0.0/99]'),
    8,
    /cidrs.0$/,
    /^must be an address block like/,
  ],
  [
    'an address that only looks like one',
    policy("  action: DENY\n  rules:\n    - from:\n        - cidrs: ['1::2::3/64']"),
    1,
    /AccessPolicy\/p/,
    /cidrs: .*not an IP address/,
  ],
  ['a pod without a node', 'kind: Pod\nmetadata: { name: x }\nspec: {}', 3, /^spec$/, /nodeName/],
  [
    'a pod with an invalid address',
    'kind: Pod\nmetadata: { name: x }\nspec: { nodeName: n }\nstatus: { podIPs: [{ ip: 1.2.3 }] }',
    1,
    /Pod\/x/,
    /not an IP/,
  ],
  [
    'a policy without a name',
    'kind: AccessPolicy\nspec: { action: DENY, rules: [] }',
    1,
    /metadata/,
    /required/,
  ],
];

for (const [name, text, line, field, message] of cases) {
  test(`refuses ${name}, naming line and field`, () => {
    const { objects, errors } = parseManifests('x.yaml', text);
    assert.equal(objects.length, 0);
    assert.ok(errors[0], 'an error');
    assert.equal(errors[0].line, line);
    assert.match(errors[0].field, field);
    assert.match(errors[0].message, message);
  });
}

test('kinds that Weft does not read are ignored', () => {
  const { objects, errors } = parseManifests('x.yaml', 'kind: ConfigMap\nmetadata: { name: x }');
  assert.deepEqual([objects, errors], [[], []]);
});

const deny = '  action: DENY\n  rules: []';
const stream = (...documents: readonly string[]): string => documents.join('\n---\n');

test("an unknown kind of Weft's group is not ignored", () => {
  const typo = policy('  action: DENY\n  rules: []').replace('AccessPolicy', 'AcessPolicy');
  const { errors, isUnreadable } = parseManifests('a.yaml', typo);
  assert.equal(isUnreadable, true);
  assert.match(errors[0]?.message ?? '', /weft\.dev has no kind AcessPolicy; it has AccessPolicy, /);
  const foreign = 'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: a }';
  assert.deepEqual(parseManifests('a.yaml', foreign).errors, []);
});

test("a List is read as its items, and an item's error has the item's line", () => {
  const list = (kind: string, items: string): string => `apiVersion: v1\nkind: ${kind}\nitems:\n${items}`;
  const items = `- { apiVersion: v1, kind: Namespace, metadata: { name: a } }
- apiVersion: weft.dev/v1alpha1
  kind: AccessPolicy
  metadata: { name: p }
  spec: { action: MAYBE, rules: [] }
- { apiVersion: v1, kind: ConfigMap, metadata: { name: c } }
`;
  const { objects, errors, closed, unused } = parseManifests('a.yaml', list('List', items));
  assert.deepEqual(
    [...objects, ...closed].map(({ kind }) => kind),
    ['Namespace', 'AccessPolicy'],
  );
  assert.equal(errors[0]?.line, 8);
  assert.equal(errors[0]?.field, 'spec.action');
  assert.deepEqual(unused, [{ kind: 'ConfigMap', apiVersion: 'v1', line: 9 }]);
  const typed = parseManifests('a.yaml', list('ServiceList', '- { metadata: { name: s }, spec: {} }'));
  assert.equal(typed.objects[0]?.kind, 'Service');
  assert.deepEqual(parseManifests('a.yaml', 'kind: List\nitems: []').errors, []);
});

test('a kind of another group is not read although it has the name of one that Weft reads', () => {
  const knative = `apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: { name: web, namespace: app }
spec: { template: { spec: { containers: [{ image: example }] } } }`;
  const core =
    'apiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: app }\nspec: { ports: [{ port: 80 }] }';
  const { objects, errors, unused } = parseManifests('a.yaml', stream(core, knative));
  assert.deepEqual(errors, []);
  assert.equal(objects.length, 1);
  assert.deepEqual(unused, [{ kind: 'Service', apiVersion: 'serving.knative.dev/v1', line: 6 }]);
  for (const apiVersion of ['example.org/v1', 'metrics.k8s.io/v1'])
    for (const kind of ['Pod', 'Node', 'Namespace', 'EndpointSlice', 'Gateway', 'Workload', 'AccessPolicy'])
      assert.deepEqual(
        parseManifests('a.yaml', `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: { name: x }`).unused
          .length,
        1,
        kind,
      );
});

for (const [name, text, message, isUnreadable] of [
  [
    'a policy without its group',
    policy(deny).replace('weft.dev/v1alpha1', 'v1'),
    /belongs to the group weft\.dev/,
    true,
  ],
  [
    'a mistyped group',
    policy(deny).replace('weft.dev/', 'wetf.dev/'),
    /belongs to the group weft\.dev/,
    true,
  ],
  [
    'a version that does not exist',
    policy(deny).replace('v1alpha1', 'v1'),
    /weft\.dev has no version v1; it has v1alpha1/,
    true,
  ],
  [
    'a version of an Istio kind that does not exist',
    'apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: { name: x }\nspec: { hosts: [x] }',
    /networking\.istio\.io has no version v2 of VirtualService; it has v1, v1beta1, v1alpha3/,
    false,
  ],
  [
    'a mistyped kind of Weft',
    policy(deny).replace('AccessPolicy', 'AccesPolicy'),
    /did you mean AccessPolicy\?/,
    true,
  ],
  [
    'a mistyped kind of the core group',
    'apiVersion: v1\nkind: Serivce\nmetadata: { name: s }',
    /did you mean Service\?/,
    false,
  ],
  [
    'a mistyped route',
    'apiVersion: gateway.networking.k8s.io/v1\nkind: HttpRoute\nmetadata: { name: s }',
    /did you mean HTTPRoute\?/,
    false,
  ],
  [
    'an apiVersion that is not a string',
    'apiVersion: 1\nkind: Pod\nmetadata: { name: s }',
    /must be string/,
    true,
  ],
] as const)
  test(`${name} is refused`, () => {
    const parsed = parseManifests('a.yaml', text);
    assert.match(parsed.errors[0]?.message ?? 'accepted', message);
    assert.equal(parsed.isUnreadable, isUnreadable);
    assert.equal(parsed.objects.length, 0);
  });

test('kinds that resemble others only by chance are ignored', () => {
  for (const [apiVersion, kind] of [
    ['gateway.networking.k8s.io/v1alpha2', 'UDPRoute'],
    ['gateway.networking.k8s.io/v1beta1', 'ReferenceGrant'],
    ['v1', 'Event'],
    ['v1', 'Secret'],
    ['apps/v1', 'Deployment'],
  ])
    assert.deepEqual(parseManifests('a', `apiVersion: ${apiVersion}\nkind: ${kind}`).errors, [], kind);
});

test('null counts as absent in a built-in kind; in a kind of Weft it is an invalid value', () => {
  const service = `apiVersion: v1\nkind: Service\nmetadata:\n  name: s\n  labels:\n  annotations: ~
spec:\n  selector:\n  ports: [{ port: 80, name: null }]\nstatus: {}`;
  const { objects, errors } = parseManifests('a', service);
  assert.deepEqual(errors, []);
  assert.deepEqual(objects[0], {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 's' }, status: {} },
    spec: { ports: [{ port: 80 }] },
  });
  const all =
    'apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, labels: }\nspec:\n  action: DENY\n  selector:\n  rules: []';
  const [error] = parseManifests('a', all).errors;
  assert.equal(error?.field, 'spec.selector', 'without its selector it would apply to the whole namespace');
});

test('a boolean or number where text is required is refused with the correct spelling, as the API server refuses it', () => {
  for (const [label, message] of [
    ['yes', /must be string: yes is a boolean in YAML, write "yes"/],
    ['Off', /Off is a boolean in YAML, write "Off"/],
    ['1.0', /1\.0 is a number in YAML, write "1\.0"/],
  ] as const) {
    const { errors } = parseManifests('a', `kind: Namespace\nmetadata: { name: a, labels: { x: ${label} } }`);
    assert.match(errors[0]?.message ?? 'accepted', message);
    assert.equal(errors[0]?.field, 'metadata.labels.x');
  }
  assert.deepEqual(
    parseManifests('a', 'kind: Namespace\nmetadata: { name: a, labels: { x: "yes" } }').errors,
    [],
  );
  const pod = 'kind: Pod\nmetadata: { name: a }\nspec: { nodeName: node, hostNetwork: yes }';
  const [object] = parseManifests('a', pod).objects;
  assert.ok(object?.kind === 'Pod' && object.spec.hostNetwork === true);
});

test('an unknown field is refused with the fields that there are; a number where a duration is required, with the form of a duration', () => {
  const messageFor = (spec: string, ref = "{ group: '', kind: Service, name: a }"): string => {
    const text = `apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: p }\nspec: { targetRefs: [${ref}], ${spec} }`;
    return parseManifests('a', text).errors.map(fileErrorText).join('; ');
  };
  assert.match(
    messageFor('circuitBreaker: { maxConnections: 10 }'),
    /spec\.circuitBreaker\.maxConnections: must NOT have additional properties: the fields here are connectionsMax, .*perClient/,
  );
  assert.match(
    messageFor('rateLimit: []'),
    /spec\.rateLimit: must NOT .* the fields here are .* \(did you mean rateLimits\?\)/,
  );
  assert.match(
    messageFor('retry: { on: [5xx] }'),
    /spec\.retry\.true: .* the fields here are conditions, .* \(on, yes and true without quotes are a boolean in YAML\)/,
  );
  assert.match(
    messageFor('timeouts: { request: 1s }', "{ group: '', kind: Service, name: a, namespace: b }"),
    /spec\.targetRefs\.0\.namespace: .* the fields here are group, .* \(a target is in the namespace of the policy\)/,
  );
  assert.match(
    messageFor('timeouts: { request: 5 }'),
    /spec\.timeouts\.request: must be a duration such as 10s or 1m30s: 5 is a number in YAML$/,
  );
});

test('the problem of an object that cannot be read names its unknown field', () => {
  const { problem } = readObject({
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'TrafficPolicy',
    metadata: { name: 'p', namespace: 'shop' },
    spec: { targetRefs: [{ group: '', kind: 'Service', name: 'a' }], circuitBreaker: { maxConnections: 1 } },
  } as never);
  assert.match(problem ?? '', /spec\/circuitBreaker must NOT have additional properties: maxConnections/);
});

test('EndpointSlices and Endpoints are the endpoints of a Service without a selector', () => {
  const service =
    'apiVersion: v1\nkind: Service\nmetadata: { name: db, namespace: shop }\nspec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }] }';
  const slice = `apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice
metadata: { name: db-1, namespace: shop, labels: { kubernetes.io/service-name: db } }
addressType: IPv4\nendpoints:\n- { addresses: [192.0.2.1] }\n- { addresses: [192.0.2.2], conditions: { ready: false } }
ports: [{ port: 8080 }]`;
  const endpoints = `apiVersion: v1\nkind: Endpoints\nmetadata: { name: db, namespace: shop }
subsets: [{ addresses: [{ ip: 192.0.2.1 }], notReadyAddresses: [{ ip: 192.0.2.2 }], ports: [{ port: 8080 }] }]`;
  for (const text of [slice, endpoints]) {
    const { objects, errors } = parseManifests('a', stream(service, text));
    assert.deepEqual(errors, []);
    const resources = [...compile(objects, { trustDomain: parseTrustDomain('x'), rootsVersion: '' }).all()];
    const workloads = resources.flatMap((one) => (one.kind === 'workload' ? [one.value] : []));
    assert.deepEqual(
      workloads.map(({ addresses, healthy, services }) => [
        addresses[0],
        healthy,
        [...services.values()][0]?.[0]?.targetPort,
      ]),
      [
        ['192.0.2.1', true, 8080],
        ['192.0.2.2', false, 8080],
      ],
    );
  }
  const skipped = endpoints.replace(
    'namespace: shop',
    "namespace: shop, labels: { endpointslice.kubernetes.io/skip-mirror: 'true' }",
  );
  assert.deepEqual(parseManifests('a', skipped).objects, []);
});

test('an error without a field or a line is one sentence', () => {
  const at = { file: 'a.yaml', message: 'wrong' };
  assert.equal(fileErrorText({ ...at, line: 3, field: 'spec' }), 'a.yaml:3: spec: wrong');
  assert.equal(fileErrorText({ ...at, line: 0, field: '' }), 'a.yaml: wrong');
});

test('an EndpointSlice of the API server is accepted in its picked form', () => {
  const slice = pickFields('EndpointSlice', {
    metadata: { name: 'db', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'db' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.0.2.1'], conditions: { ready: true } }],
    ports: [{ name: 'sql', port: 5432, protocol: 'TCP' }],
  });
  assert.ok(slice);
  assert.deepEqual(readObject(slice), { object: slice });
});
