/**
 * Row 10 of docs/security.md: after an agent, waypoint or control plane is killed at any instruction, a pod is captured and refused, or
 * works through the mesh. It never has plaintext connections or verdicts past their lease, and no key is on the disk.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { agentProcess } from '../../src/cli/standalone/testbed.js';
import { startWaypoint, stopWaypoint } from '../../src/cli/standalone/waypoint.js';
import { projectRoot } from '../../native/index.js';
import { otherBuild, type OtherBuild } from '../support/other-build.js';
import { cacheIp, WatchedMesh } from './support/watched-mesh.js';

const agent = agentProcess('node-a');
const leaseMs = 2_000;
const kills = 20;
/** Log messages of the agent that takes over. */
const handoverSteps = [
  'this agent prepares to take it over',
  'this agent takes the node over',
  'pod enrolled',
  'agent started',
];
const otherProgram = (): string => other.agent;
let mesh: WatchedMesh;
let other: OtherBuild;

before(async () => {
  other = otherBuild(['weft_sock']);
  mesh = await WatchedMesh.up('/run/weft/test-killed', {
    agentFlags: ['--verdict-lease-ms', String(leaseMs)],
  });
});
after(async () => {
  await mesh.down();
  other.remove();
});

const quiet = async (): Promise<void> => {
  const { attempts } = mesh;
  await until('the probes have made attempts since', 30_000, () => mesh.attempts > attempts + 5);
  assert.deepEqual(mesh.leaks(), []);
};
const works = async (): Promise<void> => {
  await mesh.testbed.waitReady();
  assert.equal(
    await until('the mesh works', 30_000, async () => (await mesh.call()) === 'here' && 'here'),
    'here',
  );
};

test('an agent killed at any moment of a start, an enrollment, a release or an upgrade: no captured pod gets plaintext', async () => {
  const labels = join(mesh.manifests, 'cache-2.yaml');
  const whole = join(mesh.manifests, 'mesh.yaml');
  // One pod is enrolled and unenrolled all the time.
  const rest = readFileSync(whole, 'utf8')
    .split(/^---$/m)
    .filter((document) => !document.includes('name: cache-2, namespace: shop'));
  writeFileSync(whole, rest.join('---'));
  // The delays are random on purpose: over many runs every instruction is hit. Failures report the seed, which reproduces the delays.
  const seed = Date.now() % 100_000;
  const delays = Array.from({ length: kills }, (_, i) => ((seed + 1) * (i + 7) * 7919) % 2_500);
  for (const [i, delayMs] of delays.entries()) {
    const program = i % 3 === 2 ? other.agent : undefined;
    await mesh.testbed.stop(agent, 'SIGKILL');
    const where = `seed ${seed}, kill ${i} after ${delayMs} ms of ${program ? 'another' : 'this'} build`;
    assert.deepEqual(mesh.leaks(), [], where);
    mesh.testbed.startAgent('node-a', program);
    // The pod's settings change while the agent starts: enrollment, change and upgrade happen at once.
    writeFileSync(
      labels,
      `apiVersion: v1
kind: Pod
metadata:
  name: cache-2
  namespace: shop
  labels: { app: cache, weft.dev/mesh: ${i % 2 === 0 ? 'enabled' : 'disabled'} }
  annotations: { weft.dev/netns: weft-cache-2, weft.dev/exclude-inbound-ports: "${7000 + i}" }
spec: { nodeName: node-a, serviceAccountName: cache }
status: { podIPs: [{ ip: 10.244.1.13 }] }
`,
    );
    await sleep(delayMs);
  }
  const logged = mesh.testbed.log(agent);
  await mesh.testbed.stop(agent, 'SIGKILL');
  await quiet();
  assert.match(logged, /pod enrolled/);
  mesh.testbed.startAgent('node-a');
  await works();
  await quiet();
});

test('either of two agents killed at each step of a handover: no pod gets plaintext, and the other agent keeps or takes the node', async () => {
  await works();
  const next = `${agent}-next`;
  // The delay after each step differs in each run, to kill between the steps too. Failures report it.
  const seed = Date.now() % 1_000;
  const cases = handoverSteps.flatMap((step) => [
    { step, killed: next, other: agent },
    { step, killed: agent, other: next },
  ]);
  for (const [i, { step, killed, other }] of cases.entries()) {
    const delayMs = ((seed + 1) * (i + 7) * 7919) % 150;
    const where = `${killed} killed ${delayMs} ms after ${step}`;
    const before = mesh.testbed.log(next).length;
    mesh.testbed.startAgent('node-a', i % 4 === 3 ? otherProgram() : undefined, next);
    await until(where, 30_000, () => mesh.testbed.log(next).slice(before).includes(step), 2);
    await sleep(delayMs);
    await mesh.testbed.stop(killed, 'SIGKILL');
    assert.deepEqual(mesh.leaks(), [], where);
    const survivor = mesh.testbed.mark(other)?.pid;
    await until(`the other agent has the node: ${where}`, 60_000, () => {
      mesh.testbed.died(other);
      const { ready, pid } = mesh.testbed.readyState('node-a');
      return ready && pid === survivor;
    });
    const answered = await until(where, 30_000, async () => (await mesh.call()) === 'here' && 'here');
    assert.equal(answered, 'here');
    if (other === next) mesh.testbed.rename(next, agent);
    assert.deepEqual(mesh.leaks(), [], where);
  }
  await quiet();
});

