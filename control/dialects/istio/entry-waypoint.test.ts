import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Compiler } from '../../compile/compile.js';
import { compile } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import type { MeshObject } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';
import { backendConditions } from '../../status/backend-policy.js';
import { parseIp } from '../../../src/model/address.js';
import { MeshState } from '../../../src/state/store.js';
import {
  compiled,
  mesh,
  rule,
  services,
  settings,
  statusOf,
  text,
  workloads,
} from '../../../test/support/destination-rules.js';
import { gatewayManifest } from '../../../test/support/manifests.js';
import { remarksText } from '../remarks.js';
import { securityEnforcement } from './security-status.js';

const entry = (spec: string, name = 'bank', labels = '', namespace = 'production'): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: ${namespace}, labels: { ${labels} } }
spec: ${spec}
`;
const ports = 'ports: [{ number: 80, name: http, protocol: HTTP, targetPort: 443 }]';
const bank = entry(
  `{ hosts: [api.bank.example], ${ports}, resolution: STATIC, endpoints: [{ address: 192.0.2.9 }] }`,
);
const simple = rule('host: api.bank.example\ntrafficPolicy: { tls: { mode: SIMPLE } }');
const policies = (compiler: Compiler) =>
  [...compiler.all()].flatMap((one) => (one.kind === 'servicePolicy' ? [one.value] : []));
const bankOf = (compiler: Compiler) =>
  services(compiler).filter(({ hostname }) => hostname.endsWith('bank.example'));

test('a ServiceEntry of a namespace with a waypoint takes it, at the addresses of its endpoints', () => {
  const compiler = compiled(bank, simple);
  assert.equal(statusOf(compiler, 'rule'), 'in force');
  const [service, ...more] = bankOf(compiler);
  assert.deepEqual(more, []);
  assert.equal(service?.waypoint?.kind, 'hostname');
  assert.deepEqual(service.addresses, [{ network: '', ip: parseIp('192.0.2.9') }]);
  assert.equal(service.scope, 'namespace');
  const [policy] = policies(compiler).filter(({ service: key }) => key.includes('bank'));
  assert.equal(policy?.port, 80);
  assert.deepEqual(policy.endpointTls, {
    hostname: 'api.bank.example',
    caCertificates: '',
    dnsNames: [],
    uris: [],
  });
});

test('connectionPool, outlierDetection and loadBalancer of the rule are those of the host', () => {
  const compiler = compiled(
    bank,
    rule(`
