/** A Service uses another namespace's waypoint only while its Gateway allows it. Without that consent the Service is closed, never open. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { accessLogOf, startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { connectionRecords } from '../support/records.js';

const state = '/run/weft/test-waypoint-consent';
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
const demo = join(projectRoot, 'src', 'cli', 'demo', 'manifests');
const place: WaypointReplica = {
  namespace: 'infra',
  name: 'shared',
  node: 'node-b',
  workers: 1,
  flags: ['--access-log-mode', 'all'],
};
const vip = '10.96.0.70';
const podIp = '10.244.2.10';
let testbed: Testbed;

const write = (file: string, text: string): void => writeFileSync(join(manifests, file), text);
const namespace = (name: string, labels = ''): string =>
  `kind: Namespace\nmetadata: { name: ${name}, labels: { weft.dev/mesh: enabled${labels} } }\n`;
const gateway = (allowedRoutes: string): void =>
  write(
    'gateway.yaml',
    `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: shared, namespace: infra }
spec:
  gatewayClassName: weft-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE${allowedRoutes} }]
`,
  );
async function status(ip: string, port: number): Promise<number> {
  const url = `http://${ip}:${port}/`;
  const args = ['-sS', '-o', '/dev/null', '-m', '6', '--noproxy', '*', '-w', '%{http_code}', url];
  return Number((await run('weft-web', 'curl', args)).stdout);
}
const becomes = (wanted: number): Promise<unknown> =>
  until(`${vip} says ${wanted}`, 30_000, async () => (await status(vip, 80)) === wanted);
const requestsThrough = (): number =>
  readFileSync(accessLogOf(testbed, place), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"status":200')).length;

before(async () => {
  await tearDown(state);
  cpSync(join(demo, 'mesh.yaml'), join(manifests, 'mesh.yaml'));
  write('shop.yaml', namespace('shop'));
  write('infra.yaml', namespace('infra'));
  gateway('');
  write(
    'service.yaml',
    `kind: Service
metadata: { name: through-infra, namespace: shop, labels: { weft.dev/waypoint: shared, weft.dev/waypoint-namespace: infra } }
spec:
  selector: { app: api }
  clusterIPs: [${vip}]
  ports: [{ name: http, port: 80, targetPort: 8080 }]
`,
  );
  testbed = Testbed.create({ from: manifests, state });
  testbed.start('api', 'weft-api', process.execPath, [
    join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js'),
    'api',
    '8080',
  ]);
  await testbed.up();
  await startWaypoint(testbed, place);
});
after(async () => {
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

test('without consent the Service is closed, by its own address and by its pod’s, and the refusal says why', async () => {
  const line = await until('the refusal is logged', 30_000, async () => {
    assert.equal(await status(vip, 80), 0);
    return connectionRecords(join(state, 'agent-node-a')).findLast(
      ({ code }) => code === 'WEFT_WAYPOINT_NOT_ALLOWED',
    );
  });
  assert.match(String(line.why), /infra\/shared, whose Gateway does not admit its namespace/);
  assert.equal(await status(podIp, 8080), 0);
  assert.equal(requestsThrough(), 0);
});

test('with consent its requests go through the waypoint', async () => {
  gateway(', allowedRoutes: { namespaces: { from: All } }');
  await becomes(200);
  assert.equal(await status(podIp, 8080), 200);
  await until('the waypoint has seen them', 30_000, () => requestsThrough() >= 2);
});

test('revoked consent ends the connections that it admitted', async () => {
  const asking = "s.sendall(b'GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n')";
  const code = `import socket, sys
s = socket.create_connection(('${vip}', 80), 6)
${asking}
print(s.recv(4096).split()[1].decode(), flush=True)
sys.stdin.readline()
try:
    ${asking}
    s.settimeout(6)
    print((s.recv(4096) or b'x closed').split()[1].decode(), flush=True)
except OSError: print('closed', flush=True)
`;
  const child = spawn('ip', ['netns', 'exec', 'weft-web', 'python3', '-c', code], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
  await until('the request is answered', 30_000, () => said.trim() === '200');
  gateway('');
  await becomes(0);
  child.stdin.write('\n');
  const [, second] = await until('the connection has ended', 30_000, () => {
    const lines = said.trim().split('\n');
    return lines.length === 2 && lines;
  });
  assert.notEqual(second, '200');
});

test('revoked consent closes the Service again; a Namespace label that the Gateway selects opens it', async () => {
  gateway(', allowedRoutes: { namespaces: { from: Selector, selector: { matchLabels: { tier: web } } } }');
  await becomes(0);
  assert.equal(await status(podIp, 8080), 0);
  write('shop.yaml', namespace('shop', ', tier: web'));
  await becomes(200);
  write('shop.yaml', namespace('shop', ', tier: db'));
  await becomes(0);
});

test('a deleted Gateway admits no Service, although its pods still run', async () => {
  gateway(', allowedRoutes: { namespaces: { from: All } }');
  await becomes(200);
  rmSync(join(manifests, 'gateway.yaml'));
  await becomes(0);
  assert.equal(await status(podIp, 8080), 0);
});
