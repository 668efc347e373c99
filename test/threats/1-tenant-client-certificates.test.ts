/** Rows 1 and 2 of docs/security.md: a client certificate of the bank is shown for the bank's own policies alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile, type Compiler } from '../../control/compile/compile.js';
import { parseManifests } from '../../control/source/parse.js';
import { secretsToMount } from '../../control/waypoint/client-certificates.js';
import { encodeServicePolicy, readServicePolicy } from '../../src/discovery/codec/service-policy.js';
import type { SecretName } from '../../src/model/client-certificate.js';
import type { ServiceKey } from '../../src/model/workload.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import { WaypointState } from '../../src/waypoint/state/waypoint-state.js';
import { bankAndEvil, gatewayManifest } from '../support/manifests.js';
import { domain } from '../support/mesh.js';
import { routesOf, updateOf } from './support/compiled.js';

/** The bank's own host, by a certificate of its Secret. */
const bank = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: pay, namespace: bank }
spec: { hosts: [pay.example], ports: [{ number: 80, name: http, protocol: HTTP, targetPort: 443 }], resolution: STATIC, endpoints: [{ address: 192.0.2.9 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: pay, namespace: bank }
spec:
  targetRefs: [{ group: networking.istio.io, kind: ServiceEntry, name: pay }]
  validation: { hostname: pay.example, wellKnownCACertificates: System }
  options: { weft.dev/client-certificate: pay-client }
`;
/** The same of a tenant, toward the same address and host, with the name of the bank's Secret. */
const copy = bank.replaceAll('namespace: bank', 'namespace: evil');
const byTheBank = (text: string): string =>
  text.replace(
    'metadata: { name: pay, namespace: evil }',
    'metadata: { name: pay, namespace: evil, labels: { weft.dev/waypoint: waypoint, weft.dev/waypoint-namespace: bank } }',
  );
const admitting = bankAndEvil.replace(
  'protocol: HBONE }',
  'protocol: HBONE, allowedRoutes: { namespaces: { from: All } } }',
);
const rule = (more = ''): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: pay, namespace: evil${more} }
spec: { host: pay.example, trafficPolicy: { tls: { mode: MUTUAL, credentialName: pay-client } } }
`;

function compiled(...manifests: readonly string[]): Compiler {
  const { objects, closed } = parseManifests('x', manifests.join('\n---\n'));
  return compile([...objects, ...closed], { trustDomain: domain, rootsVersion: '1' });
}
interface Sent {
  readonly waypoint: string;
  readonly policy: ServicePolicy;
}
const sent = (compiler: Compiler): Sent[] =>
  [...compiler.all()].flatMap((one) =>
    one.kind === 'servicePolicy' ? [{ waypoint: one.node, policy: one.value }] : [],
  );
const ofBank = (compiler: Compiler): string =>
  JSON.stringify(sent(compiler).filter(({ policy }) => policy.service.startsWith('bank/')));

test('no object of a tenant gets or changes the certificate of the bank, also where its hosts take the waypoint of the bank', () => {
  const before = compiled(admitting, bank);
  const [own] = sent(before).filter(({ policy }) => policy.service === 'bank/pay.example');
  assert.equal(own?.policy.endpointTls?.clientCertificate, 'pay-client');
  for (const [what, ...theirs] of [
    ['a copy', copy],
    ['a copy by the waypoint of the bank', byTheBank(copy)],
    ['a rule of its own', byTheBank(copy.split('---')[0] ?? ''), rule()],
    ['a rule for all', rule(', annotations: { a: b }').replace('host: pay.example', "host: '*'")],
    [
      'a copy by its own waypoint',
      gatewayManifest('evil', 'wp'),
      copy.replace('evil }', 'evil, labels: { weft.dev/waypoint: wp } }'),
    ],
  ] as const) {
    const compiler = compiled(admitting, bank, ...theirs);
    assert.equal(ofBank(compiler), ofBank(before), what);
    assert.deepEqual(secretsToMount(compiler.policiesWithCertificates('bank')).names, ['pay-client'], what);
    for (const { waypoint, policy } of sent(compiler)) {
      if (policy.service.startsWith('bank/') || policy.endpointTls?.clientCertificate === undefined) continue;
      assert.match(waypoint, /evil/, `${what}: only a waypoint of its own namespace mounts its Secrets`);
    }
  }
  const served = sent(compiled(admitting, bank, byTheBank(copy))).find(
    ({ policy }) => policy.service === 'evil/pay.example',
  );
  assert.match(served?.waypoint ?? '', /bank/);
  assert.match(served?.policy.closed ?? '', /the waypoint is in namespace bank/);
});

test('a waypoint of the bank shows its certificate for no Service of a tenant, whatever it is sent', () => {
  const compiler = compiled(admitting, bank, byTheBank(copy));
  const state = new WaypointState('n1', 'bank/waypoint.bank.svc.cluster.local' as ServiceKey);
  const forged = sent(compiler).map(({ policy: { closed: _, ...policy } }): ServicePolicy => ({
    ...policy,
    endpointTls: {
      hostname: 'pay.example',
      caCertificates: '',
      dnsNames: [],
      uris: [],
      clientCertificate: 'pay-client',
    },
  }));
  const servicePolicies = forged.map((one) => {
    const { value } = readServicePolicy('', encodeServicePolicy(one));
    assert.ok(value);
    return value;
  });
  state.apply({ mesh: updateOf(compiler), servicePolicies });
  const name = 'pay-client' as SecretName;
  state.setClientCertificates([{ name, chainPem: 'chain', keyPem: 'key', fingerprint: 'f' }]);
  const shown = (service: string) => state.assignment(service as ServiceKey, 80)?.[0]?.[0]?.clientCertificate;
  assert.equal(shown('bank/pay.example')?.fingerprint, 'f');
  assert.equal(shown('evil/pay.example')?.fingerprint, '');
  assert.match(shown('evil/pay.example')?.problem ?? '', /own namespace/);
});

test("a tenant's route cannot name the bank's host as a backend: not by kind, and not by host", () => {
  const routes = [
    `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: steal, namespace: evil }
spec:
  parentRefs: [{ group: '', kind: Service, name: api, namespace: bank }]
  rules: [{ backendRefs: [{ group: networking.istio.io, kind: ServiceEntry, name: pay, namespace: bank, port: 80 }] }]
`,
    `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: steal, namespace: evil }
spec:
  hosts: [api.bank.svc.cluster.local]
  http: [{ route: [{ destination: { host: pay.example, port: { number: 80 } } }] }]
`,
  ];
  for (const route of routes) {
    const compiler = compiled(admitting, bank, route);
    const made = routesOf(compiler);
    assert.ok(made.length > 0);
    assert.ok(!JSON.stringify(made).includes('bank/pay.example'), JSON.stringify(made));
    // With a host of its own, the route leads to that one, whose connections have no certificate of the bank.
    const withOwn = routesOf(compiled(admitting, bank, byTheBank(copy), route));
    assert.ok(!JSON.stringify(withOwn).includes('bank/pay.example'));
  }
});
