/** What the control plane may do for waypoints, and what goes with one that is deleted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../../src/base/wait.js';
import { system, weft } from '../../support/cluster.js';
import { asked, viaWaypoint } from './client.js';
import { store } from './objects.js';

test('the control plane may do what it does for waypoints, and no more', async () => {
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

test('a waypoint that is deleted takes all along that was made for it; one that is in use is not deleted by mistake', async () => {
  await assert.rejects(weft('waypoint', 'delete', '-n', 'store'), /WEFT_WAYPOINT_IN_USE.*store/);
  await weft('waypoint', 'delete', '-n', 'store', '--unlabel');
  await until('nothing is left', 90_000, async () => {
    const selector = 'app.kubernetes.io/managed-by=weft-control';
    return (await store('get', 'deploy,service,serviceaccount,pod,hpa', '-l', selector, '-o', 'name')) === '';
  });
  const answer = await asked(
    'requests go without it',
    (one) => one.status === 200 && !viaWaypoint(one),
    'store/client',
    'http://api/',
  );
  assert.match(answer.pod ?? '', /^api-/);
});
