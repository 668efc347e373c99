/** ServiceEntry, WorkloadEntry and Sidecar in Istio's YAML, with real connections. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { latestRecord, type LoggedRecord } from '../support/records.js';

const mesh = new DemoMesh('istio-entries');
let testbed: Testbed;

/** A server that sends one word and closes. */
const speaker = (port: number, word: string): string => `
import socket
s = socket.create_server(('::', ${port}), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
while True:
    c, _ = s.accept(); c.sendall(b'${word}'); c.close()
`;
/** What a connection of `web` reads, or `refused`. */
const ask = async (ip: string, port: number): Promise<string> => {
  const code = `import socket
try:
    s = socket.create_connection(('${ip}', ${port}), 3); print(s.recv(10).decode() or 'end')
except OSError as e: print('refused')
`;
  return (await run('weft-web', 'python3', ['-c', code])).stdout.trim();
};
const latest = (dialed: string, isWanted?: Parameters<typeof latestRecord>[2]): Promise<LoggedRecord> =>
  latestRecord(join(mesh.state, 'agent-node-a'), dialed, isWanted);
const becomes = (ip: string, port: number, wanted: string): Promise<unknown> =>
  until(`${ip}:${port} is ${wanted}`, 30_000, async () => (await ask(ip, port)) === wanted);

before(async () => {
  await mesh.prepare();
  testbed = mesh.create();
  testbed.start('api', 'weft-api', 'python3', ['-c', speaker(9000, 'api')]);
  testbed.start('outside', 'weft-node-b', 'python3', ['-c', speaker(8443, 'pay')]);
  testbed.start('machine', 'weft-node-b', 'python3', ['-c', speaker(8444, 'vm')]);
  await testbed.up();
  // Outside of the mesh, at addresses that no resource has.
  for (const ip of ['192.0.2.1', '192.0.2.2']) {
    await run('weft-node-a', 'ip', ['-n', 'weft-node-b', 'addr', 'add', `${ip}/32`, 'dev', 'lo']);
    await run('weft-node-a', 'ip', ['-n', 'weft-node-a', 'route', 'add', ip, 'via', '10.88.0.2']);
  }
});
after(() => mesh.remove());

test('STATIC: the address of a ServiceEntry leads to its endpoint at the endpoint port', async () => {
  mesh.write(
    'pay.yaml',
    `apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: { name: pay, namespace: shop }
spec:
  hosts: [pay.example.com]
  addresses: [198.51.100.1]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 443, name: tls, protocol: TLS }]
  endpoints: [{ address: 192.0.2.1, ports: { tls: 8443 } }]
`,
  );
  await becomes('198.51.100.1', 443, 'pay');
  const { service, destination } = await latest('198.51.100.1:443', ({ path }) => path !== 'refused');
  assert.equal(service, 'pay.example.com');
  assert.equal(destination.address, '192.0.2.1:8443');
});

test('NONE: each address of a ServiceEntry is reached itself, at the dialed port', async () => {
  mesh.write(
    'direct.yaml',
    `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: direct, namespace: shop }
spec:
  hosts: [direct.example.com]
  addresses: [192.0.2.1, 192.0.2.2]
  ports: [{ number: 8443, name: tcp }, { number: 8444, name: tcp-vm }]
`,
  );
  await until('it is known', 30_000, async () => {
    await ask('192.0.2.2', 8444);
    return (await latest('192.0.2.2:8444')).service === 'direct.example.com';
  });
  for (let i = 0; i < 8; i++) {
    assert.equal(await ask('192.0.2.1', 8443), 'pay');
    assert.equal((await latest('192.0.2.1:8443')).destination.address, '192.0.2.1:8443');
  }
});

test('a WorkloadEntry is an endpoint of the ServiceEntry that selects it, until it is deleted', async () => {
  mesh.write(
    'legacy.yaml',
    `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: legacy, namespace: shop }
spec:
  hosts: [legacy.example.com]
  addresses: [198.51.100.2]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  workloadSelector: { labels: { app: legacy } }
`,
  );
  mesh.write(
    'vm.yaml',
    `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: vm, namespace: shop }
spec: { address: 192.0.2.2, labels: { app: legacy }, ports: { http: 8444 } }
`,
  );
  await becomes('198.51.100.2', 80, 'vm');
  assert.equal((await latest('198.51.100.2:80', ({ path }) => path !== 'refused')).path, 'plain');
  rmSync(join(mesh.manifests, 'vm.yaml'));
  await becomes('198.51.100.2', 80, 'refused');
});

test('a Sidecar with REGISTRY_ONLY refuses pods and Services that it does not list, and unknown addresses', async () => {
  rmSync(join(mesh.manifests, 'direct.yaml'));
  assert.equal(await ask('10.96.0.10', 9000), 'api');
  await until('the entry is gone', 30_000, async () => {
    await ask('192.0.2.2', 8444);
    return (await latest('192.0.2.2:8444')).service !== 'direct.example.com';
  });
  assert.equal(await ask('192.0.2.2', 8444), 'vm');
  mesh.write(
    'sidecar.yaml',
    `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default, namespace: shop }
spec:
  egress: [{ hosts: [./pay.example.com] }]
  outboundTrafficPolicy: { mode: REGISTRY_ONLY }
`,
  );
  await becomes('10.96.0.10', 9000, 'refused');
  const { code } = await latest('10.96.0.10:9000', ({ path }) => path === 'refused');
  assert.equal(code, 'WEFT_DESTINATION_UNKNOWN');
  assert.equal(await ask('192.0.2.2', 8444), 'refused');
  assert.equal(await ask('198.51.100.1', 443), 'pay');
  rmSync(join(mesh.manifests, 'sidecar.yaml'));
  await becomes('10.96.0.10', 9000, 'api');
});
