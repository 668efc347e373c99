/** ServiceEntries and WorkloadEntries: what they become, and what they cannot take from others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { compile, type Compiler } from '../../compile/compile.js';
import { remarksText } from '../remarks.js';
import { objectKey } from '../../objects/object-key.js';
import type { MeshObject } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const read = (text: string): readonly MeshObject[] => {
  const { objects, errors } = parseManifests('test.yaml', text);
  assert.deepEqual(errors, []);
  return objects;
};
const compiled = (text: string): Compiler => compile(read(text), settings);

/** Each Service by its host: its addresses, its ports, for whom it counts, and its endpoints as `<address>: <port>-><target>`. */
function servicesOf(compiler: Compiler): Record<string, unknown> {
  const resources = [...compiler.all()];
  const endpoints = resources.flatMap((one) => (one.kind === 'workload' ? [one.value] : []));
  return Object.fromEntries(
    resources.flatMap((one) => {
      if (one.kind !== 'service') return [];
      const { key, addresses, scope, loadBalancing } = one.value;
      const at = endpoints.flatMap((workload) => {
        const ports = workload.services.get(key);
        return ports
          ? [
              `${workload.addresses.join()}: ${ports.map((port) => `${port.servicePort}->${port.targetPort} ${port.appProtocol}`).join(', ')}`,
            ]
          : [];
      });
      const mode = loadBalancing?.mode;
      return [
        [
          key,
          [addresses.map(({ ip }) => ip).join(' '), scope ?? 'all', ...(mode ? [mode] : []), ...at.sort()],
        ],
      ];
    }),
  );
}
/** What the status of the only object of a kind says. */
function saidOf(compiler: Compiler, kind: MeshObject['kind'], name?: string): string {
  const object = [...compiler.objects()].find(
    (one) => one.kind === kind && (name ?? one.metadata.name) === one.metadata.name,
  );
  assert.ok(object);
  const invalid = 'invalid' in object ? (object.invalid as string | undefined) : undefined;
  const problem = compiler.problemOf(object);
  return (
    invalid ??
    (problem
      ? `${problem.reason}: ${problem.message}`
      : (remarksText(compiler.remarksOf(object)) ?? 'in force'))
  );
}

const entry = (spec: string, meta = 'name: ext, namespace: shop'): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { ${meta} }
spec:
${spec.replaceAll(/^/gm, '  ')}
---`;

test('STATIC: a Service for each host, and each endpoint with its own ports', () => {
  const compiler = compiled(
    entry(`hosts: [Pay.example.com, bill.example.com]
addresses: [198.51.100.1, 198.51.100.2/32]
location: MESH_EXTERNAL
resolution: STATIC
exportTo: ['.']
ports:
- { number: 443, name: https, protocol: HTTPS, targetPort: 8443 }
- { number: 80, name: web, protocol: HTTP }
- { number: 53, name: dns, protocol: UDP }
endpoints:
- { address: 192.0.2.1 }
- { address: 192.0.2.2, ports: { web: 8080 } }`),
  );
  const endpoints = ['192.0.2.1: 443->8443 tls, 80->80 http1', '192.0.2.2: 443->8443 tls, 80->8080 http1'];
  assert.deepEqual(servicesOf(compiler), {
    'shop/pay.example.com': ['198.51.100.1 198.51.100.2', 'namespace', ...endpoints],
    'shop/bill.example.com': ['', 'namespace', ...endpoints],
  });
  assert.equal(saidOf(compiler, 'ServiceEntry'), 'ports[].protocol: no effect: Weft carries TCP');
});

test('NONE: each address is its own destination, at the dialed port', () => {
  const compiler = compiled(
    entry(`hosts: [db.example.com]
