/** Installation of the chart, on every node and with few rights. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installChart, kubectl, run, system } from '../../support/cluster.js';

test('helm install starts the mesh on every node, without privileged containers', async () => {
  await installChart();
  const nodes = (await kubectl('get', 'nodes', '-o', 'name')).split('\n').length;
  const ready = await system('get', 'ds/weft-agent', '-o', 'jsonpath={.status.numberReady}');
  assert.equal(Number(ready), nodes);
  assert.doesNotMatch(await system('get', 'pods', '-o', 'yaml'), /privileged: true/);
});

test('helm test checks every agent', async () => {
  const output = await run('helm', 'test', 'weft', '-n', 'weft-system', '--logs', '--timeout', '60s');
  assert.match(output, /Phase: +Succeeded/);
  for (const node of (await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}')).split(' '))
    assert.match(output, new RegExp(`^${node}: ready$`, 'm'));
});

test("the agents' account has no rights at the API server", async () => {
  const may = await system('auth', 'can-i', '--list', '--as=system:serviceaccount:weft-system:weft-agent');
  assert.doesNotMatch(may, /secrets|pods|nodes|configmaps/);
});
