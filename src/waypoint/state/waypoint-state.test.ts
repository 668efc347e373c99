import assert from 'node:assert/strict';
import { test } from 'node:test';
import { behind, key, service, workload } from '../../../test/support/mesh.js';
import { parseIp } from '../../model/address.js';
import type { Route, RouteKey } from '../../model/route.js';
import { WaypointState } from './waypoint-state.js';

test('the number of known endpoints stays bounded when clients dial every port of every pod', () => {
  const state = new WaypointState('', key('waypoint'));
  const itself = { kind: 'hostname', service: key('waypoint'), hbonePort: 15008 } as const;
  const pods = ['a', 'b'].map((name, i) =>
    workload(name, `10.0.0.${i + 1}`, 'node-1', { ...behind('api'), waypoint: itself }),
  );
  state.apply({
    mesh: { workloads: pods, services: [service('api', '10.96.0.1', 8080, { waypoint: itself })] },
  });
  const [listed] = state.endpoints(key('api'), 80) ?? [];
  assert.ok(listed);
  const at = (pod: (typeof pods)[number], port: number) =>
    state.endpointAt(pod, { ip: pod.addresses[0] ?? parseIp('10.0.0.1'), port });
  const [first] = pods;
  assert.ok(first);
  const inUse = at(first, 9090);
  inUse.active = 1;
  for (const pod of pods) for (let port = 1; port < 65_536; port++) at(pod, port);
  assert.ok(state.endpointsKnown <= 16_384, `${state.endpointsKnown}`);
  // Endpoints in use and endpoints of Services keep their identity.
  assert.equal(at(first, 9090), inUse);
  assert.equal(state.endpoints(key('api'), 80)?.[0], listed);
});

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
    rules: [{ matches: [], filters: [{ kind: 'redirect', statusCode: 302 }], backends: [] }],
  };
  state.apply({
    mesh: { workloads: [workload('a', '10.0.0.1', 'n', behind('api'))], services: [api] },
    routes: [route],
  });
  const head = { method: 'GET', path: '/', authority: 'api', scheme: 'http', headers: [] } as const;
  const ruleOf = () => state.routing(api, 80, 'shop')?.match({ ...head, headers: [] })?.rule;
  assert.equal(ruleOf()?.filters.length, 1);
  state.apply({ servicePolicies: [{ service: api.key, port: 80, origins: [], closed: 'field 50' }] });
  assert.equal(state.endpoints(api.key, 80), undefined);
  assert.match(state.noEndpointsBecause(api.key, 80), /not understood: field 50/);
  const closed = ruleOf();
  assert.deepEqual([closed?.filters, closed?.backends[0]?.target.kind], [[], 'invalid']);
  state.apply({ removedServicePolicies: [`${api.key}:80`] });
  assert.equal(ruleOf()?.filters.length, 1);
  assert.ok(state.endpoints(api.key, 80));
});
