/**
 * The agent killed at messages that come while it works, and while ends of connections wait for it: open connections continue, what policy
 * forbids stays closed, and no connection lacks its line in the log.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { agentProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { hold } from '../support/held-connection.js';
import { connectionRecords, recordedTwice, withoutRepeats } from '../support/records.js';
import { Between } from './support/between.js';
import { closePorts } from './support/closed-ports.js';
import { dial as dialFrom } from './support/dial.js';
import { checkRelay, relayProcess, relays, useRelay } from './support/relays.js';

const api = '10.244.2.10';
const web = '10.244.1.10';
const agent = agentProcess('node-a');
const carrier = relayProcess('carrier', 'node-a');
const mesh = new DemoMesh('killed');
let testbed: Testbed;
let between: Between;

const dial = (to = api, port = 9000, from = 'weft-web'): Promise<string> => dialFrom(from, to, port);
/** Denies a port to all of the namespace, beside the one that no test may reach. */
const deny = (...ports: number[]): void => closePorts(mesh, 9001, ...ports);
const ends = (port: number): ReturnType<typeof connectionRecords> =>
  connectionRecords(testbed.runDir('node-a')).filter(
    ({ destination, path }) => path === 'hbone' && destination.address === `${api}:${port}`,
  );
async function startAgent(): Promise<void> {
  await testbed.stop(agent, 'SIGKILL');
  testbed.startAgent('node-a');
  await testbed.waitReady();
}

if (relays.includes('carrier')) {
  before(async () => {
    useRelay('carrier');
    await mesh.prepare();
    mesh.namespace('weft.dev/mesh: enabled, weft.dev/mode: strict');
    deny();
    testbed = mesh.create();
    for (const port of [9000, 9001, 9002])
      testbed.start(`echo-${port}`, 'weft-api', 'python3', ['-c', echo, String(port)]);
    testbed.start('echo-web', 'weft-web', 'python3', ['-c', echo, '9100']);
    for (const port of [9000, 9001, 9002]) await listening('weft-api', port);
    await listening('weft-web', 9100);
    between = new Between(testbed, 'node-a');
    await between.start();
    await testbed.up();
    await checkRelay('weft-node-a', 'carrier');
  });
  after(() => mesh.remove());

  test('ends that an agent has received and not processed reach the next one: each connection has its line', async () => {
    const before = ends(9002).length;
    const held = Array.from({ length: 20 }, () => hold('weft-web', api, 9002));
    for (const one of held) assert.equal(await one.ask(), 'hello');
    const pid = testbed.mark(agent)?.pid ?? 0;
    // The packets wait in its socket, and are gone with it.
    process.kill(pid, 'SIGSTOP');
    for (const one of held) one.end();
    await sleep(1_000);
    await startAgent();
    await until('the records', 20_000, () => ends(9002).length >= before + held.length).catch(
      () => undefined,
    );
    const found = ends(9002).slice(before);
    assert.deepEqual(recordedTwice(found), []);
    assert.equal(found.length, held.length, 'no line was written before, so none is there twice');
    // All are acknowledged: another agent gets none of them.
    await sleep(1_000);
    await startAgent();
    await sleep(1_000);
    assert.equal(ends(9002).length, before + held.length);
    testbed.died(carrier);
  });

  test('the agent is killed at any moment while connections end: each has a line, or two with one id', async () => {
    const before = ends(9002).length;
    const count = 30;
    for (let round = 0; round < 3; round++) {
      const held = Array.from({ length: count }, () => hold('weft-web', api, 9002));
      for (const one of held) assert.equal(await one.ask(), 'hello');
      const killed = sleep(20 + 60 * round).then(() => testbed.stop(agent, 'SIGKILL'));
      for (const one of held) {
        one.end();
        await sleep(5);
      }
      await killed;
      await startAgent();
      const wanted = before + (round + 1) * count;
      const lines = (): number => before + withoutRepeats(ends(9002).slice(before)).length;
      await until('the records', 20_000, () => lines() >= wanted).catch(() => undefined);
      await sleep(500);
      assert.equal(lines(), wanted, `round ${round}`);
      const all = ends(9002).slice(before);
      console.log(`round ${round}: ${all.length} lines of ${wanted - before} connections`);
      assert.deepEqual(recordedTwice(withoutRepeats(all)), [], `round ${round}`);
    }
  });

  let port = 20_000;
  const toNobody = async (): Promise<void> => void (await dial(api, ++port));
  const policy = async (): Promise<void> => {
    deny();
    await until('the port is open', 30_000, async () => (await dial(web, 9100, 'weft-api')) === 'ping');
    deny(9100);
  };
  /** An end that has a reason is no fixed-size record. */
  const cut = async (): Promise<void> => {
    deny();
    await until('the port is open', 30_000, async () => (await dial(web, 9100, 'weft-api')) === 'ping');
    const one = hold('weft-api', web, 9100);
    assert.equal(await one.ask(), 'hello');
    deny(9100);
    await until('it is cut', 20_000, async () => (await one.ask()) !== 'hello');
    one.end();
  };
  const list = async (): Promise<void> =>
    void (await adminGet('weft-node-a', adminPort, '/connections').catch(() => ''));
  const use = async (): Promise<void> => void (await dial());
  /** By name: the side and the field of carrier.proto, and what makes that side send it. */
  const kinds: Readonly<Record<string, readonly [string, () => Promise<void>]>> = {
    Question: ['carrier 4', toNobody],
    Answer: ['agent 8', toNobody],
    FlowRecords: ['carrier 6', use],
    Closed: ['carrier 7', cut],
    Acknowledge: ['agent 15', use],
    Revoke: ['agent 10', policy],
    Done: ['carrier 10', policy],
    RuleEnded: ['carrier 9', policy],
    ListFlows: ['agent 13', list],
    Flows: ['carrier 12', list],
  };
  for (const [name, [when, act]] of Object.entries(kinds)) {
    test(`the agent is killed at ${name}`, async () => {
      const held = hold('weft-web', api);
      assert.equal(await held.ask(), 'hello');
      const from = between.log.length;
      between.kill(when);
      await testbed.stop(agent, 'SIGKILL');
      testbed.startAgent('node-a');
      // It may be killed before it is ready: an earlier test has left such a message.
      const isKilled = (): boolean => between.log.slice(from).includes(`killed after ${when}`);
      await until('the agent works', 30_000, () => isKilled() || testbed.readyState('node-a').ready);
      for (let i = 0; i < 10 && !isKilled(); i++) {
        await act();
        await sleep(200);
      }
      assert.ok(isKilled(), `no ${name} was seen`);
      assert.equal(await held.ask(), 'hello', 'an open connection');
      assert.notEqual(await dial(api, 9001), 'ping', 'what is forbidden');
      between.kill('0');
      await startAgent();
      await until('connections work', 30_000, async () => (await dial()) === 'ping');
      assert.equal(await held.ask(), 'hello', 'an open connection under the next agent');
      assert.notEqual(await dial(api, 9001), 'ping', 'what is forbidden');
      held.end();
      testbed.died(carrier);
    });
  }
} else test('the agent killed at a message', { skip: 'of the carrier only' });
