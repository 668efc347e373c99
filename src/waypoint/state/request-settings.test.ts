import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, httpUpstream, echoHandler, route, startWaypoint } from '../../../test/support/waypoint.js';
import { filter } from '../../../test/support/filters.js';
import { key } from '../../../test/support/mesh.js';
import type { SpiffeId } from '../../model/identity.js';
import type { RouteFilter } from '../../model/route.js';
import type { ClientPolicy, ServicePolicy } from '../../model/service-policy.js';
import type { Client } from '../listener/client.js';
import { PortSettings } from './request-settings.js';

const policy = (more: Partial<ServicePolicy>): ServicePolicy => ({
  service: key('api'),
  port: 80,
  origins: [],
  ...more,
});
const from = (namespace: string, serviceAccount = ''): ClientPolicy['from'] => [
  { namespace, serviceAccount },
];
const attemptsOf = (settings: PortSettings, identity: string | undefined): number | undefined =>
  settings.of({ identity: identity as SpiffeId | undefined } as Client).retry?.attempts;
const retry = (attempts: number): ClientPolicy['retry'] => ({
  conditionKind: [],
  codes: [],
  grpcCodes: [],
  attempts,
  perTryTimeoutMs: 0,
  backoffBaseMs: 25,
  backoffMsMax: 250,
  retryAfterMsMax: 0,
  unsafeMethods: [],
  hedge: false,
  dryRun: false,
});
const client = (of: ClientPolicy['from'], attempts: number): ClientPolicy => ({
  from: of,
  filters: [],
  retry: retry(attempts),
  timeouts: undefined,
  closed: '',
  origins: [],
});

test('a client has the settings of the first entry that names it, else those of the port', () => {
  const settings = new PortSettings(
    policy({
      retry: retry(1),
      clients: [client(from('shop', 'web'), 2), client(from('shop'), 3), client(from('shop', 'web'), 4)],
    }),
    [],
  );
  assert.equal(attemptsOf(settings, 'spiffe://cluster.local/ns/shop/sa/web'), 2);
  assert.equal(attemptsOf(settings, 'spiffe://cluster.local/ns/shop/sa/other'), 3);
  assert.equal(attemptsOf(settings, 'spiffe://cluster.local/ns/shop2/sa/web'), 1);
  assert.equal(attemptsOf(settings, 'spiffe://cluster.local/shop/web'), 1);
  assert.equal(attemptsOf(settings, undefined), 1, 'without an identity no entry matches');
});

test('filters of a port apply with and without routes, and follow changes of the settings', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('api'));
  for (const routes of [[], [route('r', [{}])]]) {
    const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, routes });
    const port = { service: key('api'), port: 80, origins: [] };
    const redirect = filter('redirect', { statusCode: 302, hostname: 'elsewhere' });
    const status = async (): Promise<number | undefined> => (await ask(waypoint.port, {})).status;
    assert.equal(await status(), 200);
    waypoint.apply({ servicePolicies: [{ ...port, filters: [redirect] }] });
    assert.equal(await status(), 302);
    waypoint.apply({ servicePolicies: [{ ...port, filters: [] }] });
    assert.equal(await status(), 200);
    waypoint.apply({ servicePolicies: [{ ...port, filters: [redirect] }] });
    waypoint.apply({ removedServicePolicies: [`${port.service}:80`] });
    assert.equal(await status(), 200);
  }
});

test('a filter that cannot be applied refuses all requests', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const broken: RouteFilter = filter('via', { pseudonym: 'not a name' });
  waypoint.apply({ servicePolicies: [policy({ filters: [broken] })] });
  assert.equal((await ask(waypoint.port, {})).status, 500);
  assert.equal(waypoint.records.at(-1)?.code, 'WEFT_FILTER_FAILED');
});
