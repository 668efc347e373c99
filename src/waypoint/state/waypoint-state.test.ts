import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { behind, key, service, workload } from '../../../test/support/mesh.js';
import type { Route, RouteKey } from '../../model/route.js';
import { WaypointState } from './waypoint-state.js';

test('settings of a Service port are found by Service and port, until they are removed by name', () => {
  const state = new WaypointState('', key('waypoint'));
  const policy = { service: key('api'), port: 80, origins: [], streamIdleMs: 5 };
  state.apply({ servicePolicies: [policy] });
  assert.deepEqual(state.policyOf(key('api'), 80), policy);
  assert.equal(state.policyOf(key('api'), 81), undefined);
  assert.equal(state.policyOf(key('other'), 80), undefined);
  assert.deepEqual(state.full().servicePolicies, [policy]);
  state.apply({ removedServicePolicies: [`${key('api')}:80`] });
  assert.equal(state.policyOf(key('api'), 80), undefined);
});

test('a port whose settings are not understood has no endpoints, and its routes respond with an error', () => {
  const state = new WaypointState('', key('waypoint'));
  const itself = { kind: 'hostname', service: key('waypoint'), hbonePort: 15008 } as const;
  const api = service('api', '10.96.0.1', 8080, { waypoint: itself });
  const route: Route = {
    key: 'HTTPRoute/shop/api' as RouteKey,
    kind: 'http',
    namespace: 'shop',
    name: 'api',
    createdMs: 0,
    parents: [{ service: api.key }],
    // A redirect needs no endpoint.
    rules: [{ matches: [], filters: [filter('redirect', { statusCode: 302 })], backends: [] }],
  };
  state.apply({
    mesh: { workloads: [workload('a', '10.0.0.1', 'n', behind('api'))], services: [api] },
    routes: [route],
  });
  const head = { method: 'GET', path: '/', authority: 'api', scheme: 'http', headers: [] } as const;
  const ruleOf = () => state.routing(api, 80, 'shop')?.match({ ...head, headers: [] })?.rule;
  assert.equal(ruleOf()?.filters.length, 1);
  state.apply({ servicePolicies: [{ service: api.key, port: 80, origins: [], closed: 'field 50' }] });
  assert.equal(state.assignment(api.key, 80), undefined);
  assert.match(state.noEndpointsBecause(api.key, 80), /not understood: field 50/);
  const closed = ruleOf();
  assert.deepEqual([closed?.filters, closed?.backends[0]?.target.kind], [[], 'invalid']);
  state.apply({ removedServicePolicies: [`${api.key}:80`] });
  assert.equal(ruleOf()?.filters.length, 1);
  assert.ok(state.assignment(api.key, 80));
});

test('a port with routes for HTTP and for TCP has both: the latter for connections that are not HTTP', () => {
  const state = new WaypointState('', key('waypoint'));
  const api = service('api', '10.96.0.1');
  const route = (kind: 'http' | 'tcp'): Route => ({
    key: `${kind}/shop/api` as RouteKey,
    kind,
    namespace: 'shop',
    name: kind,
    createdMs: 0,
    parents: [{ service: api.key }],
    rules: [{ matches: [], filters: [], backends: [] }],
  });
  const head = { method: 'GET', path: '/', authority: '', scheme: '', headers: [] };
  const found = () => {
    const routing = state.routing(api, 80, 'shop');
    return [routing, routing?.connections].map((one) => one?.match(head)?.route.name);
  };
  state.apply({ routes: [route('http'), route('tcp')] });
  assert.deepEqual(found(), ['http', 'tcp']);
  state.apply({ removedRoutes: ['tcp/shop/api'] });
  assert.deepEqual(found(), ['http', undefined]);
  state.apply({ routes: [route('tcp')], removedRoutes: ['http/shop/api'] });
  assert.deepEqual(found(), ['tcp', undefined]);
});
