/**
 * Row 4 of docs/security.md, the relay: an unauthenticated client reaches a pod's ports 15001, 15006 and 15008, an agent's 15000, 15020
 * and 15021, or a waypoint's 15008 and 15020. `outsider` is a pod outside of the mesh.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { version } from '../../src/base/version.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import {
  startWaypoint,
  waypointNetns,
  waypointProcess,
  type WaypointReplica,
} from '../../src/cli/standalone/waypoint.js';
import { echo } from '../support/echo.js';
import { Programs } from '../support/proc.js';

const state = '/run/weft/test-unauthenticated';
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
const cache = '10.244.1.12';
const nodeA = '10.88.0.1';
const token = join(manifests, 'metrics-token');
const gateway: WaypointReplica = {
  namespace: 'shop',
  name: 'waypoint',
  node: 'node-b',
  flags: ['--metrics-token', token],
};
const waypointIp = '10.244.2.200';
const programs = new Programs();
let testbed: Testbed;

const outsider = `
apiVersion: v1
kind: Pod
metadata: { name: outsider, namespace: shop, labels: { weft.dev/mesh: disabled }, annotations: { weft.dev/netns: weft-outsider } }
spec: { nodeName: node-b, serviceAccountName: outsider }
status: { podIPs: [{ ip: 10.244.2.20 }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: confidential-policy, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ serviceAccounts: [shop/intruder] }] }] }
`;

async function client(netns: string, code: string, timeoutMs = 30_000): Promise<string> {
  const result = await run(netns, 'python3', ['-c', `import socket, os, select, time\n${code}`], timeoutMs);
  return result.code === 0 ? result.stdout.trim() : (result.stderr.trim().split('\n').at(-1) ?? '');
}
const ping = (netns: string, ip: string): Promise<string> =>
  client(
    netns,
    `s = socket.create_connection(('${ip}', 9000), 4); s.sendall(b'ping'); print(s.recv(10).decode())`,
  );
async function get(netns: string, url: string, ...more: string[]): Promise<string> {
  const { code, stdout } = await run(
    netns,
    'curl',
    ['-sS', '--noproxy', '*', '-m', '5', ...more, url],
    10_000,
  );
  return code === 0 ? stdout : '';
}
const agentPid = (): number => testbed.mark('agent-node-a')?.pid ?? 0;
const residentMiB = (): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${agentPid()}/status`, 'utf8'))?.[1]) / 1024;

before(async () => {
  await tearDown(state);
  cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  writeFileSync(join(manifests, 'outsider.yaml'), outsider);
  writeFileSync(token, 'a-token-of-prometheus\n');
  writeFileSync(
    join(manifests, 'namespace.yaml'),
    'kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict } }\n',
  );
  testbed = Testbed.create({ from: manifests, state, workers: 1, agentFlags: ['--metrics-token', token] });
  cpSync(join(projectRoot, 'docs', 'examples', 'waypoint', 'gateway.yaml'), join(manifests, 'gateway.yaml'));
  testbed.start('echo', 'weft-cache', 'python3', ['-c', echo, '9000']);
  await testbed.up();
});
after(async () => {
  await programs.end();
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

test("every connection to a pod's 15001 or 15006 is refused, without growing memory", async () => {
  const before = residentMiB();
  for (const netns of ['weft-outsider', 'weft-node-b']) {
    const answer = await client(
      netns,
      `refused = 0
for i in range(2000):
    s = socket.socket(); s.settimeout(4)
    try: s.connect(('${cache}', (15001, 15006)[i % 2])); s.sendall(b'x'); s.recv(1)
    except (ConnectionRefusedError, ConnectionResetError): refused += 1
    s.close()
print(refused)`,
    );
    assert.equal(answer, '2000');
  }
  assert.ok(residentMiB() - before < 100, `${residentMiB() - before} MiB`);
  assert.equal(await ping('weft-api', cache), 'ping');
});

test('connections to 15008 without a certificate end within the handshake timeout, use bounded memory and block no other client', async () => {
  const before = residentMiB();
  const count = 1_500;
  const idle = await programs.start(
    'python3',
    [
      '-c',
      `import socket, select, time, os
held = {}
for i in range(${count}):
    s = socket.create_connection(('${cache}', 15008), 10)
    # Silent, half a TLS record, and no TLS at all.
    if i % 3: s.sendall((b'\\x16\\x03\\x01\\x40\\x00' + os.urandom(2000), b'PRI * HTTP/2.0\\r\\n\\r\\n')[i % 3 - 1])
    held[s.fileno()] = s
print('open', flush=True)
p = select.poll()
for f in held: p.register(f, select.POLLIN)
until = time.time() + 20
while held and time.time() < until:
    for f, _ in p.poll(1000):
        try: data = held[f].recv(4096)
        except OSError: data = b''
        if not data: p.unregister(f); held.pop(f).close()
print('left', len(held), flush=True)`,
    ],
    { netns: 'weft-outsider' },
  );
  await until('all connections are open', 30_000, () => {
    assert.equal(idle.child.exitCode, null, idle.stderr());
    return idle.stdout().includes('open');
  });
  assert.equal(await ping('weft-api', cache), 'ping');
  const grown = residentMiB() - before;
  assert.ok(grown < 250, `${grown} MiB`);
  // The line may arrive in two pieces.
  await until('all have ended', 30_000, () => /left \d/.test(idle.stdout()));
  assert.match(idle.stdout(), /left 0/);
  assert.equal(await ping('weft-api', cache), 'ping');
});

test("an agent's ports reveal no pod, principal, policy or version to remote clients", async () => {
  // Traffic, so that the metrics contain names.
  assert.equal(await ping('weft-web', cache), 'ping');
  assert.notEqual(await ping('weft-intruder', cache), 'ping');
  await until("the node's own metrics contain names", 30_000, async () => {
    const own = await get('weft-node-a', 'http://127.0.0.1:15020/metrics');
    return (
      /istio_tcp_connections_opened_total\{.*cache/.test(own) &&
      /weft_refused_total\{.*confidential-policy/.test(own)
    );
  });
  const names = new RegExp(
    `shop|spiffe|intruder|cache|confidential|istio_|version_info|version=|${version.replaceAll('.', '\\.')}|10\\.244|v${process.versions.node}`,
  );
  for (const netns of ['weft-outsider', 'weft-web', 'weft-node-b']) {
    const metrics = await get(netns, `http://${nodeA}:15020/metrics`);
    assert.match(metrics, /^weft_kernel_events\{reason="captured"\} \d+$/m);
    assert.equal(names.exec(metrics)?.[0], undefined);
    for (const path of ['15020/', '15021/healthz/ready', '15021/healthz/empty', '15021/', '15021/dump'])
      assert.doesNotMatch(await get(netns, `http://${nodeA}:${path}`), names);
    assert.equal(await get(netns, `http://${nodeA}:15000/dump`), '');
    const guess = ['-H', 'Authorization: Bearer a-token'];
    assert.doesNotMatch(await get(netns, `http://${nodeA}:15020/metrics`, ...guess), names);
  }
  const shown = ['-H', 'Authorization: Bearer a-token-of-prometheus'];
  assert.match(
    await get('weft-node-b', `http://${nodeA}:15020/metrics`, ...shown),
    /istio_tcp_connections_opened_total\{.*cache/,
  );
});

test("a waypoint's port reveals no name or version to remote clients, and responds while another client holds connections", async () => {
  await startWaypoint(testbed, gateway);
  const at = `http://${waypointIp}:15020`;
  const names = /shop|spiffe|istio_|version_info|version=|weft_refused/;
  assert.match(await get(waypointNetns(gateway), 'http://127.0.0.1:15020/metrics'), /istio_requests_total/);
  for (const more of [[], ['-H', 'Authorization: Bearer a-token']]) {
    const metrics = await get('weft-outsider', `${at}/metrics`, ...more);
    assert.match(metrics, /^weft_process_cpu_seconds_total /m);
    assert.equal(names.exec(metrics)?.[0], undefined);
  }
  const shown = ['-H', 'Authorization: Bearer a-token-of-prometheus'];
  assert.match(await get('weft-node-b', `${at}/metrics`, ...shown), /istio_requests_total/);
  const holder = await programs.start(
    'python3',
    [
      '-c',
      `import socket, time
held = []
while True:
    s = socket.socket(); s.settimeout(1)
    try: s.connect(('${waypointIp}', 15020)); held.append(s)
    except OSError: pass
    if len(held) == 600: print('held', flush=True)
    if len(held) > 900: held.pop(0).close()
    time.sleep(0.002)`,
    ],
    { netns: 'weft-outsider' },
  );
  await until('they are held', 30_000, () => holder.stdout().includes('held'));
  for (let i = 0; i < 5; i++)
    assert.equal(await get('weft-node-b', `${at}/healthz/ready`), 'ready\n', 'the probe of the node');
  holder.child.kill();
});

test("connections without a certificate fill a waypoint's log only at the documented rate", async () => {
  const file = join(state, `${waypointProcess(gateway)}.log`);
  const lines = (): number => readFileSync(file, 'utf8').split('WEFT_HBONE_TLS').length - 1;
  const before = lines();
  const began = Date.now();
  await client(
    'weft-outsider',
    `for i in range(4000):
    s = socket.create_connection(('${waypointIp}', 15008), 4); s.settimeout(4)
    s.sendall(b'no TLS at all, but long enough to be read as a record')
    try: s.recv(100)
    except OSError: pass
    s.close()`,
    60_000,
  );
  const written = lines() - before;
  const allowed = 1_000 + (50 * (Date.now() - began)) / 1_000 + 50;
  assert.ok(written > 0 && written <= allowed, `${written} lines in ${Date.now() - began} ms`);
  const metrics = await get('weft-outsider', `http://${waypointIp}:15020/metrics`);
  assert.match(metrics, /^weft_limit_reached_total\{limit="log-lines"\} [1-9]/m);
});

test("idle connections to an agent's ports are limited and end, and metrics are available again", async () => {
  const idle = await client(
    'weft-outsider',
    `held = []
for i in range(200):
    s = socket.socket(); s.settimeout(1)
    try: s.connect(('${nodeA}', 15020)); s.sendall(b'GET /metrics HTTP/1.1\\r\\n'); held.append(s)
    except OSError: pass
until, left = time.time() + 25, held
while left and time.time() < until:
    for s in select.select(left, [], [], 1)[0]:
        try: data = s.recv(4096)
        except OSError: data = b''
        if not data: left.remove(s)
print(len(left))`,
    60_000,
  );
  assert.equal(idle, '0');
  assert.match(await get('weft-outsider', `http://${nodeA}:15020/metrics`), /weft_kernel_events/);
});
