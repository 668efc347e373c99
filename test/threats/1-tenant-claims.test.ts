/**
 * Row 1 of docs/security.md, claims: a tenant is admin of namespace `evil` and may create every namespaced kind there. No object of the
 * tenant changes a connection between two other namespaces: its path, endpoint, identities, policies and waypoint stay the same.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { objectKey } from '../../control/objects/object-key.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { pickFields } from '../../control/kinds/kinds.js';
import { projectRoot } from '../../native/index.js';
import { encodeService, encodeWorkload } from '../../src/discovery/codec/address.js';
import { Address } from '../../src/discovery/gen/workload.js';
import { formatSocketAddress, ipFromBytes } from '../../src/model/address.js';
import { decisions, outbound, see, tunnel } from './support/registry.js';

const bank = readFileSync(join(projectRoot, 'test', 'threats', 'support', 'bank.yaml'), 'utf8');

/** Addresses that others own or use, and one that no object names. */
const targets: Readonly<Record<string, string>> = {
  'a pod': '10.244.1.11',
  'another pod of its Service': '10.244.2.11',
  'a pod that is not ready': '10.244.2.12',
  'a pod behind a waypoint': '10.244.2.13',
  'a waypoint': '10.244.2.14',
  'a client': '10.244.1.20',
  'a Node': '10.88.0.1',
  'the API server': '10.88.0.2',
  'the Service of the API server': '10.96.0.1',
  'a Service': '10.96.0.10',
  'a Service with a waypoint': '10.96.0.13',
  'an address of an ExternalService': '198.51.100.1',
  'an endpoint of an ExternalService': '203.0.113.1',
  'an endpoint that was written by hand': '203.0.113.5',
  'a Workload': '10.9.0.1',
  'the internet': '192.0.2.77',
};
const ports = [80, 443, 5432, 6443, 8080];
const destinations = Object.values(targets).flatMap((ip) => ports.map((port) => `${ip}:${port}`));

