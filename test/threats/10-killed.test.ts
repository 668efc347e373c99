/**
 * Row 10 of docs/security.md: an agent, waypoint or control plane killed at any instruction leaves a pod captured and refused, or
 * working through the mesh; never plain, never by a verdict past its lease, never with a key on the disk.
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
/** Of the log of the agent that takes over. */
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
  await until('the probes have tried since', 30_000, () => mesh.attempts > attempts + 5);
  assert.deepEqual(mesh.leaks(), []);
};
const works = async (): Promise<void> => {
  await mesh.testbed.waitReady();
  assert.equal(await until('it works', 30_000, async () => (await mesh.call()) === 'here' && 'here'), 'here');
};

test('an agent killed at any moment of a start, an enrollment, a release, an upgrade: no pod is plain that was captured', async () => {
  const labels = join(mesh.manifests, 'cache-2.yaml');
  const whole = join(mesh.manifests, 'mesh.yaml');
  // One pod enters and leaves the mesh all the while.
  const rest = readFileSync(whole, 'utf8')
    .split(/^---$/m)
    .filter((document) => !document.includes('name: cache-2, namespace: shop'));
  writeFileSync(whole, rest.join('---'));
  // A random delay is the point: over many runs each instruction is met. The seed is told, for the same delays again.
  const seed = Date.now() % 100_000;
  const delays = Array.from({ length: kills }, (_, i) => ((seed + 1) * (i + 7) * 7919) % 2_500);
  for (const [i, delayMs] of delays.entries()) {
    const program = i % 3 === 2 ? other.agent : undefined;
    await mesh.testbed.stop(agent, 'SIGKILL');
    const where = `seed ${seed}, kill ${i} after ${delayMs} ms of ${program ? 'another' : 'this'} build`;
    assert.deepEqual(mesh.leaks(), [], where);
    mesh.testbed.startAgent('node-a', program);
    // Settings of each pod change while it starts: enrollment, change and upgrade are under way at once.
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

test('either of two agents killed at each step of a hand-over: no pod is plain, and the other has the node, or takes it', async () => {
  await works();
  const next = `${agent}-next`;
  // Between the steps too: the delay after each is another one in each run, and is told.
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
    await until(`the other has the node: ${where}`, 60_000, () => {
      mesh.testbed.died(other);
      const { ready, pid } = mesh.testbed.readyState('node-a');
      return ready && pid === survivor;
    });
    const answered = await until(where, 10_000, async () => (await mesh.call()) === 'here' && 'here');
    assert.equal(answered, 'here');
    if (other === next) mesh.testbed.rename(next, agent);
    assert.deepEqual(mesh.leaks(), [], where);
  }
  await quiet();
});

test('a killed agent: what the kernel was allowed ends with the lease, and what remains is refused', async () => {
  await works();
  await until('the kernel carries it', 30_000, async () => {
    assert.equal(await mesh.call(), 'here');
    return mesh.testbed.log(agent) !== '';
  });
  await mesh.testbed.stop(agent, 'SIGKILL');
  const killedMs = Date.now();
  await until('it is refused', leaseMs + 5_000, async () => (await mesh.call()) === 'ECONNREFUSED');
  assert.ok(Date.now() - killedMs < leaseMs + 3_000, 'not long after the lease');
  for (let i = 0; i < 5; i++) assert.equal(await mesh.call(), 'ECONNREFUSED');
  await quiet();
  mesh.testbed.startAgent('node-a');
  await works();
});

test('a killed control plane: agents go on by what they know, pods stay as they are, also across a kill of the agent', async () => {
  await mesh.testbed.stop('control', 'SIGKILL');
  assert.equal(await mesh.call(), 'here');
  await mesh.testbed.stop(agent, 'SIGKILL');
  mesh.testbed.startAgent('node-a');
  await sleep(leaseMs + 2_000);
  // It knows of no policy, so it enrolls nobody, and nobody is released.
  assert.equal(await mesh.call(), 'ECONNREFUSED');
  await quiet();
  await mesh.testbed.startControl();
  await works();
  await quiet();
});

test('a killed waypoint: its Service is closed, at its address and at its endpoints, also while agents start anew', async () => {
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
  // One endpoint with a server is enough, and the other would refuse.
  writeFileSync(join(mesh.manifests, 'cache-2.yaml'), '');
  await startWaypoint(mesh.testbed, place);
  await until('it answers', 30_000, async () => (await mesh.call('weft-web', vip)) === 'here');
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

test('no key is on the disk of an agent, killed or not, and its files are for root alone', () => {
  const run = mesh.testbed.runDir('node-a');
  for (const name of readdirSync(run, { recursive: true, encoding: 'utf8' })) {
    const path = join(run, name);
    if (!statSync(path).isFile()) continue;
    assert.doesNotMatch(readFileSync(path, 'utf8'), /PRIVATE KEY/, path);
  }
  assert.doesNotMatch(mesh.testbed.log(agent), /PRIVATE KEY/);
  const token = statSync(join(mesh.testbed.state, 'token-node-a'));
  assert.equal(token.mode & 0o077, 0);
  // The key of the mesh is the control plane's.
  for (const name of readdirSync(mesh.testbed.controlState(), { recursive: true, encoding: 'utf8' })) {
    const path = join(mesh.testbed.controlState(), name);
    const about = statSync(path);
    if (about.isFile() && /PRIVATE KEY/.test(readFileSync(path, 'utf8')))
      assert.equal(about.mode & 0o077, 0, path);
  }
});
