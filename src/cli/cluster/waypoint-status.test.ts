import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waypointFindings } from '../../findings/waypoints.js';
import {
  listLines,
  statusLines,
  waypointStatuses,
  type GatewayItem,
  type WaypointObjects,
} from './waypoint-status.js';

const gateway = (name: string, status: string, more: Partial<GatewayItem> = {}): GatewayItem => ({
  metadata: { name, namespace: 'shop', generation: 2 },
  spec: { gatewayClassName: 'weft-waypoint' },
  status: {
    addresses: [{ value: '10.96.0.7' }],
    conditions: [
      { type: 'Programmed', status, reason: 'R', message: 'because of something', observedGeneration: 2 },
    ],
  },
  ...more,
});
const labelled = (name: string, labels: Record<string, string>, namespace?: string) => ({
  metadata: { name, labels, ...(namespace === undefined ? {} : { namespace }) },
});
const of = (gateways: readonly GatewayItem[], more: Partial<WaypointObjects> = {}) =>
  waypointStatuses({ gateways, deployments: [], namespaces: [], services: [], ...more });

test('a waypoint is programmed only by conditions of its present generation', () => {
  const [good] = of([gateway('wp', 'True')]);
  assert.equal(good?.programmed, true);
  assert.equal(good.why, undefined);
  assert.match(of([gateway('wp', 'False')])[0]?.why ?? '', /^R: because of something$/);
  const changed = gateway('wp', 'True', { metadata: { name: 'wp', namespace: 'shop', generation: 3 } });
  assert.equal(of([changed])[0]?.programmed, false);
  assert.match(of([gateway('wp', 'True', { status: {} })])[0]?.why ?? '', /no control plane/);
});

const admittingAll = {
  gatewayClassName: 'weft-waypoint',
  listeners: [{ protocol: 'HBONE', allowedRoutes: { namespaces: { from: 'All' } } }],
};

test('a user that the waypoint does not admit is shown as closed, and weft check says what to do', () => {
  const foreign = {
    services: [labelled('api', { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'shop' }, 'far')],
    namespaces: [labelled('shop', { 'weft.dev/waypoint': 'wp' }), labelled('far', {})],
  };
  const [status] = of([gateway('wp', 'True')], foreign);
  assert.deepEqual([status?.users, status?.refused], [['shop'], ['Service far/api']]);
  assert.ok(status);
  assert.match([...statusLines(status)].join('\n'), /^closed +Service far\/api: it does not admit it/m);
  assert.match([...listLines([status])].join('\n'), /^Service far\/api +shop\/wp does not admit it/m);
  const [admitted] = of([gateway('wp', 'True', { spec: admittingAll })], foreign);
  assert.deepEqual([admitted?.users, admitted?.refused], [['shop', 'Service far/api'], []]);
  const findings = (gateways: readonly GatewayItem[]): string[] =>
    waypointFindings({ gateways, ...foreign }).map(({ level, what }) => `${level} ${what}`);
  assert.deepEqual(findings([gateway('wp', 'True', { spec: admittingAll })]), []);
  assert.match(
    findings([gateway('wp', 'True')]).join(),
    /^fail Service far\/api names the waypoint shop\/wp, which/,
  );
  assert.equal(findings([]).length, 2);
});

test('Gateways of other classes are not waypoints', () => {
  assert.deepEqual(of([gateway('edge', 'True', { spec: { gatewayClassName: 'nginx' } })]), []);
});

test('users of a waypoint are read from labels, also those of other namespaces and of Istio', () => {
  const [status] = of([gateway('wp', 'True', { spec: admittingAll })], {
    deployments: [
      {
        metadata: { name: 'wp', namespace: 'shop' },
        spec: { replicas: 2 },
        status: { availableReplicas: 1 },
      },
      { metadata: { name: 'wp', namespace: 'other' }, spec: { replicas: 9 } },
    ],
    namespaces: [
      labelled('shop', { 'weft.dev/waypoint': 'wp' }),
      labelled('other', { 'istio.io/use-waypoint': 'wp', 'istio.io/use-waypoint-namespace': 'shop' }),
      labelled('third', { 'weft.dev/waypoint': 'wp' }),
      labelled('fourth', { 'weft.dev/waypoint': 'none' }),
    ],
    services: [labelled('api', { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'shop' }, 'far')],
  });
  assert.deepEqual(status?.users, ['shop', 'other', 'Service far/api']);
  assert.deepEqual([status.available, status.wanted], [1, 2]);
  const text = [...statusLines(status)].join('\n');
  assert.match(text, /^programmed +yes$/m);
  assert.match(text, /^replicas +1 of 2 available$/m);
  assert.match(text, /^used by +shop\n +other\n +Service far\/api$/m);
});

test('the list repeats the waypoints that are not programmed, with the reason', () => {
  const text = [...listLines(of([gateway('b', 'False'), gateway('a', 'True')]))].join('\n');
  assert.match(text, /^shop +a +yes +10\.96\.0\.7 +0 of 0 +nobody$/m);
  assert.match(text, /^shop\/b +R: because of something$/m);
  assert.ok(text.indexOf(' a ') < text.indexOf(' b '));
  assert.doesNotMatch([...listLines(of([gateway('a', 'True')]))].join('\n'), /NOT PROGRAMMED/);
});
