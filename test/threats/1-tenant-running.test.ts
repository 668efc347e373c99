/**
 * Row 1 of docs/security.md on running pods: namespace `evil` creates objects against pods of namespace `shop`, and deletes them. The
 * test observes shop's connections before, during and after: responses, paths, identities, policies.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { startWaypoint, stopWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionRecords } from '../support/records.js';

const state = '/run/weft/test-threat-tenant';
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
const given = join(projectRoot, 'test', 'threats', 'manifests', 'cross-namespace');
let testbed: Testbed;

const answerer = (port: number, word: string): string => `
import socket
s = socket.create_server(('::', ${port}), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
while True:
    c, _ = s.accept(); c.sendall(b'${word}'); c.close()
`;
/** What an application that connects and reads receives: a word, `end` or `refused`. */
async function ask(netns: string, ip: string, port: number): Promise<string> {
  const code = `import socket
try:
    s = socket.create_connection(('${ip}', ${port}), 4); print(s.recv(10).decode() or 'end')
except OSError as e: print('refused')
`;
  return (await run(netns, 'python3', ['-c', code])).stdout.trim();
}
const write = (file: string, text: string): void => writeFileSync(join(manifests, file), text);
const remove = (file: string): void => rmSync(join(manifests, file), { force: true });

/** The last connection record of the client's node for an address, reduced to the fields that are the same each time. */
async function lineOf(dialed: string, since: number): Promise<Partial<ConnectionRecord>> {
  const line = await until(`a line of ${dialed}`, 30_000, () =>
    connectionRecords(join(state, 'agent-node-a'))
      .slice(since)
      .findLast((one) => one.direction === 'outbound' && one.dialled === dialed),
  );
  const { path, why, service, policy, code } = line;
  const identities = [line.source.identity, line.destination.identity];
  return JSON.parse(JSON.stringify({ path, why, service, policy, code, identities })) as object;
}

/** Everything about shop's connections that the tenant must not change. */
async function observe(): Promise<Record<string, unknown>> {
  const since = connectionRecords(join(state, 'agent-node-a')).length;
  const dialed: readonly (readonly [string, number])[] = [
    ['10.96.0.10', 80],
    ['10.244.2.10', 8080],
    ['192.0.2.1', 8443],
  ];
  const found: Record<string, unknown> = {};
  for (const [ip, port] of dialed) {
    found[`web to ${ip}:${port}`] = await ask('weft-web', ip, port);
    found[`line of web to ${ip}:${port}`] = await lineOf(`${ip}:${port}`, since);
  }
  for (const netns of ['weft-intruder', 'weft-evil'])
    for (const [ip, port] of dialed.slice(0, 2))
      found[`${netns} to ${ip}:${port}`] = await ask(netns, ip, port);
  found['a name that evil gives'] = await ask('weft-web', '198.51.100.99', 8080);
  return found;
}
/** An ExternalService of evil: once an agent has it, the agent has all earlier updates. */
const marker = (n: number): string => `---
apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: marker-${n}, namespace: evil }
spec: { addresses: [198.51.100.${n}], ports: [{ port: 8080 }], endpoints: [{ address: 10.244.1.65 }] }
`;
let usual: Record<string, unknown>;
let markers = 0;
async function whileThere(text: string, then: () => Promise<void>): Promise<void> {
  const n = ++markers;
  write('evil.yaml', `${text}\n${marker(n)}`);
  await until('names of evil resolve for evil', 30_000, async () => {
    return (await ask('weft-evil', `198.51.100.${n}`, 8080)) === 'evil';
  });
  try {
    await then();
  } finally {
    remove('evil.yaml');
  }
  await until('it is gone', 30_000, async () => (await ask('weft-evil', `198.51.100.${n}`, 8080)) !== 'evil');
  assert.deepEqual(await observe(), usual, 'after the objects are deleted');
}

