import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { ServicePolicy } from '../../../src/model/service-policy.js';
import { createRoot } from '../../../src/tls/issue.js';
import { objectKey } from '../../objects/object-key.js';
import type { BackendTlsPolicyObject, MeshObject } from '../../objects/objects.js';
import { shopManifest } from '../../../test/support/manifests.js';
import { parseManifests } from '../../source/parse.js';
import { backendPolicyStatus } from '../../status/backend-policy.js';
import { compile, type Compiler } from '../../compile/compile.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const { certPem } = createRoot(parseTrustDomain('x.test'), 86_400);
const mesh = `${shopManifest('{ name: http, port: 80 }, { name: admin, port: 81 }')}---
apiVersion: v1
kind: ConfigMap
metadata: { name: unrelated, namespace: shop }
data: { a: b }
`;
const configMap = (name: string, text: string, namespace = 'shop'): string => `
---
apiVersion: v1
kind: ConfigMap
metadata: { name: ${name}, namespace: ${namespace} }
data: { ca.crt: ${JSON.stringify(text)} }
`;
const refs = (name: string): string => `caCertificateRefs: [{ group: '', kind: ConfigMap, name: ${name} }]`;
const policy = (name: string, validation: string, section = '', more = ''): string => `
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: api${section === '' ? '' : `, sectionName: ${section}`} }]
  validation: { hostname: api.test, ${validation} }
  ${more}
`;
function read(...texts: readonly string[]): Compiler {
  const { objects, closed } = parseManifests('x.yaml', mesh + texts.join(''));
  return compile([...objects, ...closed], settings);
}
const ports = (compiler: Compiler): ReadonlyMap<number, ServicePolicy> =>
  new Map(
    [...compiler.all()].flatMap((one) => (one.kind === 'servicePolicy' ? [[one.value.port, one.value]] : [])),
  );
const conditions = (compiler: Compiler, name: string): string[] => {
  const object = compiler.object(`BackendTLSPolicy shop/${name}`);
  assert.ok(object?.kind === 'BackendTLSPolicy');
  const update = backendPolicyStatus(object, { mesh: compiler, timestamp: 'now' });
  const { ancestors = [] } = update?.status as NonNullable<BackendTlsPolicyObject['status']>;
  return (ancestors[0]?.conditions ?? []).map(({ type, status, reason }) => `${type}=${status} ${reason}`);
};

test('the certificates of a ConfigMap, or the public roots, and the names are sent to the waypoint', () => {
  const names = "[{ type: Hostname, hostname: '*.x.test' }, { type: URI, uri: 'spiffe://x/y' }]";
  const compiler = read(
    configMap('ca', certPem),
    policy('a', `${refs('ca')}, subjectAltNames: ${names}`),
    policy('b', 'wellKnownCACertificates: System', 'admin'),
  );
  const [http, admin] = [80, 81].map((port) => ports(compiler).get(port));
  assert.equal(http?.endpointTls?.caCertificates.trim(), certPem.trim());
  assert.deepEqual(
    [http.endpointTls.hostname, http.endpointTls.dnsNames, http.endpointTls.uris],
    ['api.test', ['*.x.test'], ['spiffe://x/y']],
  );
  assert.deepEqual(http.origins, [{ setting: 'endpointTls', object: 'BackendTLSPolicy shop/a' }]);
  assert.deepEqual(
    [admin?.endpointTls?.caCertificates, admin?.closed],
    ['', undefined],
    'the port is more specific than the Service',
  );
  for (const name of ['a', 'b'])
    assert.deepEqual(conditions(compiler, name), [
      'Accepted=True Accepted',
      'ResolvedRefs=True ResolvedRefs',
    ]);
});