addresses: [198.51.100.1, 198.51.100.2, 203.0.113.0/24]
exportTo: ['.']
ports: [{ number: 3306, name: tcp-db, targetPort: 1 }]`),
  );
  assert.deepEqual(servicesOf(compiler), {
    'shop/db.example.com': [
      '198.51.100.1 198.51.100.2',
      'namespace',
      'passthrough',
      '198.51.100.1: 3306->3306 tcp',
      '198.51.100.2: 3306->3306 tcp',
    ],
  });
  assert.match(saidOf(compiler, 'ServiceEntry'), /^addresses: single addresses work\. A larger block/);
});

test('a workloadSelector selects pods and WorkloadEntries of the namespace, as a Service selects WorkloadEntries', () => {
  const compiler = compiled(`${entry(`hosts: [legacy.shop]
location: MESH_INTERNAL
ports: [{ number: 80, name: http, targetPort: 8080 }]
resolution: STATIC
workloadSelector: { labels: { app: legacy } }`)}
kind: Service
metadata: { name: api, namespace: shop }
spec: { clusterIPs: [10.96.0.1], selector: { app: legacy }, ports: [{ name: web, port: 80, targetPort: web }, { name: admin, port: 81 }] }
---
kind: Pod
metadata: { name: p, namespace: shop, labels: { app: legacy } }
spec: { nodeName: n1, containers: [{ ports: [{ name: web, containerPort: 9000 }] }] }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
kind: Pod
metadata: { name: other, namespace: bank, labels: { app: legacy } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.2 }] }
---
apiVersion: networking.istio.io/v1beta1
kind: WorkloadEntry
metadata: { name: vm, namespace: shop }
spec: { address: 192.0.2.7, labels: { app: legacy }, ports: { http: 8081, web: 9001 }, serviceAccount: legacy, locality: eu/a/r1, weight: 3 }
`);
  assert.deepEqual(servicesOf(compiler), {
    'shop/legacy.shop': ['', 'namespace', '10.0.0.1: 80->8080 http1', '192.0.2.7: 80->8081 http1'],
    'shop/api.shop.svc.cluster.local': [
      '10.96.0.1',
      'all',
      '10.0.0.1: 80->9000 unknown, 81->81 unknown',
      '192.0.2.7: 80->9001 unknown, 81->81 unknown',
    ],
  });
  assert.match(
    saidOf(compiler, 'WorkloadEntry'),
    /serviceAccount: no effect: .*; use a Workload with an agent/,
  );
  // No machine may speak for the entry.
  assert.ok(!compiler.mayRequestCertificate('n1', 'spiffe://cluster.local/ns/shop/sa/legacy'));
  const vm = [...compiler.all()].find((one) => one.kind === 'workload' && one.value.name === 'vm');
  assert.ok(vm?.kind === 'workload');
  const { locality, weight, tunnel } = vm.value;
  assert.deepEqual(
    { locality, weight, tunnel },
    {
      locality: { region: 'eu', zone: 'a', subzone: 'r1' },
      weight: 3,
      tunnel: 'none',
    },
  );
});

test('a change of a ServiceEntry, a WorkloadEntry or a Service changes what the others become', () => {
  const [selector, vm, service] = read(`${entry(`hosts: [legacy.shop]
ports: [{ number: 80, name: http }]
resolution: STATIC
workloadSelector: { labels: { app: legacy } }`)}
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: vm, namespace: shop, labels: { app: legacy } }
spec: { address: 192.0.2.7 }
---
kind: Service
metadata: { name: api, namespace: shop }
spec: { clusterIPs: [10.96.0.1], selector: { app: legacy }, ports: [{ port: 80 }] }
`) as [MeshObject, MeshObject, MeshObject];
  const compiler = compile([vm], settings);
  const apply = (object: MeshObject, isThere = true): unknown => {
    compiler.apply(new Map([[objectKey(object), isThere ? object : undefined]]));
    return Object.fromEntries(
      Object.entries(servicesOf(compiler)).map(([key, value]) => [key, (value as string[]).slice(2)]),
    );
  };
  const of = { 'shop/legacy.shop': ['192.0.2.7: 80->80 http1'] };
  const ofService = { 'shop/api.shop.svc.cluster.local': ['192.0.2.7: 80->80 unknown'] };
  assert.deepEqual(apply(selector), of);
  assert.deepEqual(apply(service), { ...of, ...ofService });
  assert.deepEqual(apply(vm, false), { 'shop/legacy.shop': [], 'shop/api.shop.svc.cluster.local': [] });
  assert.deepEqual(apply(vm), { ...of, ...ofService });
  assert.deepEqual(apply(selector, false), ofService);
});

test('a tenant gets no host and no address of another object, and other namespaces see nothing of it', () => {
  const compiler = compiled(`${entry(
    `hosts: [api.bank.svc.cluster.local, pay.example.com]
addresses: [10.96.0.1, 10.0.0.1, 198.51.100.9]
ports: [{ number: 80, name: http }]
exportTo: ['*']
resolution: STATIC
endpoints: [{ address: 10.0.0.1 }]`,
    'name: trap, namespace: evil',
  )}
