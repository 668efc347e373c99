/**
 * The carrier under load for a long time: policies change, pods come and go, and agents and carriers are killed. No byte is wrong: what is
 * interrupted ends with a reset, never as if it were whole. Afterwards nothing is left: no descriptor, memory, rule, flow, socket or row.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { State } from '../../daemonset/carrier/gen/carrier.js';
import { Datapath } from '../../daemonset/datapath/loader.js';
import { BpfMap } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { parseIp } from '../../src/model/address.js';
import { sh } from '../../src/cli/run.js';
import { carrierDirOf } from '../../src/cli/standalone/carrier.js';
import { agentProcess, carrierProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import { checkRelay, residentMiB, useRelay } from '../carrier/support/relays.js';
import { carrierState } from '../support/carrier-state.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { randomOf } from '../support/random.js';
import { buildSoak, connections, driveSoak, seconds, soakPort, type SoakOutcome } from '../support/soak.js';

const seed = Number(process.env['SOAK_SEED'] ?? Date.now() % 1_000_000_000);
/** Memory that a carrier may keep after load: the allocator does not return all of it. */
const keptMiBMax = 24;
/** Descriptors of tunnels that stay open for later connections. */
const spareDescriptorsMax = 24;
/** Outbound, inbound plaintext, HBONE. */
const listenersPerPod = 3;
const settleMsMax = 90_000;

const mesh = new DemoMesh('soak-carrier');
const api = '10.244.2.10';
const nodes = ['node-a', 'node-b'];
let program: string;
let testbed: Testbed;

const pidOf = (process: string): number => {
  testbed.died(process);
  return testbed.mark(process)?.pid ?? 0;
};
const carrierPid = (node: string): number => pidOf(carrierProcess(node));
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
/** What the descriptors of a process refer to, for messages. */
const openOf = (pid: number): string =>
  readdirSync(`/proc/${pid}/fd`)
    .map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return '';
      }
    })
    .sort()
    .join(' ');
const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
/** Descriptors of a node's carrier, of its broker and of its agent. */
const descriptors = (): Record<string, number> =>
  Object.fromEntries(
    nodes.flatMap((node) => {
      const carrier = carrierPid(node);
      const brokers = childrenOf(carrier);
      assert.equal(brokers.length, 1, `the broker of ${node}`);
      return [
        [`carrier of ${node}`, descriptorsOf(carrier)],
        [`broker of ${node}`, descriptorsOf(brokers[0] ?? 0)],
        [`agent of ${node}`, descriptorsOf(pidOf(agentProcess(node)))],
      ];
    }),
  );

/** Rows of handoff records and of live connections of a node. */
function rows(node: string): number {
  let count = 0;
  for (const table of ['weft_notes', 'weft_live']) {
    const map = new BpfMap(join(new Datapath(node).dir, table));
    count += map.keys().length;
    map.close();
  }
  return count;
}

/** Sockets of the pods and nodes, without those that only wait for late packets. */
function sockets(): string[] {
  return testbed.topology.nodes
    .flatMap(({ netns, pods }) => [netns, ...pods.map((pod) => pod.netns)])
    .flatMap((netns) =>
      sh('nsenter', [
        `--net=/run/netns/${netns}`,
        ...['ss', '-Htn', 'state', 'all', 'exclude', 'time-wait', 'exclude', 'listening'],
      ])
        .split('\n')
        .filter((line) => /:(9100|1500[168])\b/.test(line)),
    );
}
/** Sockets of applications' connections, at either end, and not of tunnels. */
const ofApplications = (): string[] => sockets().filter((line) => !/:15008\b/.test(line));

const drive = (forSeconds: number): Promise<SoakOutcome> =>
  driveSoak(program, 'weft-web', api, { count: connections, forSeconds, seed });

/** A state is what a new agent gets. The true agent connects again. */
const stateOf = (node: string): Promise<State> =>
  carrierState(join(carrierDirOf(testbed.state, node), 'carrier.sock'));