test('a policy that cannot be applied closes its port, which is never plain', () => {
  const cases: readonly (readonly [string, string, string?])[] = [
    ['missing', refs('none')],
    ['of another namespace', refs('foreign')],
    ['without a certificate', refs('empty')],
    ['not a certificate', refs('broken')],
    ['too large', refs('large')],
    ['of another kind', "caCertificateRefs: [{ group: '', kind: Secret, name: ca }]"],
    ['unknown roots', 'wellKnownCACertificates: x.test/y'],
    ['both', `${refs('ca')}, wellKnownCACertificates: System`],
    ['none', 'subjectAltNames: []'],
    ['a name without a value', `${refs('ca')}, subjectAltNames: [{ type: URI }]`],
    ['an unknown field', `${refs('ca')}, future: 1`],
    ['an option', refs('ca'), 'options: { x.test/min: "1.3" }'],
  ];
  const maps = [
    configMap('ca', certPem),
    configMap('empty', ''),
    configMap('broken', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
    configMap('large', certPem.repeat(200)),
    configMap('foreign', certPem, 'other'),
  ];
  for (const [what, validation, more] of cases) {
    const compiler = read(...maps, policy('a', validation, 'http', more));
    const http = ports(compiler).get(80);
    assert.match(http?.closed ?? '', /^BackendTLSPolicy shop\/a: ./, what);
    assert.equal(http?.endpointTls, undefined, what);
    assert.equal(ports(compiler).get(81), undefined, what);
    assert.match(conditions(compiler, 'a')[0] ?? '', /^Accepted=False (Invalid|NoValidCACertificate)$/, what);
  }
});

test('a ConfigMap that comes, changes or goes compiles the Services of its policies again', () => {
  const compiler = read(policy('a', refs('ca')));
  const apply = (text: string | undefined): ServicePolicy | undefined => {
    const object: MeshObject = {
      kind: 'ConfigMap',
      metadata: { name: 'ca', namespace: 'shop' },
      data: { 'ca.crt': text ?? '' },
    };
    compiler.apply(new Map([[objectKey(object), text === undefined ? undefined : object]]));
    return ports(compiler).get(80);
  };
  assert.ok(ports(compiler).get(80)?.closed);
  assert.ok(apply(certPem)?.endpointTls);
  assert.equal(ports(compiler).get(80)?.closed, undefined);
  assert.ok(apply('x')?.closed);
  assert.ok(apply(certPem)?.endpointTls);
  assert.ok(apply(undefined)?.closed);
});

test('of two policies of one port the older is in force, then the first by name', () => {
  const compiler = read(
    policy('b', 'wellKnownCACertificates: System', 'http'),
    policy('a', `${refs('none')}`, 'http'),
  );
  assert.match(ports(compiler).get(80)?.closed ?? '', /shop\/a/);
  assert.equal(conditions(compiler, 'b')[0], 'Accepted=False Conflicted');
});

const option = (name: string, more = ''): string =>
  `options: { weft.dev/client-certificate: ${name}${more} }`;
const system = 'wellKnownCACertificates: System';

test('an option names the client certificate, a Secret of the namespace of policy and waypoint', () => {
  const compiler = read(policy('a', system, 'http', option('bank')));
  assert.equal(ports(compiler).get(80)?.endpointTls?.clientCertificate, 'bank');
  assert.deepEqual(conditions(compiler, 'a'), ['Accepted=True Accepted', 'ResolvedRefs=True ResolvedRefs']);
  for (const [what, more] of [
    ['a path', option('../other')],
    ['another namespace', option('other/bank')],
    ['nothing', option("''")],
    ['an option beside it', option('bank', ', x.test/min: a')],
  ] as const) {
    const closed = read(policy('a', system, 'http', more));
    assert.match(ports(closed).get(80)?.closed ?? '', /^BackendTLSPolicy shop\/a: spec.options: /, what);
    assert.equal(ports(closed).get(80)?.endpointTls, undefined, what);
    assert.match(conditions(closed, 'a')[0] ?? '', /^Accepted=False Invalid$/, what);
  }
});

test('a policy whose Secret is beyond those that are mounted says so', () => {
  const others = Array.from({ length: 16 }, (_, i) =>
    policy(`p${i}`, system, '', option(`s${i}`)).replace('name: api }', 'name: other }'),
  );
  const enforced = (compiler: Compiler): string | undefined =>
    conditions(compiler, 'zz').find((one) => one.startsWith('weft.dev/Enforced'));
  const own = policy('zz', system, 'http', option('last'));
  assert.equal(enforced(read(...others, own)), 'weft.dev/Enforced=False TooManyCertificates');
  assert.equal(enforced(read(...others.slice(1), own)), undefined);
});

test('a waypoint of another namespace shows no certificate for the policy: the port is closed, and the condition says so', () => {
  const { objects } = parseManifests(
    'x.yaml',
    `${mesh
      .replace(
        'labels: { weft.dev/waypoint: wp }',
        'labels: { weft.dev/waypoint: wp, weft.dev/waypoint-namespace: infra }',
      )
      .replace('metadata: { name: wp, namespace: shop }', 'metadata: { name: wp, namespace: infra }')
      .replace(
        'protocol: HBONE }',
        'protocol: HBONE, allowedRoutes: { namespaces: { from: All } } }',
      )}${policy('a', system, 'http', option('bank'))}`,
  );
  const compiler = compile(objects, settings);
  const served = ports(compiler).get(80);
  assert.match(
    served?.closed ?? '',
    /client certificate bank: the waypoint is in namespace infra, and shows certificates only for policies and targets of that namespace/,
  );
  assert.equal(served?.endpointTls, undefined);
  assert.match(conditions(compiler, 'a')[0] ?? '', /^Accepted=False Invalid$/);
});