kind: Service
metadata: { name: api, namespace: bank }
spec: { clusterIPs: [10.96.0.1], selector: { app: api }, ports: [{ port: 80 }] }
---
kind: Pod
metadata: { name: api, namespace: bank, labels: { app: api } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.1 }] }
`);
  const found = servicesOf(compiler);
  assert.deepEqual(found, {
    'evil/pay.example.com': ['198.51.100.9', 'namespace', '10.0.0.1: 80->80 http1'],
    'bank/api.bank.svc.cluster.local': ['10.96.0.1', 'all', '10.0.0.1: 80->80 unknown'],
  });
  assert.equal(
    saidOf(compiler, 'ServiceEntry'),
    'HostConflict: host api.bank.svc.cluster.local belongs to a Service of the cluster; only the rest of this object is in force',
  );
});

test('exportTo reaches other namespaces only from a namespace that may export', () => {
  const text = (exportTo: string, labels = ''): string => `
kind: Namespace
metadata: { name: shop, labels: { ${labels} } }
---${entry(`hosts: [pay.example.com]
addresses: [198.51.100.1]
ports: [{ number: 443, name: https }]${exportTo}`)}`;
  const scopeOf = (compiler: Compiler): unknown =>
    (servicesOf(compiler)['shop/pay.example.com'] as string[])[1];
  const label = 'weft.dev/export: enabled';
  assert.equal(scopeOf(compiled(text('', label))), 'all');
  assert.equal(saidOf(compiled(text('', label)), 'ServiceEntry'), 'in force');
  assert.equal(scopeOf(compiled(text(`\nexportTo: ['.']`, label))), 'namespace');
  assert.equal(scopeOf(compiled(text(`\nexportTo: ['*']`))), 'namespace');
  assert.match(
    saidOf(compiled(text('')), 'ServiceEntry'),
    /^exportTo: other namespaces see the object only if/,
  );
});

test('what cannot be read is refused with its field, and opens nothing', () => {
  const base = `hosts: [a.example.com]\naddresses: [198.51.100.1]\nports: [{ number: 80, name: http }]\n`;
  const cases: readonly (readonly [string, RegExp])[] = [
    [`hosts: ['*']`, /spec\.hosts\[0\]: "\*" is no host name/],
    [`hosts: ['a.*.com']`, /spec\.hosts\[0\]/],
    [`hosts: [a.example.com]\nports: [{ number: 0, name: http }]`, /spec\.ports\[0\]\.number: 0 is no port/],
    [
      `hosts: [a.example.com]\nports: [{ number: 80, name: a }, { number: 80, name: b }]`,
      /spec\.ports\[1\]\.number: 80 is the number of another port/,
    ],
    [`${base}resolution: NONE\nendpoints: [{ address: 192.0.2.1 }]`, /spec\.endpoints: the resolution NONE/],
    [
      `${base}resolution: STATIC\nendpoints: [{ address: 127.0.0.1 }]`,
      /spec\.endpoints\[0\]\.address: 127\.0\.0\.1 is a loopback address/,
    ],
    [
      `${base}resolution: STATIC\nendpoints: [{ address: 169.254.169.254 }]`,
      /spec\.endpoints\[0\]\.address: 169\.254\.169\.254 is a link-local address/,
    ],
    [`hosts: [a.example.com]\naddresses: ['::']`, /spec\.addresses\[0\]: :: is no address/],
    [`hosts: [a.example.com]\naddresses: [x]`, /spec\.addresses\[0\]: "x" is no address/],
    [
      `hosts: [${Array.from({ length: 200 }, (_, i) => `h${i}.example.com`).join(', ')}]
resolution: STATIC
ports: [{ number: 80, name: http }]
endpoints: [${Array.from({ length: 400 }, (_, i) => `{ address: 192.0.${i >> 8}.${i & 255} }`).join(', ')}]`,
      /more than the limit of 65536/,
    ],
  ];
  for (const [spec, reason] of cases) {
    const { objects, errors } = parseManifests('test.yaml', entry(spec));
    assert.match(errors.map(({ message }) => message).join(), reason);
    assert.deepEqual(servicesOf(compile(objects, settings)), {}, spec);
  }
  const dynamic = compiled(
    entry(`hosts: ['*.example.com']\nports: [{ number: 443, name: tls }]\nresolution: DYNAMIC_DNS`),
  );
  assert.match(saidOf(dynamic, 'ServiceEntry'), /^Unsupported: spec\.resolution: DYNAMIC_DNS/);
});
