import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile } from '../compile/compile.js';
import type { Condition, MeshObject, ServiceObject } from '../objects/objects.js';
import { writeOf } from '../../test/support/status-writes.js';
import { serviceStatus } from './service.js';

const service = (labels: Record<string, string>, conditions?: readonly Condition[]): ServiceObject => ({
  kind: 'Service',
  metadata: { name: 'api', namespace: 'shop', uid: 'u', labels },
  spec: { clusterIP: '10.96.0.1' },
  ...(conditions ? { status: { conditions } } : {}),
});
const gateway = (from?: string): MeshObject => ({
  kind: 'Gateway',
  metadata: { name: 'wp', namespace: 'infra' },
  spec: {
    gatewayClassName: 'weft-waypoint',
    listeners: [
      {
        name: 'mesh',
        port: 15008,
        protocol: 'HBONE',
        ...(from ? { allowedRoutes: { namespaces: { from } } } : {}),
      },
    ],
  },
});
const foreign = { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' };
function written(of: ServiceObject, ...others: MeshObject[]) {
  const compiler = compile([of, ...others], { trustDomain: parseTrustDomain('t'), rootsVersion: '1' });
  const write = writeOf(serviceStatus, of, compiler);
  return (
    write && { path: write.path, body: write.body as { metadata: object; status: ServiceObject['status'] } }
  );
}

test('a Service that a waypoint does not admit says so, with what to do; one that is served says nothing', () => {
  const write = written(service(foreign), gateway());
  assert.equal(write?.path, '/api/v1/namespaces/shop/services/api/status');
  assert.deepEqual(write.body.metadata, { name: 'api', namespace: 'shop', uid: 'u' });
  const [condition] = write.body.status?.conditions ?? [];
  assert.equal(condition?.type, 'weft.dev/WaypointBound');
  assert.equal(condition.status, 'False');
  assert.equal(condition.reason, 'WaypointNotAllowed');
  assert.match(condition.message ?? '', /does not admit namespace shop.*allowedRoutes/);
  assert.equal(written(service(foreign), gateway('All')), undefined);
  assert.equal(written(service({})), undefined);
  assert.equal(written(service(foreign))?.body.status?.conditions?.[0]?.reason, 'WaypointMissing');
});

test('what was said is corrected once it holds no more, and is never read as a fact', () => {
  const said = written(service(foreign), gateway())?.body.status?.conditions ?? [];
  assert.equal(written(service(foreign, said), gateway()), undefined, 'said already');
  assert.equal(written(service(foreign, said), gateway('All'))?.body.status?.conditions?.[0]?.status, 'True');
  assert.deepEqual(written(service({}, said), gateway())?.body.status?.conditions, []);
  // A tenant may write this condition; what the mesh is told does not go by it.
  const forged = service(foreign, [
    { type: 'weft.dev/WaypointBound', status: 'True', reason: 'x', message: 'y' },
  ]);
  assert.equal(written(forged, gateway())?.body.status?.conditions?.[0]?.status, 'False');
});
