/** A waypoint's pods: rollout, scale to zero, parameters and autoscaler. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, until } from '../../../src/base/wait.js';
import { applyText, weft } from '../../support/cluster.js';
import { ask, askAll, askUntil, viaWaypoint } from './client.js';
import { rollout, conditionOf, store } from './objects.js';

test('a rollout of a waypoint: no request fails', async () => {
  const ms = 60_000;
  const load = Promise.all([
    askAll('store/client', { url: 'http://api/', ms }),
    askAll('other/client', { url: 'http://api.store/', ms }),
    askAll('store/client', { url: 'http://api/slow/200', ms }),
    askAll('store/client', { url: 'http://api/', ms, keepAlive: true }),
  ]);
  await sleep(3_000);
  const began = Date.now();
  await store('rollout', 'restart', 'deploy/waypoint');
  await rollout('deploy/waypoint');
  await until('the old pods are gone', 90_000, async () => {
    const pods = await store(
      'get',
      'pod',
      '-l',
      'gateway.networking.k8s.io/gateway-name=waypoint',
      '-o',
      'name',
    );
    return pods.split('\n').length === 2;
  });
  assert.ok(Date.now() - began < ms, 'the load lasted longer than the rollout');
  const answers = await load;
  for (const [index, all] of answers.entries()) {
    const bad = all.filter(({ status }) => status !== 200);
    assert.deepEqual(bad, [], `load ${index}: ${bad.length} of ${all.length}`);
    assert.ok(all.every(viaWaypoint), 'all requests went through the waypoint');
  }
});

const parameters = (replicas: number): string => `apiVersion: v1
kind: ConfigMap
metadata: { name: waypoint, namespace: store }
data:
  deployment: |
    spec: { replicas: ${replicas} }
`;
const withParameters = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: store }
spec:
  gatewayClassName: weft-waypoint
  infrastructure: { parametersRef: { group: '', kind: ConfigMap, name: waypoint } }
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
`;
test('while a waypoint is scaled to zero, requests are refused and do not bypass it', async () => {
  await applyText(parameters(0) + withParameters);
  const { status } = await conditionOf(['gateway', 'waypoint'], 'Programmed', 'NoResources');
  assert.equal(status, 'False');
  await assert.rejects(weft('waypoint', 'status', '-n', 'store'), (error: { stdout: string }) => {
    assert.match(error.stdout, /^programmed +no: NoResources: .*scaled to zero/m);
    return true;
  });
  await askUntil(
    'requests are refused',
    (answer) => answer.status === undefined,
    'store/client',
    'http://api/',
  );
  const ip = await store('get', 'pod', '-l', 'app=api,version=v2', '-o', 'jsonpath={.items[0].status.podIP}');
  for (const [who, url] of [
    ['store/client', 'http://api/'],
    ['store/client', `http://${ip}:8080/`],
    ['other/client', 'http://api.store/'],
  ] as const) {
    const answers = await askAll(who, { url, count: 5 });
    assert.ok(
      answers.every((answer) => answer.status === undefined),
      `${url}: ${JSON.stringify(answers)}`,
    );
  }
  await applyText(parameters(1));
  await conditionOf(['gateway', 'waypoint'], 'Programmed', 'Programmed');
  await askUntil(
    'the waypoint serves again',
    (answer) => answer.status === 200 && viaWaypoint(answer),
    'store/client',
    'http://api/',
  );
});

test('a Gateway condition reports invalid parameters, and the waypoint keeps running', async () => {
  await applyText(parameters(1).replace('deployment:', 'deploy:'));
  const { message } = await conditionOf(['gateway', 'waypoint'], 'Accepted', 'InvalidParameters');
  assert.match(message, /ConfigMap store\/waypoint: deploy is not one of/);
  assert.equal((await ask('store/client', 'http://api/')).status, 200);
  await applyText(parameters(1));
  await conditionOf(['gateway', 'waypoint'], 'Accepted', 'Accepted');
});

test("parameters that would change the waypoint's code are refused with the field's name, and the waypoint keeps running", async () => {
  const image = (): Promise<string> =>
    store('get', 'deployment', 'waypoint', '-o', 'jsonpath={.spec.template.spec.containers[*].image}');
  const before = await image();
  await applyText(
    parameters(1).replace(
      'spec: { replicas: 1 }',
      'spec: { template: { spec: { hostNetwork: true, containers: [{ name: waypoint, image: evil }] } } }',
    ),
  );
  const { message } = await conditionOf(['gateway', 'waypoint'], 'Accepted', 'InvalidParameters');
  assert.match(message, /(hostNetwork|containers\.0\.image) may not be set/);
  assert.equal(await image(), before);
  assert.equal((await ask('store/client', 'http://api/')).status, 200);
  await applyText(parameters(1));
  await conditionOf(['gateway', 'waypoint'], 'Accepted', 'Accepted');
});

test('an autoscaler exists as long as the parameters have one', async () => {
  const scaler = (): Promise<string> => store('get', 'hpa', '-o', 'name');
  await applyText(`${parameters(1)}  horizontalPodAutoscaler: 'spec: { minReplicas: 2, maxReplicas: 3 }'\n`);
  await until(
    'the autoscaler exists',
    60_000,
    async () => (await scaler()) === 'horizontalpodautoscaler.autoscaling/waypoint',
  );
  await applyText(parameters(1));
  await until('the autoscaler is deleted', 60_000, async () => (await scaler()) === '');
  await conditionOf(['gateway', 'waypoint'], 'Programmed', 'Programmed');
});
