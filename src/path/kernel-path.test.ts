import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../model/address.js';
import { MeshState } from '../state/store.js';
import { behind, pod, policy, replica, service, waypointRef, workload } from '../../test/support/mesh.js';
import { kernelPathObstacle, kernelServiceObstacle } from './kernel-path.js';

const [web, api] = [pod('web', '10.0.1.1'), pod('api', '10.0.1.2')];
function meshOf(...updates: readonly Parameters<MeshState['apply']>[0][]): MeshState {
  const view = new MeshState();
  view.apply({
    workloads: [workload('web', '10.0.1.1', 'n1'), workload('api', '10.0.1.2', 'n1', behind('api'))],
    services: [service('api', '10.96.0.1')],
  });
  for (const update of updates) view.apply(update);
  return view;
}

test('what keeps two pods of a node from the kernel path is said', () => {
  const obstacle = (view: MeshState, source = web, destination = api): string | undefined =>
    kernelPathObstacle(view, source, destination, 8080, 'n1');
  assert.equal(obstacle(meshOf()), undefined);
  assert.match(obstacle(meshOf(), { ...web, sameNode: 'encrypted' }) ?? '', /shop\/web demand mutual TLS/);
  assert.match(obstacle(meshOf(), web, { ...api, sameNode: 'encrypted' }) ?? '', /shop\/api demand/);
  assert.match(obstacle(meshOf(), web, { ...api, addresses: [parseIp('fd00::1')] }) ?? '', /one family/);
  const denied = meshOf({ policies: [policy('no', 'deny', { principals: [{ kind: 'presence' }] })] });
  assert.match(obstacle(denied) ?? '', /policy shop\/no rule 0 denies it/);
  const audited = meshOf({
    policies: [policy('no', 'deny', { principals: [{ kind: 'presence' }] }, { dryRun: true })],
  });
  assert.match(obstacle(audited) ?? '', /audit mode shop\/no/);
  const guarded = meshOf({
    services: [
      service('api', '10.96.0.1', 8080, { waypoint: waypointRef }),
      service('wp', '10.96.0.9', 15008),
    ],
    workloads: [replica('wp-0', '10.0.1.9')],
  });
  assert.match(obstacle(guarded) ?? '', /a waypoint serves the port/);
  const outside = meshOf({ workloads: [workload('api', '10.0.1.2', 'n1', { tunnel: 'none' })] });
  assert.match(obstacle(outside) ?? '', /not in the mesh/);
});

test('what keeps the kernel from balancing a Service is said', () => {
  const view = meshOf();
  const found = view.service(service('api', '10.96.0.1').key);
  assert.ok(found);
  assert.equal(kernelServiceObstacle(view, found, parseIp('10.96.0.1')), undefined);
  const guarded = { ...found, waypoint: waypointRef };
  assert.match(kernelServiceObstacle(view, guarded, parseIp('10.96.0.1')) ?? '', /waypoint/);
  assert.match(
    kernelServiceObstacle(view, { ...found, scope: 'namespace' }, parseIp('10.96.0.1')) ?? '',
    /only for some/,
  );
});
