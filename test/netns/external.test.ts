/** Kinds for workloads that are not pods: Workload (on a machine of its own) and ExternalService. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { latestRecord, type LoggedRecord } from '../support/records.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('external');
let testbed: Testbed;

const answerer = (port: number): string => `
import socket
s = socket.create_server(('::', ${port}), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
while True:
    c, _ = s.accept(); c.sendall(b'here'); c.close()
`;
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

before(async () => {
  await mesh.prepare();
  // The machine's operator sets the namespaces whose Workloads it accepts; without that setting it accepts none.
  mesh.replace(
    'mesh.yaml',
    'weft.dev/netns: weft-node-b',
    "weft.dev/netns: weft-node-b, weft.dev/workload-namespaces: 'bank, shop'",
  );
  mesh.replace(
    'mesh.yaml',
    'weft.dev/netns: weft-node-a',
    'weft.dev/netns: weft-node-a, weft.dev/workload-namespaces: evil',
  );
  testbed = mesh.create();
  testbed.start('api', 'weft-api', 'python3', ['-c', answerer(9000)]);
  testbed.start('outside', 'weft-node-b', 'python3', ['-c', answerer(8443)]);
  await testbed.up();
});
after(() => mesh.remove());

test('a Workload works like a pod: an endpoint of its Service, reached with mutual TLS and its own identity', async () => {
  for (const file of readdirSync(mesh.manifests)) {
    const path = join(mesh.manifests, file);
    const kept = readFileSync(path, 'utf8')
      .split(/^---$/m)
      .filter((document) => !/kind: Pod\nmetadata: \{ name: api,/.test(document));
    writeFileSync(path, kept.join('---'));
  }
  mesh.write(
    'workload.yaml',
    `apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: legacy, namespace: shop, labels: { app: api } }
spec: { node: node-b, addresses: [10.244.2.10], serviceAccount: legacy, netns: weft-api }
`,
  );
  await until('the Workload is enrolled on its machine', 30_000, () =>
    testbed
      .readyState('node-b')
      .pods.some(({ uid, certificate }) => uid.endsWith('Workload/shop/legacy') && certificate),
  );
  assert.equal(
    await until(
      'the Workload responds',
      30_000,
      async () => (await ask('10.96.0.10', 9000)) === 'here' && 'here',
    ),
    'here',
  );
  const { path, destination, service } = await latest('10.96.0.10:9000', (one) => one.path !== 'refused');
  assert.equal(path, 'hbone');
  assert.equal(destination.identity, 'spiffe://cluster.local/ns/shop/sa/legacy');
  assert.equal(service, 'api.shop.svc.cluster.local');
});

test('a Workload that names the netns of a running pod, a process, a FIFO or the node is refused; the pod keeps its identity', async () => {
  const cookieOf = (): unknown => readdirSync('/sys/fs/bpf/weft/node-a/pods').sort();
  const before = cookieOf();
  const fifo = '/run/netns/weft-t-fifo';
  execFileSync('mkfifo', [fifo]);
  const web = testbed.start('web', 'weft-web', 'sleep', ['600']);
  const file = join(mesh.manifests, 'evil.yaml');
  const places = {
    pod: 'weft-web',
    fifo,
    process: `/proc/${web.pid}/ns/net`,
    node: 'weft-node-a',
    machine: '/proc/1/ns/net',
  };
  try {
    writeFileSync(
      file,
      [
        'kind: Namespace\nmetadata: { name: evil, labels: { weft.dev/mesh: enabled } }\n',
        ...Object.entries(places).map(
          ([name, netns], i) => `apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: ${name}, namespace: evil }
spec: { node: node-a, addresses: [10.244.1.${100 + i}], netns: '${netns}' }
`,
        ),
      ].join('---\n'),
    );
    const waiting = await until('all of them wait', 30_000, () => {
      const entries = Object.entries(testbed.readyState('node-a').waiting ?? {});
      return entries.length === Object.keys(places).length && entries;
    });
    const why = (name: string): string => waiting.find(([uid]) => uid.endsWith(`/${name}`))?.[1] ?? '';
    assert.match(why('pod'), /belongs to Kubernetes\/\/Pod\/shop\/web/);
    assert.match(why('fifo'), /is not a network namespace/);
    assert.match(why('node'), /node's own network namespace/);
    for (const name of ['process', 'machine'])
      assert.match(why(name), /not in a directory that this machine allows/);
    assert.deepEqual(cookieOf(), before);
    assert.equal(await ask('10.96.0.10', 9000), 'here');
    const { source } = await latest('10.96.0.10:9000');
    assert.equal(source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
  } finally {
    rmSync(file);
    rmSync(fifo);
  }
  await testbed.waitReady();
  assert.deepEqual(cookieOf(), before);
  assert.equal(await ask('10.96.0.10', 9000), 'here');
  assert.equal((await latest('10.96.0.10:9000')).path, 'hbone', 'still captured');
  assert.equal((await latest('10.96.0.10:9000')).source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
});

test('pods that may not leave the mesh reach an ExternalService by name, and nothing else outside', async () => {
  // Outside the mesh, at an address that no resource has.
  for (const args of [
    ['-n', 'weft-node-b', 'addr', 'add', '192.0.2.1/32', 'dev', 'lo'],
    ['-n', 'weft-node-a', 'route', 'add', '192.0.2.1', 'via', '10.88.0.2'],
  ])
    await run('weft-node-a', 'ip', args);
  assert.equal(await ask('192.0.2.1', 8443), 'here');
  mesh.write(
    'settings.yaml',
    'apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { outboundUnknown: refuse }\n',
  );
  await until('the destination is refused', 30_000, async () => (await ask('192.0.2.1', 8443)) !== 'here');
  await latest('192.0.2.1:8443', ({ code }) => code === 'WEFT_DESTINATION_UNKNOWN');
  mesh.write(
    'pay.yaml',
    `apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: pay, namespace: shop }
spec: { host: pay.example.com, addresses: [198.51.100.1], ports: [{ port: 443, targetPort: 8443 }], endpoints: [{ address: 192.0.2.1 }] }
`,
  );
  await until(
    'the ExternalService is known',
    30_000,
    async () => (await ask('198.51.100.1', 443)) === 'here',
  );
  const { service, destination } = await latest('198.51.100.1:443', ({ path }) => path === 'plain');
  assert.equal(service, 'pay.example.com');
  assert.equal(destination.address, '192.0.2.1:8443');
});
