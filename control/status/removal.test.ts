import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile } from '../compile/compile.js';
import type { MeshObject } from '../objects/objects.js';
import { removalWrites } from '../../test/support/status-writes.js';
import type { Write } from '../kubernetes/apply-queue.js';

const yes = (type: string) => ({ type, status: 'True', reason: type, message: '', observedGeneration: 1 });
const objects = (): MeshObject[] =>
  [
    {
      kind: 'AccessPolicy',
      metadata: { name: 'p', namespace: 'shop', generation: 1 },
      spec: { action: 'DENY', rules: [] },
      status: { conditions: [yes('Accepted')] },
    },
    {
      kind: 'GatewayClass',
      metadata: { name: 'weft-waypoint', generation: 1 },
      spec: { controllerName: 'weft.dev/waypoint' },
      status: { conditions: [yes('Accepted')] },
    },
    {
      kind: 'Gateway',
      metadata: { name: 'waypoint', namespace: 'shop', generation: 1 },
      spec: { gatewayClassName: 'weft-waypoint' },
      status: {
        addresses: [{ type: 'IPAddress', value: '10.96.0.9' }],
        conditions: [yes('Accepted'), yes('Programmed')],
        listeners: [{ name: 'mesh', conditions: [yes('Programmed')] }],
      },
    },
    {
      kind: 'Gateway',
      metadata: { name: 'foreign', namespace: 'shop', generation: 1 },
      spec: { gatewayClassName: 'nginx' },
      status: { conditions: [yes('Programmed')] },
    },
    {
      kind: 'Service',
      metadata: { name: 'api', namespace: 'shop' },
      spec: {},
      status: { conditions: [yes('weft.dev/WaypointBound')] },
    },
    { kind: 'Service', metadata: { name: 'plain', namespace: 'shop' }, spec: {} },
    {
      kind: 'HTTPRoute',
      metadata: { name: 'r', namespace: 'shop', generation: 1, resourceVersion: '7' },
      spec: { parentRefs: [{ group: '', kind: 'Service', name: 'api' }] },
      status: {
        parents: [
          { parentRef: { name: 'gw' }, controllerName: 'other.test/x', conditions: [yes('Accepted')] },
          { parentRef: { name: 'api' }, controllerName: 'weft.dev/waypoint', conditions: [yes('Accepted')] },
        ],
      },
    },
  ] as MeshObject[];
const writes = (given: readonly MeshObject[]): Write[] => [
  ...removalWrites(
    compile(given, { trustDomain: parseTrustDomain('test'), rootsVersion: '1', removal: 'open' }),
  ),
];
interface Status {
  readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  readonly parents?: readonly { readonly controllerName: string }[];
  readonly listeners?: readonly Status[];
  readonly addresses?: readonly unknown[];
}

test('during the uninstall no condition claims that an object is in force, and objects of other controllers are left alone', () => {
  const given = objects();
  const written = new Map(
    writes(given).map(({ path, body }) => [
      path.split('/').slice(-2)[0],
      (body as { status: Status }).status,
    ]),
  );
  assert.deepEqual([...written.keys()].sort(), ['api', 'p', 'r', 'waypoint', 'weft-waypoint']);
  const statuses = (name: string): string[] =>
    (written.get(name)?.conditions ?? []).map(({ type, status }) => `${type} ${status}`);
  assert.deepEqual(statuses('p'), ['Accepted False']);
  assert.deepEqual(statuses('weft-waypoint'), ['Accepted Unknown']);
  assert.deepEqual(statuses('waypoint'), ['Accepted Unknown', 'Programmed False']);
  assert.deepEqual(written.get('waypoint')?.addresses, []);
  assert.equal(written.get('waypoint')?.listeners?.[0]?.conditions?.[0]?.status, 'False');
  assert.deepEqual(written.get('api')?.conditions, []);
  assert.deepEqual(
    written.get('r')?.parents?.map(({ controllerName }) => controllerName),
    ['other.test/x'],
  );
  // With these statuses, nothing more is written.
  const again = given.map((object) => {
    const status = written.get(object.metadata.name);
    return status && object.metadata.name !== 'foreign' ? ({ ...object, status } as MeshObject) : object;
  });
  assert.deepEqual(writes(again), []);
});
