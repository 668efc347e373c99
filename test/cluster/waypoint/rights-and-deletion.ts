/** The control plane's rights for waypoints, and deletion of a waypoint. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../../src/base/wait.js';
import { system, weft } from '../../support/cluster.js';
import { askUntil, viaWaypoint } from './client.js';
import { store } from './objects.js';

test('the control plane has only the rights that it needs for waypoints', async () => {
  const may = async (...what: string[]): Promise<string> =>
    store('auth', 'can-i', ...what, '--as=system:serviceaccount:weft-system:weft-control').catch(
      (error: { stdout: string }) => error.stdout.trim(),
    );
  for (const what of ['patch deployments', 'create services', 'delete horizontalpodautoscalers'])
    assert.equal(await may(...what.split(' ')), 'yes', what);
  for (const what of [
    'get secrets',
    'delete deployments',
    'delete services',
    'create pods',
    'list configmaps',
    'patch gateways',
    'get pods',
    'update deployments',
    'patch namespaces',
  ])
    assert.equal(await may(...what.split(' ')), 'no', what);
  const pods = (await system('get', 'pod', '-l', 'app=weft-control', '-o', 'name')).split('\n');
  for (const pod of pods) assert.doesNotMatch(await system('logs', pod), /forbidden/);
});

test('deleting a waypoint deletes all its objects; a waypoint in use is not deleted by mistake', async () => {
  await assert.rejects(weft('waypoint', 'delete', '-n', 'store'), /WEFT_WAYPOINT_IN_USE.*store/);
  await weft('waypoint', 'delete', '-n', 'store', '--unlabel');
  await until('no object of the waypoint is left', 90_000, async () => {
    const selector = 'app.kubernetes.io/managed-by=weft-control';
    return (await store('get', 'deploy,service,serviceaccount,pod,hpa', '-l', selector, '-o', 'name')) === '';
  });
  const answer = await askUntil(
    'requests go without the waypoint',
    (one) => one.status === 200 && !viaWaypoint(one),
    'store/client',
    'http://api/',
  );
  assert.match(answer.pod ?? '', /^api-/);
});