host: '*.bank.example'
trafficPolicy:
  connectionPool: { tcp: { maxConnections: 7 } }
  outlierDetection: { consecutive5xxErrors: 3 }
  loadBalancer: { simple: ROUND_ROBIN }`),
  );
  assert.equal(statusOf(compiler, 'rule').includes('ServiceEntry'), false);
  const [policy] = policies(compiler).filter(({ service: key }) => key === 'production/api.bank.example');
  assert.equal(policy?.connectionsMax, 7);
  assert.equal(policy.outlierDetection?.consecutive5xx, 3);
  assert.equal(policy.loadBalancing?.kind?.$case, 'roundRobin');
});

test('TLS that cannot be spoken closes the port at the waypoint', () => {
  for (const [tls, why] of [
    ['{ mode: MUTUAL }', /credentialName: MUTUAL needs the name of a Secret/],
    ['{ mode: SIMPLE, insecureSkipVerify: true }', /always verified/],
    ['{ mode: SIMPLE, caCertificates: /etc/ca.pem }', /BackendTLSPolicy/],
  ] as const) {
    const compiler = compiled(bank, rule(`host: api.bank.example\ntrafficPolicy: { tls: ${tls} }`));
    const [policy] = policies(compiler).filter(({ service: key }) => key.includes('bank'));
    assert.match(policy?.closed ?? '', why);
    assert.equal(policy?.endpointTls, undefined);
  }
  const many = compiled(
    bank.replace('api.bank', "'*.bank").replace('example]', "example']"),
    rule("host: '*.bank.example'\ntrafficPolicy: { tls: { mode: SIMPLE } }"),
  );
  const [policy] = policies(many).filter(({ service: key }) => key.includes('bank'));
  assert.match(policy?.closed ?? '', /sni: it has to name the server/);
});

test('MUTUAL with a Secret shows its certificate, for rules of the namespace of entry and waypoint alone', () => {
  const spec = 'host: api.bank.example\ntrafficPolicy: { tls: { mode: MUTUAL, credentialName: bank } }';
  const found = (...manifests: string[]) =>
    policies(compiled(...manifests)).filter(({ service: key }) => key.includes('bank'))[0];
  const own = compiled(bank, rule(spec));
  assert.equal(found(bank, rule(spec))?.endpointTls?.clientCertificate, 'bank');
  assert.match(statusOf(own, 'rule'), /tls.credentialName: only with MUTUAL/);
  // The root namespace's rules are for Services of all namespaces; its Secrets are not there, and those of others are not its own.
  const ofRoot = found(bank, rule(spec, 'rule', 'weft-system'));
  assert.match(
    ofRoot?.closed ?? '',
    /DestinationRule weft-system\/rule: client certificate bank: the waypoint is in namespace production/,
  );
  assert.equal(ofRoot?.endpointTls, undefined);
  assert.match(
    statusOf(compiled(bank, rule(spec, 'rule', 'weft-system')), 'rule', 'weft-system'),
    /closed: client certificate bank/,
  );
  assert.equal(found(bank, rule(spec, 'rule', 'evil'))?.endpointTls, undefined);
  // Also where the waypoint is one of the root namespace, whose Secret it would be.
  const byRoot = found(
    entry(
      bank.slice(bank.indexOf('spec: ') + 6),
      'bank',
      'weft.dev/waypoint: wp, weft.dev/waypoint-namespace: weft-system',
    ),
    gatewayManifest('weft-system').replace(
      'HBONE }',
      'HBONE, allowedRoutes: { namespaces: { from: All } } }',
    ),
    rule(spec, 'rule', 'weft-system'),
  );
  assert.match(byRoot?.closed ?? '', /use a waypoint of namespace production/);
});

test('a Gateway that does not admit the namespace refuses the connections', () => {
  const elsewhere = entry(
    bank.slice(bank.indexOf('spec: ') + 6),
    'bank',
    'weft.dev/waypoint: wp, weft.dev/waypoint-namespace: infra',
  );
  const [service] = bankOf(compiled(elsewhere, simple));
  assert.match(
    service?.waypoint?.kind === 'hostname' ? service.waypoint.service : '',
    /not-allowed\.weft\.dev\/wp\.infra/,
  );
});

test('the resolution NONE takes no waypoint, and its ports with TLS are closed', () => {
  const none = entry(
    '{ hosts: [api.bank.example], addresses: [192.0.2.9], ports: [{ number: 80, name: http }] }',
  );
  const compiler = compiled(none, simple);
  const found = bankOf(compiler);
  assert.deepEqual(
    found.map(({ hostname, waypoint }) => [hostname, waypoint !== undefined]),
    [
      ['api.bank.example', false],
      ['tls-closed.api.bank.example', true],
    ],
  );
  assert.match(
    statusOf(compiler, 'rule'),
    /^Unsupported: host: connections to the ServiceEntry take no waypoint/,
  );
});

test('of two hosts at one address the older has its connections, and an object with the address as its own has them before both', () => {
  const other = entry(
    `{ hosts: [api.shop.example], ${ports}, resolution: STATIC, endpoints: [{ address: 192.0.2.9 }] }`,
    'shop',
  );
  const addressesOf = (compiler: Compiler, host: string): readonly string[] =>
    services(compiler)
      .filter(({ hostname }) => hostname === host)
      .flatMap(({ addresses }) => addresses.map(({ ip }) => ip));
  const both = compiled(other, bank);
  assert.equal(addressesOf(both, 'api.bank.example').length, 1);
  assert.equal(addressesOf(both, 'api.shop.example').length, 0);
  const objects = [...both.ofKind('ServiceEntry')];
  const loser = objects.find(({ metadata }) => metadata.name === 'shop');
  assert.match(
    (loser && remarksText(both.remarksOf(loser))) ?? '',
    /an address of api\.shop\.example belong to another host/,
  );
  const own = entry(
    '{ hosts: [own.example], addresses: [192.0.2.9], ports: [{ number: 80, name: http }] }',
    'own',
  );
  const three = compiled(other, bank, own);
  assert.equal(addressesOf(three, 'api.bank.example').length, 0);
  assert.equal(addressesOf(three, 'own.example').length, 1);
  // In steps, and back.
  const step = compiled(other, bank);
  const added = parseManifests('a.yaml', own).objects[0] as MeshObject;
  step.apply(new Map([[objectKey(added), added]]));
  const all = (one: Compiler): string[] => [...one.all()].map(text).sort();
  assert.deepEqual(all(step), all(three));
  step.apply(new Map([[objectKey(added), undefined]]));
  assert.deepEqual(all(step), all(both));
});

test('another namespace neither takes an address of an endpoint, nor sees it', () => {
  const evil = entry(
    `{ hosts: [api.bank.example], ${ports}, resolution: STATIC, endpoints: [{ address: 192.0.2.9 }, { address: 10.96.0.1 }, { address: 10.0.0.1 }] }`,
    'evil',
    'weft.dev/waypoint: wp, weft.dev/waypoint-namespace: evil',
    'evil',
  );
  const compiler = compiled(bank, evil);
  const view = new MeshState();
  view.apply({ services: services(compiler), workloads: workloads(compiler) });
  const at = (ip: string, namespace: string): string | undefined =>
    view.serviceByAddress(parseIp(ip), namespace)?.key;
  assert.equal(at('192.0.2.9', 'production'), 'production/api.bank.example');
  assert.equal(at('192.0.2.9', 'evil'), 'evil/api.bank.example');
  assert.equal(at('192.0.2.9', 'third'), undefined);
  for (const namespace of ['production', 'evil', 'third'])
    assert.equal(
      at('10.96.0.1', namespace),
      'production/payment-service.production.svc.cluster.local',
      namespace,
    );
  assert.equal(at('10.0.0.1', 'evil'), undefined);
});

const tlsPolicy = (kind: string, group: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: tls, namespace: production }
spec:
  targetRefs: [{ group: ${group}, kind: ${kind}, name: bank }]
  validation:
    hostname: sni.bank.example
    wellKnownCACertificates: System
    subjectAltNames: [{ type: Hostname, hostname: real.bank.example }]
`;
const external = `
apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: bank, namespace: production }
spec: { host: api.bank.example, addresses: [198.51.100.1], ports: [{ port: 80, targetPort: 443, name: http }], endpoints: [{ address: 192.0.2.9 }] }
`;
for (const [kind, group, object] of [
  ['ServiceEntry', 'networking.istio.io', bank],
  ['ExternalService', 'weft.dev', external],
] as const)
  test(`a BackendTLSPolicy sets the TLS of a port of a ${kind}, before a DestinationRule, and says so`, () => {
    const given = [object, tlsPolicy(kind, group), ...(kind === 'ServiceEntry' ? [simple] : [])];
    const compiler = compiled(...given);
    const [policy] = policies(compiler).filter(({ service: key }) => key.includes('bank'));
    assert.deepEqual(policy?.endpointTls, {
      hostname: 'sni.bank.example',
      caCertificates: '',
      dnsNames: ['real.bank.example'],
      uris: [],
    });
    const [target] = [...compiler.ofKind('BackendTLSPolicy')];
    const conditions = (target && backendConditions(target, { group, kind, name: 'bank' }, compiler)) ?? [];
    assert.deepEqual(
      conditions.map(({ type, status }) => `${type} ${status}`),
      ['Accepted True', 'ResolvedRefs True'],
    );
    // The order of arrival does not matter.
    const parsed = parseManifests('a.yaml', [mesh, ...given].join('\n---\n')).objects;
    const step = compile([], settings);
    for (const one of [...parsed].reverse()) step.apply(new Map([[objectKey(one), one]]));
    assert.deepEqual([...step.all()].map(text).sort(), [...compiler.all()].map(text).sort());
    const without = compiled(
      object
        .replace('labels: {', 'labels: { weft.dev/waypoint: none')
        .replace('production }', 'production, labels: { weft.dev/waypoint: none } }'),
      tlsPolicy(kind, group),
    );
    const found = (target && backendConditions(target, { group, kind, name: 'bank' }, without)) ?? [];
    assert.ok(found.some(({ type, status }) => type === 'weft.dev/Enforced' && status === 'False'));
  });