test('a killed agent: its verdicts in the kernel end with the lease, and new connections are then refused', async () => {
  await works();
  await until('the connection is a kernel flow', 30_000, async () => {
    assert.equal(await mesh.call(), 'here');
    return mesh.testbed.log(agent) !== '';
  });
  await mesh.testbed.stop(agent, 'SIGKILL');
  const killedMs = Date.now();
  await until(
    'connections are refused',
    leaseMs + 15_000,
    async () => (await mesh.call()) === 'ECONNREFUSED',
  );
  assert.ok(Date.now() - killedMs < leaseMs + 10_000, 'not long after the lease');
  for (let i = 0; i < 5; i++) assert.equal(await mesh.call(), 'ECONNREFUSED');
  await quiet();
  mesh.testbed.startAgent('node-a');
  await works();
});

test('a killed control plane: agents continue with what they have, pods stay as they are, also after a kill of the agent', async () => {
  await mesh.testbed.stop('control', 'SIGKILL');
  assert.equal(await mesh.call(), 'here');
  await mesh.testbed.stop(agent, 'SIGKILL');
  mesh.testbed.startAgent('node-a');
  await sleep(leaseMs + 2_000);
  // The new agent has no policies, so it enrolls no pod and releases none.
  assert.equal(await mesh.call(), 'ECONNREFUSED');
  await quiet();
  await mesh.testbed.startControl();
  await works();
  await quiet();
});

test('a killed waypoint: its Service is closed, at its address and its endpoints, also while agents restart', async () => {
  const place = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
  const vip = '10.96.0.50';
  const example = join(projectRoot, 'docs', 'examples', 'waypoint', 'gateway.yaml');
  writeFileSync(join(mesh.manifests, 'gateway.yaml'), readFileSync(example, 'utf8'));
  writeFileSync(
    join(mesh.manifests, 'held.yaml'),
    `kind: Service
metadata: { name: held, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec: { selector: { app: cache }, clusterIPs: [${vip}], ports: [{ name: tcp-held, port: 9000 }] }
`,
  );
  // Only one endpoint has a server; the other one is removed, since it would refuse.
  writeFileSync(join(mesh.manifests, 'cache-2.yaml'), '');
  await startWaypoint(mesh.testbed, place);
  await until('the waypoint responds', 30_000, async () => (await mesh.call('weft-web', vip)) === 'here');
  await stopWaypoint(mesh.testbed, place, 'SIGKILL');
  const closed = async (): Promise<void> => {
    for (const ip of [vip, cacheIp])
      for (const from of ['weft-web', 'weft-intruder'])
        assert.notEqual(await mesh.call(from, ip), 'here', `${from} reached ${ip}`);
  };
  await closed();
  await mesh.testbed.stop(agent, 'SIGKILL');
  await closed();
  mesh.testbed.startAgent('node-a');
  await mesh.testbed.waitReady();
  await closed();
  await quiet();
});

test('no key is on the disk of an agent, killed or not, and only root can read its files', () => {
  const run = mesh.testbed.runDir('node-a');
  for (const name of readdirSync(run, { recursive: true, encoding: 'utf8' })) {
    const path = join(run, name);
    if (!statSync(path).isFile()) continue;
    assert.doesNotMatch(readFileSync(path, 'utf8'), /PRIVATE KEY/, path);
  }
  assert.doesNotMatch(mesh.testbed.log(agent), /PRIVATE KEY/);
  const token = statSync(join(mesh.testbed.state, 'token-node-a'));
  assert.equal(token.mode & 0o077, 0);
  // The CA key is on the control plane's disk.
  for (const name of readdirSync(mesh.testbed.controlState(), { recursive: true, encoding: 'utf8' })) {
    const path = join(mesh.testbed.controlState(), name);
    const about = statSync(path);
    if (about.isFile() && /PRIVATE KEY/.test(readFileSync(path, 'utf8')))
      assert.equal(about.mode & 0o077, 0, path);
  }
});
