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

test('a Service that its waypoint does not admit gets a condition with the remedy; a Service that is served gets none', () => {
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

test('an outdated condition is corrected or removed, and its content is never trusted', () => {
  const said = written(service(foreign), gateway())?.body.status?.conditions ?? [];
  assert.equal(
    written(service(foreign, said), gateway()),
    undefined,
    'the Service has the condition already',
  );
  assert.equal(written(service(foreign, said), gateway('All'))?.body.status?.conditions?.[0]?.status, 'True');
  assert.deepEqual(written(service({}, said), gateway())?.body.status?.conditions, []);
  // A tenant may write this condition. The compiled resources do not depend on it.
  const forged = service(foreign, [
    { type: 'weft.dev/WaypointBound', status: 'True', reason: 'x', message: 'y' },
  ]);
  assert.equal(written(forged, gateway())?.body.status?.conditions?.[0]?.status, 'False');
});
