/** Audit mode of a namespace: on every path, nothing is refused by its policies and everything is recorded; those of the mesh are enforced. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { load } from '../../src/cli/demo/stage.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';

const mesh = new DemoMesh('audit');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
let testbed: Testbed;

const intruder = 'spiffe://cluster.local/ns/shop/sa/intruder';
const policies = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: web-only, namespace: shop }
spec:
  action: ALLOW
  rules: [{ from: [{ serviceAccounts: [shop/web, shop/waypoint] }] }]
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-posts, namespace: shop }
spec:
  action: DENY
  targetRefs: [{ group: '', kind: Service, name: echo }]
  rules: [{ to: [{ methods: [POST] }] }]
`;
/** Of the mesh: intruder may not dial port 9000 of anybody. */
const ofMesh = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-9000, namespace: weft-system }
spec: { action: DENY, rules: [{ from: [{ serviceAccounts: [shop/intruder] }], to: [{ ports: [9000] }] }] }
`;

/** The status of a response, or 000. */
async function ask(netns: string, url: string, ...more: string[]): Promise<string> {
  const args = ['-sS', '-m', '10', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}', ...more];
  return (await run(netns, 'curl', [...args, url], 20_000)).stdout;
}

/** What the policies of shop forbid, by the path that it takes. */
const forbidden: readonly (readonly [path: string, () => Promise<string>, refused: string])[] = [
  ['across nodes', () => ask('weft-intruder', 'http://10.96.0.10/'), '000'],
  ['on one node, by the kernel', () => ask('weft-intruder', 'http://10.96.0.12:6379/'), '000'],
  ['plaintext from outside of the mesh', () => ask('weft-node-a', 'http://10.244.2.10:8080/'), '000'],
  ['a request at the waypoint, by method', () => ask('weft-web', 'http://10.96.0.20/', '-d', 'x'), '403'],
  ['a request at the waypoint, by identity', () => ask('weft-intruder', 'http://10.96.0.20/'), '403'],
];
const become = (isRefused: boolean): Promise<unknown> =>
  until(`everything that policies forbid is ${isRefused ? 'refused' : 'allowed'}`, 30_000, async () => {
    const seen = await Promise.all(forbidden.map(([, one]) => one()));
    return seen.every((status, i) => status === (isRefused ? forbidden[i]?.[2] : '200'));
  });

function records(node: string): ConnectionRecord[] {
  const path = join(testbed.runDir(node), 'connections.log');
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ConnectionRecord);
}

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  const servers = [
    ['weft-echo-v1', 8080],
    ['weft-echo-v2', 8080],
    ['weft-api', 8080],
    ['weft-api', 9000],
    ['weft-cache', 6379],
    ['weft-cache-2', 6379],
  ] as const;
  for (const [netns, port] of servers)
    testbed.start(`${netns}-${port}`, netns, process.execPath, [echo, netns, String(port)]);
  await testbed.up();
  await startWaypoint(testbed, waypoint);
  for (const [netns, port] of servers) await listening(netns, port);
  await become(false);
});
after(() => mesh.remove());

test('in audit mode the policies of the namespace and its strict mode refuse nothing on any path, and are recorded; the mesh’s are enforced', async () => {
  mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict, weft.dev/policy-mode: audit');
  mesh.write('policies.yaml', policies);
  mesh.write('mesh-policy.yaml', ofMesh);
  await until('the policy of the mesh is enforced', 30_000, async () => {
    return (await ask('weft-intruder', 'http://10.96.0.10:9000/')) === '000';
  });
  await until('the policies of shop are evaluated', 30_000, async () => {
    assert.equal(await ask('weft-intruder', 'http://10.96.0.10/'), '200');
    return records('node-b').some(({ audited }) => audited?.includes('shop/web-only'));
  });
  for (const [path, one] of forbidden) assert.equal(await one(), '200', path);
  const audited = (node: string, find: (one: ConnectionRecord) => boolean): Promise<unknown> =>
    until('it is recorded', 30_000, () => records(node).some(find));
  await audited('node-a', (one) => {
    return (
      one.source.identity === intruder &&
      one.destination.workload.startsWith('cache') &&
      (one.audited ?? []).includes('shop/web-only')
    );
  });
  await audited('node-b', (one) => (one.audited ?? []).includes('shop/weft-strict-namespace'));
  assert.equal(await ask('weft-intruder', 'http://10.96.0.10:9000/'), '000', 'the mesh’s policy');
});

test('enforced, the same is refused on each path', async () => {
  mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict');
  await become(true);
  assert.equal(await ask('weft-web', 'http://10.96.0.10/'), '200');
  assert.equal(await ask('weft-web', 'http://10.96.0.20/'), '200');
});

test('audit mode switched under load fails no request that policies allow', async () => {
  const [toApi, toEcho] = [load('http://10.96.0.10/'), load('http://10.96.0.20/')];
  const more = async (): Promise<void> => {
    const before = [toApi.answered(), toEcho.answered()];
    await until('both are answered meanwhile', 30_000, () =>
      [toApi, toEcho].every((one, i) => one.answered() >= (before[i] ?? 0) + 20),
    );
  };
  for (let turn = 0; turn < 3; turn++) {
    mesh.namespace('weft.dev/mesh: enabled, weft.dev/policy-mode: audit');
    await become(false);
    await more();
    mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict, weft.dev/policy-mode: enforce');
    await become(true);
    await more();
  }
  for (const one of [toApi, toEcho]) {
    const { answered, failures } = await one.stop();
    assert.ok(answered > 100, `${answered} responses`);
    assert.deepEqual(failures, {});
  }
});

test('the mesh in audit mode enforces no policy of the root namespace, either', async () => {
  mesh.write(
    'settings.yaml',
    'apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { policyMode: audit }\n',
  );
  await become(false);
  await until('the policy of the mesh is recorded only', 30_000, async () => {
    return (await ask('weft-intruder', 'http://10.96.0.10:9000/')) === '200';
  });
});
