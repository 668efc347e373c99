/** Replaced and missing parts of Weft. The first test waits until kernel flows are used, which the later tests expect. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, until } from '../../../src/base/wait.js';
import { applyText, connectionRecords, eitherAgent, kubectl, system } from '../../support/cluster.js';
import { ofWeb, shop, since, traffic } from './shop.js';

test('once connection tracking has no entries from before enrollment, connections on a node become kernel flows: no request fails', async () => {
  const before = await traffic();
  await until('a kernel flow is recorded', 180_000, async () =>
    (await connectionRecords(2)).filter(ofWeb).some(({ path }) => path === 'kernel'),
  );
  const { bad, errors } = await since(before, 500);
  assert.equal(bad, 0, errors.join('\n'));
});

test('a rollout of the control plane: no request fails', async () => {
  // The agents' ejection of a destination that just failed has ended by then.
  await sleep(1_500);
  const before = await traffic();
  await system('rollout', 'restart', 'deploy/weft-control');
  await system('rollout', 'status', 'deploy/weft-control', '--timeout=90s');
  const { bad, errors } = await since(before);
  const why = (await connectionRecords(8)).filter((line) => line.ended !== 'finished').slice(-5);
  assert.equal(bad, 0, `${errors.join('\n')}\n${JSON.stringify(why)}`);
});

test('a rollout of the agents: no request fails', async () => {
  const before = await traffic();
  await system('rollout', 'restart', 'ds/weft-agent');
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=120s');
  await sleep(2_000);
  const { bad, errors } = await since(before);
  assert.equal(bad, 0, errors.join('\n'));
  const paths = new Set((await connectionRecords(2)).filter(ofWeb).map(({ path }) => path));
  assert.deepEqual([...paths].sort(), ['hbone', 'kernel']);
});

test('while no agent runs, new pods of the mesh wait with an event and others start; waiting pods then start enrolled', async () => {
  const select = (value: string): Promise<string> =>
    system(
      'patch',
      'ds',
      'weft-agent',
      '--type=json',
      '-p',
      `[{"op":"${value === '' ? 'remove' : 'add'}","path":"/spec/template/spec/nodeSelector/weft.dev~1away"${value === '' ? '' : `,"value":"${value}"`}}]`,
    );
  const pod = (name: string, namespace: string): string => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: app
      image: docker.io/testcluster/node:1
      command: [node, -e, "require('http').get('http://api.shop/', { agent: false }, (a) => a.pipe(process.stdout)).on('error', (e) => console.log('refused:', e.message)); setTimeout(() => 0, 1e6)"]
`;
  await select('yes');
  await until(
    'no agent runs',
    60_000,
    async () => (await system('get', 'pod', '-l', eitherAgent, '-o', 'name')) === '',
  );
  try {
    await applyText(pod('late', 'shop') + pod('other', 'default'));
    await kubectl('-n', 'default', 'wait', 'pod/other', '--for=condition=Ready', '--timeout=30s');
    const why = await until('the reason is an event of the pod', 30_000, async () => {
      const events = await shop(
        'get',
        'events',
        '--field-selector',
        'involvedObject.name=late',
        '-o',
        'jsonpath={.items[*].message}',
      );
      return events.includes('pods of namespace shop do not start outside of the mesh') && events;
    });
    assert.match(why, /the agent of this node does not answer/);
    assert.equal(await shop('get', 'pod', 'late', '-o', 'jsonpath={.status.phase}'), 'Pending');
  } finally {
    await select('');
    await system('rollout', 'status', 'ds/weft-agent', '--timeout=120s');
  }
  await shop('wait', 'pod/late', '--for=condition=Ready', '--timeout=90s');
  assert.match(await until('the pod has a response', 20_000, async () => shop('logs', 'late')), /^api-/);
  const first = (await connectionRecords(60)).filter(
    ({ direction, source }) => direction === 'outbound' && source.pod === 'late',
  );
  assert.deepEqual(
    first.map(({ destination }) => destination.identity),
    ['spiffe://cluster.local/ns/shop/sa/api'],
  );
  await shop('delete', 'pod', 'late', '--now');
  await kubectl('-n', 'default', 'delete', 'pod', 'other', '--now');
});
