import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { closedForm } from '../compile/closed.js';
import { compile, type Compiler } from '../compile/compile.js';
import type { MeshObject, TargetRef, TrafficPolicyObject } from '../objects/objects.js';
import { unenforced } from '../problems/unenforced.js';
import { trafficPolicyStatus } from './traffic-policy.js';
import type { StatusLookup } from './status.js';

const gateway: MeshObject = {
  kind: 'Gateway',
  metadata: { name: 'wp', namespace: 'shop' },
  spec: { gatewayClassName: 'weft-waypoint' },
};
const service = (name: string, waypoint?: string): MeshObject => ({
  kind: 'Service',
  metadata: { name, namespace: 'shop', ...(waypoint ? { labels: { 'weft.dev/waypoint': waypoint } } : {}) },
  spec: {
    clusterIP: '10.96.0.1',
    ports: [
      { name: 'http', port: 80 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  },
});
const at = (name: string, sectionName?: string): TargetRef => ({
  group: '',
  kind: 'Service',
  name,
  ...(sectionName === undefined ? {} : { sectionName }),
});
const ofGateway = (name: string): TargetRef => ({
  group: 'gateway.networking.k8s.io',
  kind: 'Gateway',
  name,
});
const policy = (...targetRefs: readonly TargetRef[]): TrafficPolicyObject => ({
  kind: 'TrafficPolicy',
  metadata: { name: 'p', namespace: 'shop', generation: 3 },
  spec: {
    targetRefs,
    loadBalancing: { type: 'PeakEwma' },
    rateLimits: [{ name: 'l', requests: 1, per: '1s' }],
  },
});
const meshOf = (...objects: readonly MeshObject[]): Compiler =>
  compile([gateway, service('api', 'wp'), service('plain'), service('lost', 'gone'), ...objects], {
    trustDomain: parseTrustDomain('cluster.local'),
    rootsVersion: '1',
  });
const lookup = (mesh: Compiler, more: Partial<StatusLookup> = {}): StatusLookup => ({
  mesh,
  timestamp: '2026-01-01T00:00:00Z',
  ...more,
});
type Status = NonNullable<TrafficPolicyObject['status']>;
const statusOf = (one: TrafficPolicyObject, from: StatusLookup): Status =>
  trafficPolicyStatus(one, from)?.status as Status;
const shown = ({ conditions = [], ancestors = [] }: Status): string[][] => [
  conditions.map(({ type, status, reason }) => `${type}=${status} ${reason}`),
  ...ancestors.map(({ ancestorRef: ref, conditions: of = [] }) => [
    [ref.kind, ref.name, ref.sectionName ?? ''].join(' ').trim(),
    ...of.map(({ type, status, reason }) => `${type}=${status} ${reason}`),
  ]),
];

test('each target has its conditions, and the policy those of the first target that has a problem', () => {
  const one = policy(at('api'), at('api', '80'), ofGateway('wp'));
  const good = ['Accepted=True Accepted', 'weft.dev/Enforced=True Enforced'];
  const status = statusOf(one, lookup(meshOf(one)));
  assert.deepEqual(shown(status), [
    good,
    ['Service api', ...good],
    ['Service api 80', ...good],
    ['Gateway wp', ...good],
  ]);
  assert.deepEqual(status.ancestors?.[1], {
    ancestorRef: { group: '', kind: 'Service', namespace: 'shop', name: 'api', sectionName: '80' },
    controllerName: 'weft.dev/waypoint',
    conditions: [
      {
        type: 'Accepted',
        status: 'True',
        reason: 'Accepted',
        message: 'in force',
        observedGeneration: 3,
        lastTransitionTime: '2026-01-01T00:00:00Z',
      },
      {
        type: 'weft.dev/Enforced',
        status: 'True',
        reason: 'Enforced',
        message: 'applied by the waypoint',
        observedGeneration: 3,
        lastTransitionTime: '2026-01-01T00:00:00Z',
      },
    ],
  });
  // The same status is not written again, also later.
  const written = { ...one, status };
  assert.equal(
    trafficPolicyStatus(written, lookup(meshOf(written), { timestamp: '2026-02-02T00:00:00Z' })),
    undefined,
  );
});

test('targets that do not exist, and Services without a waypoint, are reported', () => {
  const one = policy(
    at('none'),
    at('api', 'nope'),
    at('api', 'dns'),
    ofGateway('none'),
    at('plain'),
    at('lost'),
  );
  const missing = 'Accepted=False TargetNotFound';
  const mesh = meshOf(one);
  assert.deepEqual(shown(statusOf(one, lookup(mesh))), [
    [missing, 'weft.dev/Enforced=False NoWaypoint'],
    ['Service none', missing],
    ['Service api nope', missing],
    ['Service api dns', missing],
    ['Gateway none', missing],
    ['Service plain', 'Accepted=True Accepted', 'weft.dev/Enforced=False NoWaypoint'],
    ['Service lost', 'Accepted=True Accepted', 'weft.dev/Enforced=False WaypointMissing'],
  ]);
  const problems = [...unenforced(mesh)].filter((text) => text.startsWith('TrafficPolicy'));
  assert.equal(problems.length, 2);
  assert.match(problems[0] ?? '', /TrafficPolicy shop\/p: Service none: there is no Service shop\/none/);
  assert.match(problems[1] ?? '', /Service plain: Service shop\/plain has no waypoint/);
});

test('a waypoint of a version that lacks a feature of the policy does not enforce it', () => {
  const one = policy(at('api'));
  const mesh = meshOf(one);
  const versions = (...lacks: string[]): StatusLookup =>
    lookup(mesh, { olderVersions: () => [{ version: '0.1.0', lacks }] });
  for (const feature of [
    'LoadBalancing.peak_ewma',
    'RouteFilter.local_rate_limit',
    'ServicePolicy.load_balancing',
  ]) {
    const [, enforced] = statusOf(one, versions(feature)).conditions ?? [];
    assert.equal(enforced?.reason, 'UnsupportedByWaypoint');
    assert.ok(enforced.message?.includes(feature), enforced.message);
  }
  assert.equal(statusOf(one, versions('RouteFilter.cors')).conditions?.[1]?.status, 'True');
});

test('an unreadable policy says so at each target that can be read', () => {
  const closed = closedForm(policy(at('api')), 'spec.x is unknown', undefined) as TrafficPolicyObject;
  const [whole, ...targets] = shown(statusOf(closed, lookup(meshOf(closed))));
  assert.deepEqual(
    [whole, targets],
    [['Accepted=False Invalid'], [['Service api', 'Accepted=False Invalid']]],
  );
  const none = { ...closed, spec: { ...closed.spec, targetRefs: [] } };
  assert.deepEqual(shown(statusOf(none, lookup(meshOf(none)))), [['Accepted=False Invalid']]);
});
