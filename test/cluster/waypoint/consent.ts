/** A Service behind a waypoint of another namespace. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../../src/base/wait.js';
import { kubectl, weft } from '../../support/cluster.js';
import { askUntil, viaWaypoint } from './client.js';
import { store } from './objects.js';

test("a Service is served by another namespace's waypoint only once the waypoint's Gateway admits it; until then it is closed", async () => {
  await weft('waypoint', 'apply', '-n', 'outside', '--name', 'far', '--wait');
  const labels = ['weft.dev/waypoint=far', 'weft.dev/waypoint-namespace=outside'];
  await store('label', 'service', 'api-v2', ...labels);
  await askUntil(
    'the Service is closed',
    (answer) => answer.status === undefined,
    'other/client',
    'http://api-v2.store/',
  );
  const condition = await until('the Service has the condition', 60_000, async () => {
    const conditions = await store('get', 'service', 'api-v2', '-o', 'jsonpath={.status.conditions}');
    return conditions.includes('weft.dev/WaypointBound') && conditions;
  });
  assert.match(condition, /WaypointNotAllowed/);
  assert.match(await weft('waypoint', 'status', 'far', '-n', 'outside'), /^closed +Service store\/api-v2/m);
  const from = (value: string): Promise<string> =>
    kubectl(
      ...['-n', 'outside', 'patch', 'gateway', 'far', '--type=json', '-p'],
      JSON.stringify([
        { op: 'add', path: '/spec/listeners/0/allowedRoutes', value: { namespaces: { from: value } } },
      ]),
    );
  await from('All');
  // Only by this Service's own address: its pods are behind the namespace's waypoint by the other Service.
  await askUntil(
    'the waypoint serves the Service',
    (answer) => answer.status === 200 && viaWaypoint(answer),
    'other/client',
    'http://api-v2.store/',
  );
  await assert.rejects(
    weft('waypoint', 'delete', 'far', '-n', 'outside'),
    /WEFT_WAYPOINT_IN_USE.*Service store\/api-v2/,
  );
  await weft('waypoint', 'delete', 'far', '-n', 'outside', '--unlabel');
  await until('the account of the waypoint is gone', 60_000, async () => {
    const accounts = await kubectl('-n', 'outside', 'get', 'serviceaccount', '-o', 'name');
    return !accounts.includes('far');
  });
});