const deny = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-churn, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ serviceAccounts: [shop/churn] }] }] }
`;
const churned = 3;
/** Pods whose connections are open when a policy forbids them, and when the pods disappear. */
async function churn(turn: number): Promise<void> {
  const pods = Array.from({ length: churned }, (_, i) => ({
    name: `churn-${i}`,
    netns: `weft-churn-${i}`,
    addresses: [parseIp(`10.244.1.${100 + ((turn * churned + i) % 100)}`)],
  }));
  for (const pod of pods) testbed.addPod('node-a', pod);
  mesh.write(
    'churn.yaml',
    pods
      .map(
        ({ name, netns, addresses: [ip] }) => `apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: shop, annotations: { weft.dev/netns: ${netns} } }
spec: { nodeName: node-a, serviceAccountName: churn }
status: { podIPs: [{ ip: ${ip} }] }
`,
      )
      .join('---\n'),
  );
  const has = (count: number): boolean =>
    testbed.readyState('node-a').pods.filter(({ uid, certificate }) => uid.includes('/churn-') && certificate)
      .length === count;
  await until('the pods are enrolled', settleMsMax, () => has(churned));
  const held = pods.map(({ netns }) =>
    driveSoak(program, netns, api, { count: 10, forSeconds: 1, seed: seed + turn }),
  );
  await sleep(500);
  mesh.write('policy.yaml', deny);
  await sleep(700);
  mesh.write('policy.yaml', '');
  const ends = await Promise.all(held);
  // What a policy cuts is refused or reset, never short.
  for (const { wrong, stuck } of ends)
    assert.deepEqual({ wrong, stuck }, { wrong: 0, stuck: 0 }, `seed ${seed}, turn ${turn}`);
  mesh.write('churn.yaml', '');
  for (const { netns } of pods) sh('ip', ['netns', 'del', netns]);
  await until('the pods have left', settleMsMax, () => has(0));
}

const until_ = async (what: string, check: () => string): Promise<void> => {
  let problem = '';
  await until(what, settleMsMax, () => (problem = check()) === '', 500).catch((error: unknown) => {
    throw new Error(`seed ${seed}: ${what}: ${problem}`, { cause: error });
  });
};
/** Waits until no connection is left, and compares what the processes hold with `then`. */
async function settled(then: Record<string, number>): Promise<void> {
  await until_('no connection is left', () => ofApplications().join('; '));
  await until_('descriptors are closed', () =>
    Object.entries(descriptors())
      .filter(([name, count]) => count > (then[name] ?? 0) + spareDescriptorsMax)
      .map(([name, count]) => `${name}: ${then[name]}, then ${count}`)
      .join('; '),
  );
  await until_('handoff records are gone', () =>
    nodes
      .map((node) => [node, rows(node)] as const)
      .filter(([, count]) => count > spareDescriptorsMax)
      .join('; '),
  );
}

let idle: Record<string, number> = {};
before(async () => {
  useRelay('carrier');
  await mesh.prepare();
  mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict');
  program = buildSoak(mesh.manifests);
  testbed = mesh.create();
  testbed.start('soak-api', 'weft-api', program, ['serve', String(soakPort)]);
  await testbed.up();
  await checkRelay('weft-node-a', 'carrier');
});
after(() => mesh.remove());

test('policies change and pods come and go beside hundreds of connections: no byte is lost, and nothing is left', async () => {
  const first = await drive(2);
  assert.equal(first.wrong + first.stuck + first.refused, 0, `seed ${seed}: ${JSON.stringify(first)}`);
  await until_('no connection is left', () => ofApplications().join('; '));
  idle = descriptors();
  const memory = new Map(nodes.map((node) => [node, residentMiB(carrierPid(node))]));
  const pids = nodes.map(carrierPid);
  const forSeconds = Math.max(5, Math.floor(seconds / 2));
  const endMs = Date.now() + forSeconds * 1000;
  const load = drive(forSeconds);
  // What is counted afterwards is counted now.
  await until_('connections are open', () => {
    const [open, tunnels] = [ofApplications().length, sockets().length - ofApplications().length];
    return open > 10 && tunnels > 0 ? '' : `${open} open, ${tunnels} of tunnels`;
  });
  for (let turn = 0; turn === 0 || Date.now() < endMs; turn++) await churn(turn);
  const outcome = await load;
  assert.equal(
    outcome.wrong + outcome.stuck + outcome.refused,
    0,
    `seed ${seed}: ${JSON.stringify(outcome)}`,
  );
  assert.equal(outcome.finished, outcome.opened, `seed ${seed}`);
  assert.ok(outcome.opened > connections && outcome.bytes > 1 << 20, JSON.stringify(outcome));
  assert.ok(outcome.resets < outcome.opened / 4, `seed ${seed}: ${JSON.stringify(outcome)}`);
  assert.deepEqual(nodes.map(carrierPid), pids, 'no carrier ended');
  await settled(idle);
  for (const node of nodes) {
    const [was, is] = [memory.get(node) ?? 0, residentMiB(carrierPid(node))];
    assert.ok(is < was + keptMiBMax, `seed ${seed}: the carrier of ${node}: ${was} MiB, then ${is}`);
  }
});

test('agents and carriers are killed again and again: what is interrupted is reset, never short, and nothing is left', async () => {
  const random = randomOf(seed);
  const forSeconds = Math.max(8, Math.floor(seconds / 2));
  const endMs = Date.now() + forSeconds * 1000;
  const load = drive(forSeconds);
  const killed: string[] = [];
  for (let kills = 0; kills < 4 || Date.now() < endMs; kills++) {
    await sleep(random(1_500));
    const node = nodes[random(2)] ?? 'node-a';
    const process = random(2) === 0 ? agentProcess(node) : carrierProcess(node);
    killed.push(process);
    await testbed.stop(process, 'SIGKILL');
    await sleep(random(300));
    if (process === carrierProcess(node)) testbed.startCarrier(node);
    else testbed.startAgent(node);
    await testbed.waitReady();
  }
  const outcome = await load;
  const say = `seed ${seed}, killed ${killed.join(' ')}: ${JSON.stringify(outcome)}`;
  assert.equal(outcome.wrong + outcome.stuck, 0, say);
  assert.ok(outcome.finished > 0, say);
  assert.equal(testbed.log('soak-api'), '', `${say}: the server saw wrong bytes`);
  await until_('connections are served again', () => '');
  const again = await drive(2);
  assert.equal(again.wrong + again.stuck + again.refused, 0, JSON.stringify(again));
  await settled(idle);
  for (const node of nodes) {
    const is = residentMiB(carrierPid(node));
    assert.ok(is < 2 * keptMiBMax, `${say}: the carrier of ${node} has ${is} MiB`);
  }
});

test('once the pods have left the mesh, the carriers hold no pod, rule, flow or socket of theirs', async () => {
  const podsOf = new Map<string, number>();
  for (const node of nodes) {
    const { pods, rules } = await stateOf(node);
    podsOf.set(node, pods.length);
    assert.ok(Math.min(pods.length, rules.length) > 0, node);
  }
  await drive(1);
  mesh.namespace('weft.dev/mesh: disabled');
  await testbed.waitReady({ 'node-a': 0, 'node-b': 0 });
  await until_('no socket is left', () => sockets().join('; '));
  const held = new Map<string, State>();
  for (const node of nodes)
    await until(
      `the carrier of ${node} holds nothing`,
      settleMsMax,
      async () => {
        const state = await stateOf(node);
        held.set(node, state);
        return state.pods.length + state.rules.length + state.flows.length === 0;
      },
      2_000,
    ).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${node}: ${JSON.stringify(held.get(node)).slice(0, 500)}`, {
        cause: error,
      });
    });
  // A pod's listeners, spare sockets and idle tunnels stay for a grace period after the pod has left the state.
  await until_('descriptors of pods are closed', () =>
    nodes
      .flatMap((node) => {
        const listeners = listenersPerPod * (podsOf.get(node) ?? 0);
        const [carrier, agent] = [`carrier of ${node}`, `agent of ${node}`];
        return [
          [carrier, carrierPid(node), (idle[carrier] ?? 0) - listeners] as const,
          // Programs that were started again meanwhile opened some of their own in another order.
          [agent, pidOf(agentProcess(node)), (idle[agent] ?? 0) + 4] as const,
        ];
      })
      .filter(([, pid, most]) => descriptorsOf(pid) > most)
      .map(([name, pid, most]) => `${name}: at most ${most}: ${openOf(pid)}`)
      .join('; '),
  );
});
