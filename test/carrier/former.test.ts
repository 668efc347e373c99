/**
 * The agents of a mesh with carriers are replaced by agents with the TypeScript relay: the carriers keep their open connections, which policies
 * still cut, and end with the last of them. New connections are the agents'.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { carrierDirOf } from '../../src/cli/standalone/carrier.js';
import { replaceAgent } from '../../src/cli/standalone/replace-agent.js';
import { agentProcess, carrierProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { hold, type HeldConnection } from '../support/held-connection.js';
import { connectionRecords } from '../support/records.js';
import { requests } from '../support/requests.js';
import { closePorts, openPorts } from './support/closed-ports.js';
import { relays, relayStatus, useRelay, type RelayName } from './support/relays.js';

const api = '10.244.2.10';
const nodes = ['node-a', 'node-b'] as const;
const ports = [9000, 9001] as const;
const mesh = new DemoMesh('former');
let relay: RelayName = 'carrier';
let testbed: Testbed;

/** How the connections to a port of api ended, as its node has recorded them. */
const endsOf = (port: number): string[] =>
  connectionRecords(testbed.runDir('node-b'))
    .filter(({ destination, path }) => destination.address === `${api}:${port}` && path !== 'refused')
    .map(({ ended }) => ended);
const ping = async (): Promise<string> => {
  const one = hold('weft-web', api);
  const reply = await one.ask();
  one.end();
  return reply;
};
const hasEnded = (node: string): Promise<unknown> =>
  until(`the carrier of ${node} has ended`, 30_000, () => !testbed.runs(carrierProcess(node)));
/** The forbidden connection is cut, and its record says why. */
async function isCut(held: HeldConnection, before: number): Promise<void> {
  await until('the connection is cut', 30_000, async () => /^E|^end$/.test(await held.ask()));
  await until('its record says why', 30_000, () =>
    endsOf(9001)
      .slice(before)
      .some((ended) => /^cut: .*closed/.test(ended)),
  );
}

if (relays.includes('carrier')) {
  before(async () => {
    useRelay('carrier');
    await mesh.prepare();
    testbed = mesh.create({ relayOf: () => relay });
    for (const port of ports)
      testbed.start(`echo-${port}`, 'weft-api', 'python3', ['-c', echo, String(port)]);
    await testbed.up();
    for (const port of ports) await listening('weft-api', port);
  });
  after(() => mesh.remove());

  test('agents are replaced by ones with the TypeScript relay: no request fails, and policies cut what the carriers keep', async () => {
    const stays = hold('weft-web', api);
    const forbidden = hold('weft-web', api, 9001);
    for (const one of [stays, forbidden]) assert.equal(await one.ask(), 'hello');
    const load = requests('weft-web', api);
    relay = 'typescript';
    for (const node of nodes) await replaceAgent(testbed, node);
    for (const node of nodes)
      await until(`the carrier of ${node} keeps its connections`, 30_000, async () => {
        const { relay: used, carriers } = await relayStatus(`weft-${node}`);
        assert.equal(used, 'typescript');
        return carriers.length === 1 && carriers[0]?.isDraining === true && carriers[0].flows === 2;
      });
    const { good, bad } = await load.end();
    assert.deepEqual(bad, {});
    assert.ok(good > 20, `${good}`);
    const later = hold('weft-web', api);
    assert.equal(await later.ask(), 'hello', 'a new connection');
    for (const node of nodes)
      assert.equal((await relayStatus(`weft-${node}`)).carriers[0]?.flows, 2, 'is not the carrier’s');
    for (const one of [stays, forbidden]) assert.equal(await one.ask(), 'hello');
    const before = endsOf(9001).length;
    closePorts(mesh, 9001);
    await isCut(forbidden, before);
    openPorts(mesh);
    assert.equal(await stays.ask(), 'hello', 'what is allowed goes on');
    const finished = endsOf(9000).length;
    stays.end();
    for (const node of nodes) await hasEnded(node);
    await until('the record of the last one', 30_000, () => endsOf(9000).length === finished + 1);
    assert.equal(await later.ask(), 'hello');
    later.end();
    for (const node of nodes)
      await until('none is left', 30_000, async () => {
        const { carriers, why } = await relayStatus(`weft-${node}`);
        return carriers.length === 0 && !why.includes('carrier:');
      });
    await until('what the carriers have left is removed', 30_000, () =>
      nodes.every((node) => readdirSync(carrierDirOf(testbed.state, node)).length === 0),
    );
  });

  test('a carrier that no agent has used is left for an agent with the other relay', async () => {
    for (const node of nodes) testbed.startCarrier(node);
    await sleep(4_000);
    for (const node of nodes) assert.ok(testbed.runs(carrierProcess(node)), node);
    relay = 'carrier';
    const load = requests('weft-web', api);
    for (const node of nodes) await replaceAgent(testbed, node);
    for (const node of nodes) {
      const { relay: used, carriers } = await relayStatus(`weft-${node}`);
      assert.equal(used, 'carrier');
      assert.deepEqual(
        carriers.map(({ isDraining }) => isDraining),
        [false],
      );
    }
    // Connections of the former agents end with them.
    assert.ok((await load.end()).good > 20);
    assert.equal(await ping(), 'hello');
  });

  test('what was forbidden while no agent was there is cut by the next one, with the other relay', async () => {
    const stays = hold('weft-web', api);
    const forbidden = hold('weft-web', api, 9001);
    for (const one of [stays, forbidden]) assert.equal(await one.ask(), 'hello');
    for (const node of nodes) await testbed.stop(agentProcess(node), 'SIGKILL');
    const before = endsOf(9001).length;
    closePorts(mesh, 9001);
    await sleep(300);
    relay = 'typescript';
    for (const node of nodes) testbed.startAgent(node);
    await testbed.waitReady();
    await isCut(forbidden, before);
    assert.equal(await stays.ask(), 'hello');
    assert.equal(await ping(), 'hello');
    stays.end();
    for (const node of nodes) await hasEnded(node);
  });
} else test('carriers of a former agent', { skip: 'of the carrier only' });
