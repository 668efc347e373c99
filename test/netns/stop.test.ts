/** An agent gets SIGTERM, as in every upgrade. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { agentProcess, carrierProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import { echo } from '../support/echo.js';
import { hold } from '../support/held-connection.js';
import { connectionRecords } from '../support/records.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';

const mesh = new DemoMesh('stop');
const api = '10.244.2.10';
let testbed: Testbed;

before(async () => {
  await mesh.prepare();
  // A second endpoint of the service, on the client's node.
  mesh.replace(
    'mesh.yaml',
    'name: cache-2, namespace: shop, labels: { app: cache }',
    'name: cache-2, namespace: shop, labels: { app: api }',
  );
  testbed = mesh.create({ agentFlags: ['--drain-ms', '20000'] });
  for (const pod of ['api', 'cache-2'])
    testbed.start(`echo-${pod}`, `weft-${pod}`, 'python3', ['-c', echo, '9000']);
  await testbed.up();
  await listening('weft-api', 9000);
});
after(() => mesh.remove());

test('while older connections are open, new ones are relayed in both directions; then the agent ends at once', async () => {
  for (const node of ['node-b', 'node-a']) {
    const old = hold('weft-web', api);
    assert.equal(await old.ask(), 'hello');
    let ended = false;
    const stopping = testbed.stop(agentProcess(node)).then(() => (ended = true));
    // A carrier keeps the connections, so its agent has nothing to wait for.
    const isKept = testbed.relay === 'carrier';
    if (isKept) await until(`the agent of ${node} ends`, 30_000, () => ended);
    else await sleep(1_500);
    const young = hold('weft-web', api);
    assert.equal(await young.ask(), 'hello', `a new connection while the agent of ${node} drains`);
    assert.equal(await old.ask(), 'hello');
    young.end();
    assert.equal(ended, isKept);
    if (!isKept) old.end();
    await until(`the agent of ${node} ends`, 30_000, () => ended);
    await stopping;
    testbed.startAgent(node);
    await testbed.waitReady();
    if (!isKept) continue;
    assert.equal(await old.ask(), 'hello', 'it outlives the agent');
    old.end();
  }
});

test('while nothing relays for one endpoint, connections to the service go to the other endpoints: none is refused', async () => {
  await testbed.stop(agentProcess('node-b'), 'SIGKILL');
  await testbed.stop(carrierProcess('node-b'), 'SIGKILL');
  try {
    const responses: string[] = [];
    for (let i = 0; i < 30; i++) {
      const held = hold('weft-web', '10.96.0.10');
      responses.push(await held.ask());
      held.end();
    }
    assert.deepEqual(
      responses,
      Array.from({ length: 30 }, () => 'hello'),
    );
    const lines = connectionRecords(testbed.runDir('node-a')).filter(
      ({ direction, dialled }) => direction === 'outbound' && dialled === '10.96.0.10:9000',
    );
    assert.deepEqual(
      [...new Set(lines.slice(-30).map(({ destination }) => destination.address))],
      ['10.244.1.13:9000'],
    );
  } finally {
    testbed.startAgent('node-b');
    await testbed.waitReady();
  }
});
