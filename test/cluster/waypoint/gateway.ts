/** A Gateway becomes a waypoint, and clients cannot bypass it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../../src/base/wait.js';
import { gatewayKinds, installChart, kubectl, weft } from '../../support/cluster.js';
import { ask, askUntil, viaWaypoint } from './client.js';
import { read, rollout, conditionOf, store, type ObjectStatus } from './objects.js';

test("without the Gateway API's CRDs the mesh starts, and the GatewayClass is applied once they are installed", async () => {
  await installChart();
  for (const name of ['api-v1', 'api-v2', 'client', 'intruder']) await rollout(`deploy/${name}`);
  // The cluster of KUBECONFIG may have the CRDs already.
  if ((await kubectl('get', 'crd', '-o', 'name')).includes('gateways.gateway.networking.k8s.io') === false)
    await assert.rejects(
      weft('waypoint', 'apply', '-n', 'store'),
      /WEFT_GATEWAY_API.*standard-install\.yaml/,
    );
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await until('the GatewayClass is accepted', 90_000, async () => {
    const found = JSON.parse(
      await kubectl('get', 'gatewayclass', 'weft-waypoint', '-o', 'json').catch(() => '{}'),
    ) as ObjectStatus;
    return found.status?.conditions?.some(({ type, status }) => type === 'Accepted' && status === 'True');
  });
});

test('a Gateway becomes unprivileged pods, and is programmed with an address', async () => {
  const done = await weft('waypoint', 'apply', '-n', 'store', '--for-namespace');
  assert.match(done, /waypoint store\/waypoint is ready at 10\./);
  assert.match(done, /namespace store labeled weft\.dev\/waypoint=waypoint/);
  const { status } = await read('gateway', 'waypoint');
  await conditionOf(['gateway', 'waypoint'], 'Accepted', 'Accepted');
  await conditionOf(['gateway', 'waypoint'], 'Programmed', 'Programmed');
  const ip = await store('get', 'service', 'waypoint', '-o', 'jsonpath={.spec.clusterIP}');
  assert.deepEqual(
    status?.addresses?.map(({ value }) => value),
    [ip],
  );
  const pods = await store(
    'get',
    'pod',
    '-l',
    'gateway.networking.k8s.io/gateway-name=waypoint',
    '-o',
    'yaml',
  );
  for (const line of [
    'runAsNonRoot: true',
    'readOnlyRootFilesystem: true',
    'allowPrivilegeEscalation: false',
  ])
    assert.ok(pods.includes(line), line);
  assert.equal(await store('exec', 'deploy/waypoint', '--', 'node', '-p', 'process.getuid()'), '65532');
  assert.match(await weft('waypoint', 'list'), /^store +waypoint +yes +10\.\S+ +2 of 2 +store$/m);
});

test('without a route, requests to the Service and to a pod address go through the waypoint', async () => {
  await askUntil('requests go through the waypoint', viaWaypoint, 'store/client', 'http://api/');
  const ip = await store('get', 'pod', '-l', 'app=api,version=v2', '-o', 'jsonpath={.items[0].status.podIP}');
  for (const url of ['http://api/', `http://${ip}:8080/`]) {
    const answer = await ask('store/client', url);
    assert.equal(answer.status, 200, JSON.stringify(answer));
    assert.match(
      answer.seen?.['x-forwarded-client-cert'] ?? '',
      /^URI=spiffe:\/\/cluster\.local\/ns\/store\/sa\/client$/,
    );
  }
});

test('a pod outside of the mesh is refused: it cannot bypass the waypoint', async () => {
  const ip = await store('get', 'pod', '-l', 'app=api,version=v2', '-o', 'jsonpath={.items[0].status.podIP}');
  for (const url of ['http://api.store/', `http://${ip}:8080/`]) {
    const answer = await ask('outside/client', url);
    assert.equal(answer.status, undefined, `${url}: ${JSON.stringify(answer)}`);
  }
});