before(async () => {
  await tearDown(state);
  for (const file of ['mesh.yaml', 'namespaces.yaml']) cpSync(join(given, file), join(manifests, file));
  testbed = Testbed.create({ from: manifests, state });
  testbed.start('api', 'weft-api', 'python3', ['-c', answerer(8080, 'api')]);
  testbed.start('own', 'weft-evil', 'python3', ['-c', answerer(8080, 'evil')]);
  testbed.start('outside', 'weft-node-b', 'python3', ['-c', answerer(8443, 'outside')]);
  // Outside of the mesh, at an address that no object names.
  for (const args of [
    ['-n', 'weft-node-b', 'addr', 'add', '192.0.2.1/32', 'dev', 'lo'],
    ['-n', 'weft-node-a', 'route', 'add', '192.0.2.1', 'via', '10.88.0.2'],
    // Connections to addresses outside of the cluster fail at once here, not by a timeout.
    ['-n', 'weft-node-a', 'route', 'add', 'unreachable', '198.51.100.0/24'],
  ])
    await run('weft-node-a', 'ip', args);
  await testbed.up();
  await until('api answers web', 30_000, async () => (await ask('weft-web', '10.96.0.10', 80)) === 'api');
  usual = await observe();
});
after(async () => {
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

test('before the attacks, api responds to web under its identity, and to no other client', () => {
  assert.equal(usual['web to 10.96.0.10:80'], 'api');
  assert.equal(usual['web to 192.0.2.1:8443'], 'outside');
  for (const netns of ['weft-intruder', 'weft-evil'])
    assert.notEqual(usual[`${netns} to 10.96.0.10:80`], 'api');
  assert.deepEqual(usual['line of web to 10.96.0.10:80'], {
    path: 'hbone',
    why: 'other-node',
    service: 'api.shop.svc.cluster.local',
    identities: ['spiffe://cluster.local/ns/shop/sa/web', 'spiffe://cluster.local/ns/shop/sa/api'],
  });
  assert.equal(usual['a name that evil gives'], 'refused');
});

const input = readFileSync(join(given, 'evil.yaml'), 'utf8');
const head = (kind: string, name: string): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: ${kind}\nmetadata: { name: ${name}, namespace: evil, labels: { app: trap } }\n`;
const external = (name: string, address: string): string =>
  `${head('ExternalService', name)}spec: { addresses: [${address}], ports: [{ port: 80 }, { port: 8080 }, { port: 8443, targetPort: 8080 }], endpoints: [{ address: 10.244.1.65 }] }\n`;
const attacks: Readonly<Record<string, string>> = {
  'a Workload that names its address, behind a Service with a waypoint': input,
  'a Workload on a Node of the cluster that names its network namespace and address': `${head('Workload', 'taker')}spec: { node: node-b, addresses: [10.244.2.10], netns: weft-api }\n`,
  'a Workload on a Node of the cluster that names its network namespace and another address': `${head('Workload', 'taker')}spec: { node: node-b, addresses: [10.244.2.99], netns: weft-api }\n`,
  'ExternalServices at its address, its Service’s, a Node’s, and one outside of the cluster': [
    '10.244.2.10',
    '10.96.0.10',
    '10.88.0.2',
    '192.0.2.1',
    '198.51.100.99',
  ]
    .map((address, i) => external(`x-${i}`, address))
    .join('---\n'),
  'two ExternalServices at one address outside of the cluster': [
    external('a', '192.0.2.1'),
    external('b', '192.0.2.1'),
  ].join('---\n'),
  'a headless Service that selects nothing, and one with an ExternalName': `kind: Service
metadata: { name: headless, namespace: evil, labels: { weft.dev/waypoint: waypoint } }
spec: { selector: {}, clusterIPs: [None], ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
kind: Service
metadata: { name: named, namespace: evil, labels: { weft.dev/waypoint: waypoint } }
spec: { type: ExternalName, externalName: api.shop.svc.cluster.local, externalIPs: [10.244.2.10], ports: [{ name: http, port: 80 }] }
`,
};
for (const [attack, text] of Object.entries(attacks)) {
  test(`a running pod and its clients are unaffected by ${attack}`, async () => {
    await whileThere(text, async () => {
      assert.deepEqual(await observe(), usual, 'while the objects exist');
      // An agent changes its pods some time after it has received an update.
      await sleep(1_500);
      assert.equal(await ask('weft-web', '10.96.0.10', 80), 'api');
      const pods = testbed.readyState('node-b').pods.filter(({ certificate }) => certificate);
      assert.deepEqual(
        pods.map(({ uid }) => uid),
        ['Kubernetes//Pod/shop/api'],
      );
    });
  });
}

test("the control plane logs the objects that lose a conflict, without names of another namespace's objects", () => {
  const log = testbed.log('control');
  assert.match(
    log,
    /Workload evil\/trap is not in force as it is written: address 10\.244\.2\.10 belongs to a Pod/,
  );
  assert.match(log, /Workload evil\/taker is not in force as it is written: node-b is a Node of the cluster/);
  assert.match(
    log,
    /ExternalService evil\/x-2 is not in force as it is written: address 10\.88\.0\.2 belongs to a Node/,
  );
  assert.match(
    log,
    /ExternalService evil\/b is not in force as it is written: address 192\.0\.2\.1 belongs to ExternalService evil\/a/,
  );
});

test("a running waypoint of evil does not lead to a pod of shop, and shop's clients do not use it", async () => {
  const place: WaypointReplica = { namespace: 'evil', name: 'waypoint', node: 'node-a', workers: 1 };
  const [, ...documents] = input.split(/^---$/m);
  write('gateway.yaml', documents.filter((one) => one.includes('kind: Gateway')).join('---'));
  await startWaypoint(testbed, place);
  try {
    await whileThere(documents.filter((one) => !one.includes('kind: Gateway')).join('---'), async () => {
      assert.deepEqual(await observe(), usual, 'while the objects exist');
      // Evil's own Service leads nowhere either: its only endpoint belongs to no pod.
      assert.notEqual(await ask('weft-evil', '10.96.0.66', 80), 'api');
    });
  } finally {
    await stopWaypoint(testbed, place);
  }
});
