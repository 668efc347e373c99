import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AgentStatus } from '../cluster/agents.js';
import type { ClusterStatus } from '../cluster/status.js';
import type { WaypointReport } from '../cluster/waypoint-pods.js';
import { clusterPrograms, testbedPrograms, waypointGaps, type ClusterWaypoints } from './programs.js';

const [first, later] = ['2030-01-01T00:00:00.000Z', '2031-01-01T00:00:00.000Z'];
const agent: AgentStatus = {
  ready: true,
  version: '1.0',
  pods: [],
  waiting: {},
  uncaptured: [],
  control: { state: 'connected', why: '' },
  missing: {},
  cni: 'in its place',
  certificates: [
    { id: 'a', notAfter: later },
    { id: 'b', notAfter: first },
  ],
  timeMs: 0,
};

test('programs of a testbed: health with the reason, and the first certificate that expires', () => {
  const programs = testbedPrograms(
    {
      ok: false,
      control: 'ended',
      nodes: [
        {
          node: 'a',
          ready: true,
          pods: [],
          waiting: {},
          control: 'connected',
          version: '1.0',
          certificates: agent.certificates,
        },
        { node: 'b', ready: false, why: 'no answer', pods: [], waiting: {} },
        {
          node: 'c',
          ready: true,
          pods: [],
          waiting: { x: 'no netns' },
          control: 'connected',
          undecodable: [{ type: 'Workload', why: 'newer' }],
        },
      ],
      waypoints: [
        {
          gateway: 'shop/w',
          netns: 'n',
          ready: true,
          report: {
            ready: true,
            version: '1.0',
            control: { state: 'connected' },
            certificate: { notAfter: first },
          },
        },
      ],
    },
    later,
  );
  assert.deepEqual(programs, [
    {
      kind: 'control-plane',
      name: 'control',
      health: 'not-ready',
      why: 'it has ended: changes wait until it runs again',
      certificateExpiresMs: Date.parse(later),
    },
    {
      kind: 'agent',
      name: 'a',
      version: '1.0',
      health: 'ready',
      isInSync: true,
      certificateExpiresMs: Date.parse(first),
    },
    { kind: 'agent', name: 'b', health: 'not-ready', why: 'no answer' },
    {
      kind: 'agent',
      name: 'c',
      health: 'ready',
      why: 'x waits: no netns; cannot decode Workload: newer',
      isInSync: false,
    },
    {
      kind: 'waypoint',
      name: 'shop/w',
      version: '1.0',
      health: 'ready',
      isInSync: true,
      certificateExpiresMs: Date.parse(first),
    },
  ]);
});

const cluster: ClusterStatus = {
  ok: false,
  control: { ready: 1, wanted: 2, image: 'registry:5000/weft:0.1.0@sha256:aa' },
  failures: [],
  configuration: [],
  pending: [],
  nodes: [
    { name: 'a', agent: { node: 'a', pod: 'p', status: agent } },
    { name: 'b', agent: { node: 'b', pod: 'p', why: 'forbidden' } },
    { name: 'c' },
    { name: 'd', agent: { node: 'd', pod: 'p', status: agent, isPodUnready: true } },
  ],
  namespaces: [],
  unknown: [],
};

test('programs of a cluster: what was not answered is not known, and a node without an agent is not ready', () => {
  const { programs, unread } = clusterPrograms(cluster, { gateways: [] });
  assert.deepEqual(
    programs.map(({ name, version, health, why, isInSync }) => [name, version, health, why, isInSync]),
    [
      ['weft-control', '0.1.0', 'not-ready', '1 of 2 replicas are ready', undefined],
      ['a', '1.0', 'ready', undefined, true],
      ['b', undefined, 'unknown', 'forbidden', undefined],
      ['c', undefined, 'not-ready', 'the node has no agent: its enrolled pods are closed', undefined],
      ['d', '1.0', 'not-ready', 'the kubelet reports its pod as not ready', true],
    ],
  );
  assert.deepEqual(unread, []);
});

