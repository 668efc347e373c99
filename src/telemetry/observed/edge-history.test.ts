import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge } from '../../../test/support/edges.js';
import { edgeSlotMs, type Edge, type EdgeSlot } from '../../model/edge.js';
import { edgeHistory } from './edge-history.js';
import { edgeStates } from './edge-states.js';

const nowMs = 40 * edgeSlotMs;
const slot = (at: number, more: Partial<EdgeSlot>): EdgeSlot => ({
  atMs: at * edgeSlotMs,
  connections: 0,
  requests: 0,
  failures: 0,
  refused: 0,
  ...more,
});
const bySlot = (more: Parameters<typeof edge>[0], ...slots: readonly EdgeSlot[]): Edge => {
  const sum = (name: 'connections' | 'requests' | 'failures' | 'refused'): number =>
    slots.reduce((total, one) => total + one[name], 0);
  const counts = { connections: sum('connections'), requests: sum('requests'), failures: sum('failures') };
  return edge(more, { ...counts, refused: sum('refused'), slots });
};
const waypoint = { reporter: 'waypoint', path: 'waypoint', method: 'GET', pathTemplate: '/' } as const;

test('each slot has its own share of success, of requests that were not refused', () => {
  const edges = [
    bySlot(waypoint, slot(20, { requests: 10 }), slot(22, { requests: 10, failures: 2, refused: 2 })),
    bySlot({ port: 1 }, slot(21, { connections: 3, failures: 1 })),
  ];
  const { history, shares } = edgeHistory({ edges, sinceMs: 0 }, nowMs);
  assert.deepEqual(
    history.points.map(({ timeMs, successShare, requests, connections, refused }) => [
      timeMs / edgeSlotMs,
      successShare,
      requests,
      connections,
      refused,
    ]),
    [
      [20, 1, 10, 0, 0],
      [21, undefined, 0, 3, 0],
      [22, 0.75, 10, 0, 2],
    ],
  );
  const [, id] = edgeStates(edges, 0, nowMs).map((one) => one.id);
  assert.deepEqual([...shares.keys()].length, 1, 'connections have no line');
  assert.ok(
    [...shares.keys()].every((key) => edgeStates(edges, 0, nowMs).some((one) => one.id === key)),
    id,
  );
  const [line = []] = shares.values();
  assert.equal(history.fromMs / edgeSlotMs, 10);
  assert.deepEqual(line, [...new Array<null>(10).fill(null), 1, null, 0.75]);
});

test('what several programs reported of the same requests counts once', () => {
  const { history } = edgeHistory(
    {
      sinceMs: 0,
      edges: [
        bySlot(waypoint, slot(20, { requests: 4, failures: 1 })),
        bySlot({ reporter: 'destination', path: 'inbound-hbone', method: 'GET' }, slot(20, { requests: 4 })),
      ],
    },
    nowMs,
  );
  assert.deepEqual(
    history.points.map(({ requests, successShare }) => [requests, successShare]),
    [[4, 0.75]],
  );
});

test('what was before a replica started is not known: the line begins after it, in the slot in which it started', () => {
  const edges = [
    bySlot(waypoint, slot(20, { requests: 1 }), slot(30, { requests: 2 }), slot(31, { requests: 3 })),
  ];
  const { history, shares } = edgeHistory({ edges, sinceMs: 30 * edgeSlotMs + 7 }, nowMs);
  assert.equal(history.fromMs, 30 * edgeSlotMs);
  assert.deepEqual(
    history.points.map(({ requests }) => requests),
    [2, 3],
  );
  assert.deepEqual([...shares.values()], [[1, 1]]);
});

test('one failure of many is never rounded to none, and counts that cannot be give no share beyond 0', () => {
  const of = (more: Partial<EdgeSlot>): number | undefined =>
    edgeHistory({ edges: [bySlot(waypoint, slot(20, more))], sinceMs: 0 }, nowMs).history.points[0]
      ?.successShare;
  assert.equal(of({ requests: 1_000_000, failures: 1 }), 0.9999);
  assert.equal(of({ requests: 1, failures: 9 }), 0);
  assert.equal(of({ requests: 3, refused: 9 }), undefined);
});
