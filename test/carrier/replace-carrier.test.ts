/**
 * A node gets a newer carrier: new connections are the newer one's, without one that fails. The older one keeps its connections under the same
 * policies, and ends with the last of them.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { denyIntruder } from '../../src/cli/demo/stage.js';
import { agentProcess, carrierProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import type { CarrierStatus } from '../../src/model/relay.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { hold } from '../support/held-connection.js';
import { requests } from '../support/requests.js';
import { relayStatus, useRelay } from './support/relays.js';

const api = '10.244.2.10';
const web = '10.244.1.10';
const nodes = ['node-a', 'node-b'] as const;
const mesh = new DemoMesh('replace-carrier');
let testbed: Testbed;

const carriersOf = async (node: string): Promise<readonly CarrierStatus[]> =>
  (await relayStatus(`weft-${node}`)).carriers;
const processOf = (node: string, name: string): string =>
  name === 'carrier' ? carrierProcess(node) : `${name}-${node}`;

/** Starts a carrier on both nodes and waits until it is in use. */
async function replaceBy(name: string): Promise<void> {
  for (const node of nodes) testbed.startCarrier(node, { name, process: processOf(node, name) });
  for (const node of nodes)
    await until(`${name} is in use on ${node}`, 40_000, async () => {
      testbed.died(processOf(node, name));
      const [first, ...former] = await carriersOf(node);
      return first?.name === name && !first.isDraining && former.every(({ isDraining }) => isDraining);
    });
}
const hasEnded = (name: string): Promise<unknown> =>
  until(`${name} has ended on both nodes`, 30_000, () =>
    nodes.every((node) => !testbed.runs(processOf(node, name))),
  );

before(async () => {
  useRelay('carrier');
  await mesh.prepare();
  testbed = mesh.create();
  for (const pod of ['api', 'web'])
    testbed.start(`echo-${pod}`, `weft-${pod}`, 'python3', ['-c', echo, '9000']);
  await testbed.up();
  for (const pod of ['api', 'web']) await listening(`weft-${pod}`, 9000);
});
after(() => mesh.remove());

test('a newer carrier takes new connections over without one that fails, and the older one ends with its last connection', async () => {
  const held = [hold('weft-web', api), hold('weft-api', web)];
  for (const one of held) assert.equal(await one.ask(), 'hello');
  const load = [requests('weft-web', api), requests('weft-api', web), requests('weft-web', api, 9000, 50)];
  await replaceBy('second');
  const later = hold('weft-web', api);
  assert.equal(await later.ask(), 'hello');
  const counts = await Promise.all(load.map((one) => one.end()));
  assert.deepEqual(
    counts.map(({ bad }) => bad),
    [{}, {}, {}],
  );
  for (const one of held) assert.equal(await one.ask(), 'hello', 'a connection of the older carrier');
  for (const node of nodes) {
    const [second, first] = await carriersOf(node);
    assert.ok(second && first, node);
    assert.ok(first.isDraining && first.flows >= 1, JSON.stringify(first));
    assert.ok(second.flows >= 1, JSON.stringify(second));
  }
  for (const one of held) one.end();
  await hasEnded('carrier');
  assert.equal(await later.ask(), 'hello');
  later.end();
});

test('a new agent that finds two carriers uses the newer one, and its policies cut the connections of the older one', async () => {
  const held = hold('weft-web', api);
  assert.equal(await held.ask(), 'hello');
  for (const node of nodes) await testbed.stop(agentProcess(node), 'SIGKILL');
  // With the agent, the testbed starts the carrier that has ended.
  for (const node of nodes) testbed.startAgent(node);
  for (const node of nodes)
    await until(`the new agent of ${node} uses the newer carrier`, 60_000, async () => {
      const [newest, older] = await carriersOf(node).catch(() => []);
      return newest?.name === 'carrier' && older?.name === 'second' && older.isDraining;
    });
  assert.equal(await held.ask(), 'hello');
  mesh.write('policy.yaml', denyIntruder.replace('shop/intruder', 'shop/web'));
  await until('the connection is cut', 30_000, async () => /^E|^end$/.test(await held.ask()));
  mesh.write('policy.yaml', '');
  held.end();
  await hasEnded('second');
});

test('a carrier that gets SIGTERM serves until a newer one is in use', async () => {
  for (const node of nodes) process.kill(testbed.mark(processOf(node, 'carrier'))?.pid ?? 0, 'SIGTERM');
  // Without --drain-ms it drains at once.
  await hasEnded('carrier');
  const args = ['--drain-ms', '60000'];
  for (const node of nodes)
    testbed.startCarrier(node, { name: 'fourth', process: processOf(node, 'fourth'), args });
  const ping = async (): Promise<string> => {
    const one = hold('weft-web', api);
    const reply = await one.ask();
    one.end();
    return reply;
  };
  await until('served again', 40_000, async () => (await ping().catch(() => '')) === 'hello');
  const load = requests('weft-web', api);
  for (const node of nodes) process.kill(testbed.mark(processOf(node, 'fourth'))?.pid ?? 0, 'SIGTERM');
  assert.equal(await ping(), 'hello');
  await replaceBy('fifth');
  assert.deepEqual((await load.end()).bad, {});
  await hasEnded('fourth');
  assert.equal(await ping(), 'hello');
});
