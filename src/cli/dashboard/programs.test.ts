import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AgentStatus } from '../cluster/agents.js';
import { clusterPrograms, testbedPrograms } from './programs.js';

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

test('programs of a cluster: what was not answered is not known, and a node without an agent is not ready', () => {
  const programs = clusterPrograms(
    {
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
    },
    undefined,
  );
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
});