test('an agent that holds no certificate needs none; one that does not say is another thing', () => {
  const status = { ...agent, certificates: [] };
  const nodes = [
    { name: 'a', agent: { node: 'a', pod: 'p', status } },
    { name: 'b', agent: { node: 'b', pod: 'p' } },
  ];
  const { programs } = clusterPrograms({ ...cluster, nodes }, { gateways: [] });
  assert.deepEqual(
    programs.slice(1).map(({ hasNoCertificate }) => hasNoCertificate),
    [true, undefined],
  );
});

test('programs that may not be read are named with the reason, never as nodes without an agent or as none', () => {
  const { control: _control, ...rest } = cluster;
  const unknown = ['the control plane: no right', 'agents: forbidden'];
  const { programs, unread } = clusterPrograms(
    { ...rest, nodes: [{ name: 'c' }], unknown },
    { gatewaysWhy: 'no Gateways' },
  );
  assert.deepEqual(programs, [{ kind: 'agent', name: 'c', health: 'unknown', why: 'agents: forbidden' }]);
  assert.deepEqual(unread, [
    { kind: 'control-plane', why: 'the control plane: no right' },
    { kind: 'agent', why: 'agents: forbidden' },
    { kind: 'waypoint', why: 'no Gateways' },
  ]);
  assert.equal(clusterPrograms(rest, { gateways: [] }).programs[0]?.health, 'not-ready', 'there is none');
});

const gateway = {
  namespace: 'shop',
  name: 'w',
  programmed: true,
  addresses: [],
  available: 2,
  wanted: 2,
  users: [],
  refused: [],
};
const waypointOf = (more: Partial<ClusterWaypoints>) =>
  clusterPrograms({ ...cluster, nodes: [] }, { gateways: [gateway], ...more }).programs[1];
const reporting = (pod: string, report: WaypointReport) => ({ gateway: 'shop/w', pod, report });

test('a waypoint of a cluster has the version, configuration and the first expiry of what its pods say', () => {
  const both = [
    reporting('w-1', { version: '1.0', isInSync: true, notAfter: later }),
    reporting('w-2', { version: '0.9', isInSync: true, notAfter: first }),
    { gateway: 'bank/w', pod: 'w-1', report: { version: '7', isInSync: false, notAfter: 'x' } },
  ];
  assert.deepEqual(waypointOf({ pods: both }), {
    kind: 'waypoint',
    name: 'shop/w',
    version: '0.9 and 1.0',
    health: 'ready',
    isInSync: true,
    certificateExpiresMs: Date.parse(first),
  });
});

test('what a pod of a waypoint does not say is not known of the waypoint, and the reason is given', () => {
  const pods = [
    reporting('w-1', { version: '1.0', isInSync: true, notAfter: later }),
    { gateway: 'shop/w', pod: 'w-2', why: 'forbidden' },
  ];
  const one = waypointOf({ pods });
  assert.deepEqual([one?.isInSync, one?.certificateExpiresMs, one?.version], [undefined, undefined, '1.0']);
  assert.match(
    [...waypointGaps({ gateways: [gateway], pods })].join(),
    /of shop\/w \(pod w-2\) are not known: forbidden/,
  );
  assert.equal(waypointOf({ podsWhy: 'no' })?.certificateExpiresMs, undefined);
  assert.match(
    [...waypointGaps({ gateways: [], podsWhy: 'no' })].join(),
    /certificates and configuration are not known: no/,
  );
  assert.deepEqual(
    [waypointOf({ deploymentsWhy: 'no' })?.health, waypointOf({})?.health],
    ['unknown', 'ready'],
  );
  assert.deepEqual([...waypointGaps({ gatewaysWhy: 'no', podsWhy: 'no' })], ['waypoints: no']);
});