/** A running waypoint of the tenant. */
const ownWaypoint = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: evil }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
kind: Service
metadata: { name: waypoint, namespace: evil }
spec: { selector: { gateway.networking.k8s.io/gateway-name: waypoint }, clusterIPs: [10.96.0.60], ports: [{ name: hbone, port: 15008 }] }
---
kind: Pod
metadata: { name: waypoint, namespace: evil, labels: { gateway.networking.k8s.io/gateway-name: waypoint } }
spec: { nodeName: n1, serviceAccountName: waypoint }
status: { podIPs: [{ ip: 10.244.1.67 }] }
`;
const service = (spec: string, labels = 'weft.dev/waypoint: waypoint', name = 'trap'): string =>
  `kind: Service\nmetadata: { name: ${name}, namespace: evil, labels: { ${labels} }, creationTimestamp: '2020-01-01T00:00:00Z' }\nspec: { ${spec}, ports: [${ports
    .map((port) => `{ name: p${port}, port: ${port} }`)
    .join(', ')}] }\n`;
const slice = (ip: string, name = 'trap'): string =>
  `kind: EndpointSlice\napiVersion: discovery.k8s.io/v1\nmetadata: { name: ${name}, namespace: evil, labels: { kubernetes.io/service-name: ${name} } }\naddressType: IPv4\nendpoints: [{ addresses: [${ip}], conditions: { ready: true } }]\nports: [${ports
    .map((port) => `{ name: p${port}, port: ${port} }`)
    .join(', ')}]\n`;
const workload = (ip: string, more = 'node: elsewhere, netns: nothing'): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: Workload\nmetadata: { name: trap, namespace: evil, labels: { app: trap }, creationTimestamp: '2020-01-01T00:00:00Z' }\nspec: { addresses: [${ip}], ${more} }\n`;
const external = (spec: string, name = 'trap'): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: ExternalService\nmetadata: { name: ${name}, namespace: evil, creationTimestamp: '2020-01-01T00:00:00Z' }\nspec: { ${spec}, ports: [${ports
    .map((port) => `{ port: ${port}, targetPort: 1${port} }`)
    .join(', ')}], endpoints: [{ address: 10.244.1.66 }] }\n`;
const entry = (spec: string): string =>
  `apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: trap, namespace: evil, creationTimestamp: '2020-01-01T00:00:00Z' }\nspec: { ${spec}, exportTo: ['*'], ports: [${ports
    .map((port) => `{ number: ${port}, name: p${port}, targetPort: 1${port} }`)
    .join(', ')}] }\n`;
const workloadEntry = (ip: string): string =>
  `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: trap, namespace: evil, labels: { app: trap }, creationTimestamp: '2020-01-01T00:00:00Z' }\nspec: { address: ${ip}, labels: { app: vault }, serviceAccount: vault }\n`;
const all = (...documents: readonly string[]): string => documents.join('---\n');

/** Objects that the tenant creates, given the address that it attacks. */
const attacks: Readonly<Record<string, (ip: string) => string>> = {
  'a Workload at the address, behind a Service with a waypoint': (ip) =>
    all(workload(ip), service('clusterIPs: [10.96.0.66], selector: { app: trap }')),
  'an EndpointSlice that names the address, of a Service with a waypoint': (ip) =>
    all(slice(ip), service('clusterIPs: [10.96.0.66]')),
  'the same with a Service that has the selector {}': (ip) =>
    all(slice(ip), service('clusterIPs: [10.96.0.66], selector: {}')),
  'the same with a Service without an address': (ip) => all(slice(ip), service('clusterIPs: [None]')),
  "the same by another mesh's label": (ip) =>
    all(slice(ip), service('clusterIPs: [10.96.0.66]', 'istio.io/use-waypoint: waypoint')),
  // The API server allows only addresses of the Service range.
  'a Service that asks for the address as its own': (ip) =>
    service(`clusterIPs: [${ip.startsWith('10.96.') ? ip : 'None'}], selector: { app: own }`),
  'a Service with external addresses': (ip) =>
    service(`clusterIPs: [10.96.0.66], externalIPs: [${ip}], loadBalancerIP: ${ip}, selector: { app: own }`),
  'a Service of type ExternalName': (ip) =>
    service(`type: ExternalName, externalName: vault.bank.svc.cluster.local, externalIPs: [${ip}]`),
  'a Workload at the address, on a Node of the cluster, in a running pod’s network namespace': (ip) =>
    all(
      workload(ip, 'node: n1, netns: /proc/1/ns/net, serviceAccount: waypoint'),
      service('clusterIPs: [10.96.0.66], selector: { app: trap }'),
    ),
  'a Workload at the address, on a machine of others that does not take it': (ip) =>
    all(
      workload(ip, 'node: vm1, netns: legacy, serviceAccount: waypoint'),
      service('clusterIPs: [10.96.0.66], selector: { app: trap }'),
    ),
  'an ExternalService at the address': (ip) => external(`addresses: [${ip}]`),
  'an ExternalService at the address, under a host of somebody else’s': (ip) =>
    external(`addresses: [${ip}], host: pay.example.com`),
  'two ExternalServices at the address': (ip) =>
    all(external(`addresses: [${ip}]`, 'trap-a'), external(`addresses: [${ip}]`, 'trap-b')),
  'an ExternalService whose endpoint is the address': (ip) =>
    external(`addresses: [192.0.2.66]`).replace('10.244.1.66', ip),
  'a Service that asks for another namespace’s waypoint, with an EndpointSlice that names the address': (
    ip,
  ) =>
    all(
      slice(ip),
      service('clusterIPs: [10.96.0.66]', 'weft.dev/waypoint: waypoint, weft.dev/waypoint-namespace: bank'),
    ),
  'a ServiceEntry at the address, under hosts of others, that leads to a pod of the tenant': (ip) =>
    entry(
      `hosts: [pay.example.com, vault.bank.svc.cluster.local], addresses: [${ip}], resolution: STATIC, endpoints: [{ address: 10.244.1.66 }]`,
    ),
  'a ServiceEntry without resolution at the address': (ip) =>
    entry(`hosts: [trap.example.com], addresses: [${ip}]`),
  'a ServiceEntry whose endpoint is the address': (ip) =>
    entry(
      `hosts: [trap.example.com], addresses: [192.0.2.66], resolution: STATIC, endpoints: [{ address: ${ip}, serviceAccount: vault }]`,
    ),
  'a WorkloadEntry at the address, behind a Service with a waypoint and a ServiceEntry': (ip) =>
    all(
      workloadEntry(ip),
      service('clusterIPs: [10.96.0.66], selector: { app: trap }'),
      entry('hosts: [trap.example.com], resolution: STATIC, workloadSelector: { labels: { app: vault } }'),
    ),
  'a Sidecar that refuses everything, and a Telemetry': () =>
    all(
      `apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: { name: trap, namespace: evil }\nspec: { egress: [{ hosts: ['~/*'] }], outboundTrafficPolicy: { mode: REGISTRY_ONLY } }\n`,
      `apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: { name: trap, namespace: evil }\nspec: { accessLogging: [{ disabled: true }] }\n`,
    ),
  'pods under the names, labels and accounts of others’': (ip) =>
    ['vault', 'waypoint-2', 'apiserver']
      .map(
        (name, i) =>
          `kind: Pod\nmetadata: { name: ${name}, namespace: evil, labels: { app: vault, gateway.networking.k8s.io/gateway-name: waypoint }, annotations: { weft.dev/netns: /proc/1/ns/net } }\nspec: { nodeName: n${1 + (i % 2)}, serviceAccountName: ${name.replace('-2', '')} }\nstatus: { podIPs: [{ ip: 10.244.${1 + (i % 2)}.7${i} }] }\n`,
      )
      .concat(
        service(
          `clusterIPs: [10.96.0.66], externalIPs: [${ip}], selector: { app: vault }`,
          'app: vault',
          'vault',
        ),
      )
      .join('---\n'),
  'policies that select what others’ pods are called': () =>
    [
      'selector: { matchLabels: { app: vault } }, ',
      "targetRefs: [{ group: '', kind: Service, name: vault }], ",
      '',
    ]
      .map(
        (which, i) =>
          `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p${i}, namespace: evil }\nspec: { action: DENY, ${which}rules: [{}] }\n`,
      )
      .join('---\n'),
  'a pod on the host network that runs where others do': () =>
    all(
      'kind: Pod\nmetadata: { name: host, namespace: evil, labels: { app: trap } }\nspec: { nodeName: n2, hostNetwork: true }\nstatus: { podIPs: [{ ip: 10.88.0.2 }] }\n',
      service('clusterIPs: [10.96.0.66], selector: { app: trap }'),
    ),
};

const refusing =
  'apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh, namespace: weft-system }\nspec: { outboundUnknown: refuse }\n';
const before = decisions(see(bank, ownWaypoint), 'evil', destinations);
const beforeRefusing = decisions(see(bank, ownWaypoint, refusing), 'evil', destinations);
function assertSame(after: typeof before, was: typeof before, target: string): void {
  assert.deepEqual(Object.keys(after), Object.keys(was));
  for (const [what, decided] of Object.entries(was))
    assert.deepEqual(after[what], decided, `the attack on ${target} changes: ${what}`);
}
for (const [attack, manifests] of Object.entries(attacks)) {
  test(`a connection between two other namespaces is unaffected by ${attack}`, () => {
    for (const [target, ip] of Object.entries(targets))
      assertSame(decisions(see(bank, ownWaypoint, manifests(ip)), 'evil', destinations), before, target);
    // Pods that may not leave the mesh get no way out of it either.
    for (const target of ['a pod', 'an address of an ExternalService', 'the internet'])
      assertSame(
        decisions(see(bank, ownWaypoint, refusing, manifests(targets[target] ?? '')), 'evil', destinations),
        beforeRefusing,
        target,
      );
  });
  test(`resources for proxies that ignore scopes contain no address of others: ${attack}`, () => {
    const owned = new Set(Object.values(targets).slice(0, 11));
    for (const ip of Object.values(targets)) {
      for (const resource of see(bank, ownWaypoint, manifests(ip)).compiler.all()) {
        if (resource.kind === 'service' && resource.value.namespace === 'evil') {
          const { type } = Address.decode(encodeService(resource.value));
          assert.ok(type?.$case === 'service');
          const addresses = type.value.addresses.map(({ address }) => String(ipFromBytes(address)));
          if (!resource.value.hostname.endsWith('.svc.cluster.local')) assert.deepEqual(addresses, []);
          assert.ok(!addresses.some((one) => owned.has(one)), `${ip}: ${addresses.join()}`);
        }
        // An endpoint from an EndpointSlice has no identity and accepts no tunnel, so it is harmless.
        if (
          resource.kind === 'workload' &&
          resource.value.namespace === 'evil' &&
          resource.value.tunnel === 'hbone'
        ) {
          const { type } = Address.decode(encodeWorkload(resource.value));
          assert.ok(type?.$case === 'workload');
          // The tenant's pods have their own addresses.
          for (const one of type.value.addresses)
            assert.match(ipFromBytes(one), /^10\.244\.[12]\.[67]\d$/, ip);
        }
      }
    }
  });
}

test("no pod of another namespace accepts the client identity that the tenant's waypoint states", () => {
  for (const manifests of Object.values(attacks)) {
    const seen = see(bank, ownWaypoint, manifests('10.244.1.11'));
    for (const port of [80, 8080, 9090]) {
      const claim = tunnel(seen, 'bank/vault', port, 'evil/waypoint', 'bank/teller');
      assert.ok(claim.kind === 'refuse' && claim.code === 'WEFT_DENIED', claim.why);
    }
  }
});

test("a tenant's client that calls a pod through the tenant's Service is subject to the pod's identity and policies", () => {
  const seen = see(bank, slice('10.244.1.11'), service('clusterIPs: [10.96.0.66]', 'app: x'));
  const plan = outbound(seen, 'evil/own', '10.96.0.66:8080');
  assert.ok(plan.kind === 'refuse' && plan.code === 'WEFT_DENIED', plan.why);
  const far = outbound(
    see(bank, slice('10.244.2.11'), service('clusterIPs: [10.96.0.66]', 'app: x')),
    'evil/own',
    '10.96.0.66:8080',
  );
  assert.ok(far.kind === 'hbone' && far.expected[0]?.endsWith('/ns/bank/sa/vault') === true, far.why);
  const closed = outbound(
    see(bank, slice('10.244.2.13'), service('clusterIPs: [10.96.0.66]', 'app: x')),
    'evil/own',
    '10.96.0.66:8080',
  );
  assert.ok(closed.kind === 'hbone' && closed.why === 'destination-has-waypoint');
  assert.equal(closed.next.ip, '10.244.2.14');
});

test("a pod under the service account of the tenant's waypoint does not bypass another namespace's waypoint, even on one node", () => {
  const impostor =
    'kind: Pod\nmetadata: { name: impostor, namespace: evil }\nspec: { nodeName: n2, serviceAccountName: waypoint }\nstatus: { podIPs: [{ ip: 10.244.2.66 }] }\n';
  for (const endpoint of [slice('10.244.2.13'), external('addresses: [10.244.2.13]')]) {
    const seen = see(bank, ownWaypoint, impostor, endpoint, service('clusterIPs: [10.96.0.66]'));
    for (const dialed of ['10.96.0.66:8080', '10.244.2.13:8080']) {
      const plan = outbound(seen, 'evil/impostor', dialed);
      if (plan.kind === 'refuse') continue;
      assert.ok(
        plan.kind === 'hbone' && plan.next.ip === '10.244.2.14',
        `${dialed}: ${plan.kind} ${plan.why}`,
      );
      assert.equal(formatSocketAddress(plan.authority), '10.244.2.13:8080');
    }
  }
});

test('an address that the API server accepts but the compiler cannot parse drops its endpoint, not the compilation', () => {
  const compiler = see(bank, service('clusterIPs: [10.96.0.66]', 'app: x')).compiler;
  for (const ip of ['010.244.1.11', '1.2.3', 'fe80::1%eth0']) {
    const written = pickFields('EndpointSlice', parse(slice(ip))) as MeshObject;
    const { updated } = compiler.apply(new Map([[objectKey(written), written]]));
    assert.deepEqual(
      updated.filter(({ kind }) => kind === 'workload'),
      [],
      ip,
    );
  }
});

test("an endpoint that names a node does not change that node's locality", () => {
  const named = slice('192.0.2.66').replace('{ ready: true }', '{ ready: true }, nodeName: n1');
  const node =
    'kind: Node\nmetadata: { name: n1, labels: { topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z } }\nstatus: { addresses: [] }\n';
  const evil = all(named, service('clusterIPs: [10.96.0.66]', 'app: x'));
  const where = bank.replace(/kind: Node\nmetadata: \{ name: n1[^]*?\n---\n/, '');
  // In any order of updates.
  for (const manifests of [
    [evil, node, where],
    [node, where, evil],
  ])
    assert.deepEqual(see(...manifests).view.localityOf('n1'), { region: 'r', zone: 'z', subzone: '' });
});

test("an older Workload with the same machine and address does not displace the Workload that the machine's owner accepts", () => {
  const younger = bank.replace(
    'name: legacy, namespace: bank, labels',
    "name: legacy, namespace: bank, creationTimestamp: '2024-01-01T00:00:00Z', labels",
  );
  const was = decisions(see(younger, ownWaypoint), 'evil', destinations);
  const squatted = see(younger, ownWaypoint, workload('10.9.0.1', 'node: vm1, netns: legacy'));
  assertSame(decisions(squatted, 'evil', destinations), was, 'a Workload');
  assert.ok(squatted.compiler.mayRequestCertificate('vm1', 'spiffe://cluster.local/ns/bank/sa/legacy'));
});

test('a Workload gets no certificate of another namespace, and none on a Node of the cluster', () => {
  const { compiler } = see(
    bank,
    workload('10.9.9.9', 'node: n1, netns: /proc/1/ns/net, serviceAccount: teller'),
  );
  for (const node of ['n1', 'n2', 'vm1'])
    assert.ok(!compiler.mayRequestCertificate(node, 'spiffe://cluster.local/ns/evil/sa/teller'), node);
  assert.ok(!compiler.mayRequestCertificate('n2', 'spiffe://cluster.local/ns/bank/sa/teller'));
  assert.ok(
    ![...compiler.all()].some((resource) => resource.kind === 'nodePod' && resource.value.name === 'trap'),
  );
});

test('the problem of an object that loses a conflict contains no names of objects of other namespaces', () => {
  for (const [target, ip] of Object.entries(targets)) {
    const { compiler } = see(bank, workload(ip), external(`addresses: [${ip}]`));
    for (const kind of ['Workload', 'ExternalService'] as const) {
      for (const object of compiler.ofKind(kind)) {
        if (object.metadata.namespace !== 'evil') continue;
        const problem = compiler.problemOf(object);
        assert.doesNotMatch(problem?.message ?? '', /bank|vault|ledger|teller|kube-system/, target);
      }
    }
  }
});
