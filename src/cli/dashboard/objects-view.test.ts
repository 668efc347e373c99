import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  behind,
  domain,
  identity,
  key,
  pod,
  policy,
  replica,
  service,
  uid,
  waypointRef,
  workload,
} from '../../../test/support/mesh.js';
import { refusedWaypoint } from '../../model/refused-waypoint.js';
import type { PolicyKey } from '../../model/policy.js';
import type { MeshSnapshot } from '../../state/snapshot.js';
import { objectsView } from './objects-view.js';

const selected = policy(
  'api-only',
  'allow',
  { serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }] },
  { scope: 'workload' },
);
const bank = policy(
  'p',
  'deny',
  { destinationPorts: [1] },
  { key: 'bank/AuthorizationPolicy/p' as PolicyKey, name: 'AuthorizationPolicy/p', namespace: 'bank' },
);
const compiled: MeshSnapshot = {
  trustDomain: domain,
  mesh: {
    workloads: [
      workload('web', '10.0.0.1', 'n1'),
      workload('api-1', '10.0.0.2', 'n1', {
        ...behind('api'),
        workloadName: 'api',
        policies: ['shop/api-only'],
      }),
      workload('api-2', '10.0.0.3', 'n2', {
        ...behind('api'),
        workloadName: 'api',
        policies: ['shop/api-only'],
      }),
      workload('closed', '10.0.0.5', 'n2', {
        waypoint: refusedWaypoint({ namespace: 'infra', name: 'w' }, 15008),
      }),
      replica('wp-1', '10.0.0.4'),
      workload('teller', '10.0.1.1', 'n1', { namespace: 'bank', identity: identity('bank', 'teller') }),
    ],
    services: [service('api', '10.1.0.1', 8080, { waypoint: waypointRef }), service('wp', '10.1.0.2', 15008)],
    policies: [selected, bank],
  },
  pods: [],
  nodePods: [
    { node: 'n1', pod: pod('web', '10.0.0.1') },
    { node: 'n1', pod: { ...pod('api-1', '10.0.0.2'), uid: uid('api-1') } },
  ],
  routes: [],
  servicePolicies: [],
  withoutAddress: [],
  waypoints: ['shop/wp'],
};

test('workloads have their pods, Services and waypoint; a pod that is not enrolled is known as such', () => {
  const { workloads } = objectsView(compiled);
  assert.deepEqual(
    workloads?.map(({ id, services, waypoint, pods }) => [
      id,
      services,
      waypoint,
      pods.map(({ name, isEnrolled }) => `${name} ${isEnrolled}`),
    ]),
    [
      ['bank/teller', [], undefined, ['teller false']],
      ['shop/api', ['shop/api'], 'shop/wp', ['api-1 true', 'api-2 false']],
      ['shop/closed', [], 'infra/w', ['closed false']],
      ['shop/web', [], undefined, ['web true']],
      ['shop/wp-1', ['shop/wp'], undefined, ['wp-1 true']],
    ],
  );
  assert.ok(key('api'));
});

test('policies have the workloads that they apply to; those of other kinds are named as their objects are', () => {
  assert.deepEqual(
    objectsView(compiled).policies?.map(({ kind, namespace, name, workloads }) => [
      kind,
      namespace,
      name,
      workloads,
    ]),
    [
      ['AuthorizationPolicy', 'bank', 'p', ['bank/teller']],
      ['AccessPolicy', 'shop', 'api-only', ['shop/api']],
    ],
  );
});

test('of one namespace nothing of another is in it', () => {
  const { workloads, policies } = objectsView(compiled, 'bank');
  assert.deepEqual(
    workloads?.map(({ id }) => id),
    ['bank/teller'],
  );
  assert.deepEqual(
    policies?.map(({ name }) => name),
    ['p'],
  );
});

test('without Pods workloads are not known; without Namespaces it is not known which pods are outside of the mesh', () => {
  const without = (...kinds: readonly string[]) => objectsView(compiled, undefined, new Set(kinds));
  assert.equal(without('Pod').workloads, undefined);
  assert.ok(without('AccessPolicy').policies, 'those of other kinds are there');
  assert.equal(
    objectsView({ ...compiled, mesh: {} }, undefined, new Set(['AccessPolicy'])).policies,
    undefined,
  );
  const enrolled = (view: ReturnType<typeof without>): unknown[] =>
    [...new Set((view.workloads ?? []).flatMap(({ pods }) => pods.map((one) => one.isEnrolled)))].sort();
  assert.deepEqual(enrolled(without()), [false, true]);
  assert.deepEqual(enrolled(without('Namespace')), [true, undefined]);
});
