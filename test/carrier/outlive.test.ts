/** Connections outlive the agent, and a carrier that is killed takes only its own connections with it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { run } from '../../src/cli/run.js';
import { replaceAgent } from '../../src/cli/standalone/replace-agent.js';
import { agentProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { hold, type HeldConnection } from '../support/held-connection.js';
import { connectionRecords, recordedTwice, withoutRepeats } from '../support/records.js';
import { requests } from '../support/requests.js';
import { closePorts, openPorts } from './support/closed-ports.js';
import { dial as dialFrom } from './support/dial.js';
import { checkRelay, relayProcess, relays, residentMiB, useRelay } from './support/relays.js';

const api = '10.244.2.10';
const nodes = ['node-a', 'node-b'] as const;
/** A loaded machine starts some programs within it. */
const leaseMs = 8_000;
const mesh = new DemoMesh('outlive');
let testbed: Testbed;

const dial = (port = 9000): Promise<string> => dialFrom('weft-web', api, port);
const pidOf = (name: string): number => {
  testbed.died(name);
  return testbed.mark(name)?.pid ?? 0;
};
const carrierPid = (node: string): number => pidOf(relayProcess('carrier', node));
const open = async (port = 9000, count = 1): Promise<HeldConnection[]> => {
  const all = Array.from({ length: count }, () => hold('weft-web', api, port));
  const said = await Promise.all(all.map((one) => one.ask()));
  assert.deepEqual(
    said,
    all.map(() => 'hello'),
  );
  return all;
};
const undeny = async (port: number): Promise<void> => {
  openPorts(mesh);
  await until('the policy is gone', 30_000, async () => (await dial(port)) === 'ping');
};
const works = (port = 9000): Promise<true> =>
  until('connections work', 30_000, async () => (await dial(port)) === 'ping');
/** Records of captured connections to a port. */
const recordsOf = (node: string, port: number): ReturnType<typeof connectionRecords> =>
  withoutRepeats(connectionRecords(testbed.runDir(node))).filter(
    ({ destination, path }) => destination.address === `${api}:${port}` && path !== 'refused',
  );
/** `count` more connections to a port have ended: each has exactly one record at each node. */
async function recorded(port: number, before: readonly number[], count: number): Promise<void> {
  await until(`${count} records of port ${port} at each node`, 20_000, () =>
    nodes.every((node, i) => recordsOf(node, port).length >= (before[i] ?? 0) + count),
  ).catch(() => undefined);
  await sleep(1_000);
  for (const [i, node] of nodes.entries()) {
    const all = recordsOf(node, port);
    assert.equal(
      all.length,
      (before[i] ?? 0) + count,
      `${node} port ${port}: ${JSON.stringify(all.slice(before[i]).map(({ source, ended }) => `${source.address} ${ended}`))}`,
    );
    assert.deepEqual(recordedTwice(all), [], node);
  }
}
/** Live connections to a port that the agent of a node knows. Its carrier is asked, and reports what it has not reported yet. */
async function known(node: string, port: number): Promise<number> {
  const netns = testbed.topology.nodes.find(({ name }) => name === node)?.netns;
  const all = JSON.parse(await adminGet(netns, adminPort, '/connections')) as object[];
  return all.filter((one) => JSON.stringify(one).includes(`${api}:${port}`)).length;
}
const counts = (port: number): number[] => nodes.map((node) => recordsOf(node, port).length);

