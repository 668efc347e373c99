import assert from 'node:assert/strict';
import { test } from 'node:test';
import { behind, key, service, workload } from '../../../test/support/mesh.js';
import { parseIp } from '../../model/address.js';
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