test('an ExternalService with a waypoint has no endpoint at the loopback or the link of the waypoint', () => {
  for (const ip of ['169.254.169.254', '127.0.0.1']) {
    const compiler = compiled(external.replace('192.0.2.9', ip));
    assert.ok(!workloads(compiler).some(({ addresses }) => addresses.includes(parseIp(ip))), ip);
    const [object] = [...compiler.ofKind('ExternalService')];
    assert.equal(object && compiler.problemOf(object)?.reason, 'EndpointNotAllowed');
  }
});

test('an AuthorizationPolicy is for the hosts of the ServiceEntry that it targets', () => {
  const policy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: bank, namespace: production }
spec:
  targetRefs: [{ kind: ServiceEntry, group: networking.istio.io, name: bank }]
  action: DENY
  rules: [{ to: [{ operation: { methods: [POST] } }] }]
`;
  const compiler = compiled(policy, bank);
  const found = [...compiler.all()].flatMap((one) => (one.kind === 'policy' ? [one.value] : []));
  assert.deepEqual(
    found.map(({ services: of }) => of),
    [['production/api.bank.example']],
  );
  const [object] = [...compiler.ofKind('AuthorizationPolicy')];
  assert.ok(object);
  assert.equal(securityEnforcement(object, compiler)?.status, 'True');
  const none = entry(
    '{ hosts: [api.bank.example], addresses: [192.0.2.9], ports: [{ number: 80, name: http }] }',
  );
  assert.equal(securityEnforcement(object, compiled(policy, none))?.reason, 'NoWaypoint');
  // The entry may come later.
  const step = compiled(policy);
  const later = parseManifests('a.yaml', bank).objects[0] as MeshObject;
  step.apply(new Map([[objectKey(later), later]]));
  assert.deepEqual([...step.all()].map(text).sort(), [...compiler.all()].map(text).sort());
});