if (relays.includes('carrier')) {
  before(async () => {
    useRelay('carrier');
    await mesh.prepare();
    // Plaintext is refused, so a connection that is not captured does not work.
    mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict');
    testbed = mesh.create({ agentFlags: ['--verdict-lease-ms', String(leaseMs)] });
    for (const port of [9000, 9001, 9002, 9003])
      testbed.start(`echo-${port}`, 'weft-api', 'python3', ['-c', echo, String(port)]);
    await testbed.up();
    await checkRelay('weft-node-a', 'carrier');
    for (const port of [9000, 9001, 9002, 9003]) await listening('weft-api', port);
  });
  after(() => mesh.remove());

  for (const node of nodes) {
    test(`the agent of ${node} is killed: flows continue, rules admit while the lease runs, then nothing; a new agent cuts what is forbidden meanwhile`, async () => {
      const before = { 9000: counts(9000), 9001: counts(9001) };
      const carrier = carrierPid(node);
      const [stays] = await open(9000);
      const [forbidden] = await open(9001);
      // A connection of each kind: it ends while no agent is there.
      const [ends] = await open(9000);
      assert.ok(stays && forbidden && ends);
      await testbed.stop(agentProcess(node), 'SIGKILL');
      const killed = Date.now();
      assert.equal(await dial(9000), 'ping', 'by a rule, while the lease runs');
      assert.equal(await stays.ask(), 'hello');
      ends.end();
      // No rule exists for this port.
      assert.notEqual(await dial(9002), 'ping', 'without a rule');
      await sleep(Math.max(0, killed + leaseMs + 500 - Date.now()));
      assert.notEqual(await dial(9000), 'ping', 'after the lease');
      assert.equal(await stays.ask(), 'hello', 'an open connection after the lease');
      assert.equal(await forbidden.ask(), 'hello');
      closePorts(mesh, 9001);
      await sleep(300);
      testbed.startAgent(node);
      await until('the forbidden connection is cut', 30_000, async () => (await forbidden.ask()) !== 'hello');
      await testbed.waitReady();
      assert.equal(await stays.ask(), 'hello', 'what is allowed continues under the new agent');
      await works();
      assert.notEqual(await dial(9001), 'ping');
      assert.equal(carrierPid(node), carrier);
      stays.end();
      await undeny(9001);
      // The refused ones have no record of a connection; `works` made some more.
      await until('the records', 30_000, () =>
        nodes.every((one, i) => recordsOf(one, 9001).length > (before[9001][i] ?? 0)),
      );
      for (const one of nodes) {
        const all = [...recordsOf(one, 9000), ...recordsOf(one, 9001)];
        assert.deepEqual(recordedTwice(all), [], `two records of one connection at ${one}`);
      }
    });
  }

  test('records are complete across the death of an agent: each connection has exactly one', async () => {
    const before = counts(9003);
    const ended = await open(9003, 5);
    const living = await open(9003, 5);
    const young: HeldConnection[] = [];
    await testbed.stop(agentProcess('node-a'), 'SIGKILL');
    try {
      // By the rule of those, while the lease runs.
      const later = await open(9003, 6);
      young.push(...later.slice(0, 3));
      for (const one of [...ended, ...later.slice(3)]) one.end();
      await sleep(1_000);
    } finally {
      testbed.startAgent('node-a');
    }
    await testbed.waitReady();
    for (const one of [...living, ...young]) {
      assert.equal(await one.ask(), 'hello');
      one.end();
    }
    await recorded(9003, before, 16);
  });

  test('an agent is replaced under load: nothing fails, and the former one need not wait for its connections', async () => {
    const held = await open(9000, 3);
    const load = [requests('weft-web', api), requests('weft-web', api, 9000, 100)];
    await sleep(1_000);
    for (const node of nodes) {
      const began = Date.now();
      await replaceAgent(testbed, node);
      console.log(`the agent of ${node} was replaced in ${Date.now() - began} ms`);
    }
    await sleep(500);
    const ends = await Promise.all(load.map((one) => one.end()));
    assert.deepEqual(
      ends.map(({ bad }) => bad),
      [{}, {}],
    );
    assert.ok(ends.every(({ good }) => good > 50));
    for (const one of held) {
      assert.equal(await one.ask(), 'hello');
      one.end();
    }
  });

  test('an agent that stands still: questions are bounded, flows continue, and no end is lost', async () => {
    const before = counts(9003);
    const pid = pidOf(agentProcess('node-a'));
    const carrier = carrierPid('node-a');
    const held = await open(9003, 30);
    const [stays] = await open(9003);
    const mib = residentMiB(carrier);
    process.kill(pid, 'SIGSTOP');
    try {
      for (const one of held) one.end();
      // To ports without a rule: each is a question.
      const flood = `import socket
ss = []
for i in range(6000):
    s = socket.socket(); s.setblocking(False)
    try: s.connect(('${api}', 10000 + i % 3000))
    except OSError: pass
    ss.append(s)
import time; time.sleep(3); print('done')`;
      assert.equal((await run('weft-intruder', 'python3', ['-c', flood], 60_000)).stdout.trim(), 'done');
      assert.equal(await stays?.ask(), 'hello');
      const grown = residentMiB(carrier) - mib;
      console.log(`6000 questions without an agent that reads: ${grown.toFixed(1)} MiB more`);
      assert.ok(grown < 64, `${grown} MiB`);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await works();
    await works(9002);
    assert.equal(await stays?.ask(), 'hello');
    assert.equal(carrierPid('node-a'), carrier);
    stays?.end();
    await recorded(9003, before, 31);
  });

  for (const node of nodes) {
    test(`the carrier of ${node} is killed: its flows are reset, capture refuses, and a new one works under the same policies`, async () => {
      closePorts(mesh, 9001);
      await until('the policy is enforced', 30_000, async () => (await dial(9001)) !== 'ping');
      const before = counts(9002);
      const held = await open(9002, 3);
      // A carrier reports a connection within 50 ms. Those that it has not reported have no record once it is killed.
      await until('the agent knows the connections', 30_000, async () => (await known(node, 9002)) >= 3);
      await testbed.stop(relayProcess('carrier', node), 'SIGKILL');
      for (const one of held) {
        assert.match(await one.ask(), /ECONNRESET|EPIPE|end/);
        one.end();
      }
      try {
        for (let i = 0; i < 3; i++) assert.notEqual(await dial(), 'ping', 'without a carrier');
        // Its records: the flows of the carrier have ended.
        await until(
          'the records',
          30_000,
          () => recordsOf(node, 9002).length >= (before[nodes.indexOf(node)] ?? 0) + 3,
        );
      } finally {
        testbed.startCarrier(node);
      }
      await works();
      await testbed.waitReady();
      for (let i = 0; i < 3; i++) assert.notEqual(await dial(9001), 'ping', 'the policy is in force');
      await undeny(9001);
      await recorded(9002, before, 3);
    });
  }

  test('both are killed at once, and start in either order', async () => {
    for (const first of ['agent', 'carrier']) {
      await Promise.all([
        testbed.stop(agentProcess('node-a'), 'SIGKILL'),
        testbed.stop(relayProcess('carrier', 'node-a'), 'SIGKILL'),
      ]);
      assert.notEqual(await dial(), 'ping');
      if (first === 'carrier') testbed.startCarrier('node-a');
      testbed.startAgent('node-a');
      await testbed.waitReady();
      await works();
    }
  });
} else test('connections outlive the agent', { skip: 'of the carrier only' });
