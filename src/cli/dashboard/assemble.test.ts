import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Change } from '../../model/change.js';
import { noCounts, type Edge, type EdgeCounts } from '../../model/edge.js';
import type { Observation } from '../edges/observation.js';
import type { ProgramState } from '../../model/mesh-snapshot.js';
import { edgeHistory } from '../../telemetry/observed/edge-history.js';
import { id } from '../../../test/support/mesh.js';
import { assemble, isNothingRead, read, unread, type Readings } from './assemble.js';

const party = (workload: string, pod = workload) => ({
  namespace: 'shop',
  workload,
  pod,
  identity: id(workload),
});
const edge = (more: Partial<Edge>, counts: Partial<EdgeCounts> = {}): Edge => ({
  reporter: 'source',
  source: party('web'),
  destination: party('api'),
  service: '',
  port: 8080,
  path: 'hbone',
  method: '',
  pathTemplate: '',
  policy: '',
  ...more,
  counts: { ...noCounts, lastSeenMs: 1, ...counts },
});
const change = (timeMs: number, receivers: Change['receivers']): Change => ({
  kind: 'Service',
  namespace: 'shop',
  name: `s${timeMs}`,
  operation: 'updated',
  timeMs,
  resources: 1,
  receivers,
});
const agent = (name: string): ProgramState => ({ kind: 'agent', name, health: 'ready', isInSync: true });
const observed = (edges: readonly Edge[], observedSinceMs = 0): Observation => ({
  edges,
  nowMs: 60_000,
  observedSinceMs,
  missing: [],
  gaps: [],
});
const nothing: Readings = {
  mesh: { kind: 'cluster', name: 'c', version: '0' },
  edges: unread('edges: forbidden'),
  history: unread('history: forbidden'),
  changes: unread('changes: forbidden'),
  objects: unread('objects: forbidden'),
  programs: unread('programs: forbidden'),
  problems: unread('problems: forbidden'),
};

test('what cannot be read is named, and each part by itself', () => {
  const snapshot = assemble(nothing, 0, 60_000);
  assert.deepEqual(snapshot.incomplete, [
    'edges: forbidden',
    'history: forbidden',
    'changes: forbidden',
    'objects: forbidden',
    'programs: forbidden',
    'problems: forbidden',
  ]);
  const all = ['programs', 'workloads', 'edges', 'policies', 'problems', 'changes', 'history'];
  assert.deepEqual(snapshot.unknown, all);
  assert.equal(isNothingRead(snapshot), true);
  const objects = assemble({ ...nothing, objects: read({ workloads: [], policies: [] }) }, 0, 1);
  assert.deepEqual(objects.unknown, ['programs', 'edges', 'problems', 'changes', 'history']);
  assert.equal(isNothingRead(objects), false);
  const some = assemble(
    {
      ...nothing,
      programs: read({ programs: [agent('a')], unread: [{ kind: 'waypoint', why: 'forbidden' }] }, [
        'waypoints: forbidden',
      ]),
    },
    0,
    60_000,
  );
  assert.equal(some.programs.length, 1);
  assert.ok(some.incomplete.includes('waypoints: forbidden'));
  assert.deepEqual(
    [some.partial, some.programsUnread],
    [['programs'], [{ kind: 'waypoint', why: 'forbidden' }]],
  );
  const replicas = read(observed([]), ['edges: no answer from control-1']);
  assert.match(assemble({ ...nothing, edges: replicas }, 0, 1).incomplete.join(), /no answer from control-1/);
});

test('ends of edges that no object tells of are workloads that were only seen', () => {
  const workload = { id: 'shop/web', namespace: 'shop', name: 'web', pods: [], services: [] };
  const { workloads, fromMs } = assemble(
    {
      ...nothing,
      objects: read({ workloads: [workload], policies: [] }),
      edges: read(
        observed(
          [
            edge({}, { connections: 60 }),
            edge({
              destination: { namespace: '', workload: '', pod: '', identity: undefined },
              service: 'example.com',
            }),
          ],
          30_000,
        ),
      ),
    },
    0,
    90_000,
  );
  assert.deepEqual(
    workloads.map(({ id: name, namespace, isObservedOnly }) => [name, namespace, isObservedOnly ?? false]),
    [
      ['shop/web', 'shop', false],
      ['example.com', '', true],
      ['shop/api', 'shop', true],
    ],
  );
  assert.equal(fromMs, 30_000, 'the window begins when programs began to observe');
});

test('a refusal that both sides report counts once for its policy', () => {
  const rules = {
    key: 'shop/AuthorizationPolicy/p',
    kind: 'AuthorizationPolicy',
    namespace: 'shop',
    name: 'p',
    action: 'deny' as const,
    isAudited: false,
    workloads: [],
    rules: [],
  };
  const { policies } = assemble(
    {
      ...nothing,
      objects: read({ workloads: [], policies: [rules] }),
      edges: read(
        observed(
          [
            edge({ reporter: 'source', policy: rules.key, path: 'refused' }, { refused: 3 }),
            edge({ reporter: 'destination', policy: rules.key, path: 'refused' }, { refused: 4, audited: 1 }),
          ],
          0,
        ),
      ),
    },
    0,
    1,
  );
  assert.deepEqual(policies, [
    {
      kind: 'AuthorizationPolicy',
      namespace: 'shop',
      name: 'p',
      action: 'deny',
      isAudited: false,
      workloads: [],
      rules: [],
      refused: 4,
      audited: 1,
    },
  ]);
});

test('counts without rates are shown as long as not all programs have observed', () => {
  const found = observed([edge({}, { connections: 90 })], 59_000);
  const [state] = assemble({ ...nothing, edges: read(found) }, 0, 60_000).edges;
  assert.deepEqual([state?.connections, state?.connectionsPerSecond], [90, undefined]);
});

test('rates are those of the time for which all was observed', () => {
  const rated = { edges: [edge({}, { connections: 20 })], fromMs: 40_000 };
  const { edges } = assemble(
    { ...nothing, edges: read({ ...observed([edge({}, { connections: 90 })], 1_000), rated }) },
    0,
    60_000,
  );
  assert.deepEqual(
    edges.map(({ connections, connectionsPerSecond }) => [connections, connectionsPerSecond]),
    [[90, 1]],
  );
});

test('a program that has not acknowledged its newest change is not in sync, unless the change was just sent', () => {
  const changes = [
    change(1_000, [{ name: 'a' }, { name: 'b' }, { name: 'c', acknowledgedMs: 1_001 }]),
    change(2_000, [
      { name: 'b', acknowledgedMs: 2_001 },
      { name: 'c', acknowledgedMs: 2_001, refused: 'x' },
    ]),
    change(99_000, [{ name: 'd' }]),
  ];
  const snapshot = assemble(
    {
      ...nothing,
      programs: read({ programs: ['a', 'b', 'c', 'd', 'e'].map(agent), unread: [] }),
      changes: read({ changes, sinceMs: 0, missing: [] }),
    },
    0,
    100_000,
  );
  assert.deepEqual(
    snapshot.programs.map(({ isInSync }) => isInSync),
    [false, true, false, true, true],
  );
  assert.deepEqual(
    snapshot.changes.map(({ timeMs }) => timeMs),
    [99_000, 2_000, 1_000],
  );
});

test('the snapshot has the line of success over time, and that of each edge', () => {
  const slots = [0, 30_000].map((atMs) => ({
    atMs,
    connections: 0,
    requests: 4,
    failures: atMs / 30_000,
    refused: 0,
  }));
  const edges = [
    edge({ reporter: 'waypoint', path: 'waypoint', method: 'GET' }, { requests: 8, failures: 1, slots }),
  ];
  const history = edgeHistory({ edges, sinceMs: 0 }, 60_000);
  const taken = assemble({ ...nothing, edges: read(observed(edges)), history: read(history) }, 0, 60_000);
  assert.deepEqual(
    taken.history?.points.map(({ successShare }) => successShare),
    [1, 0.75],
  );
  assert.deepEqual(
    taken.edges.map(({ shares }) => shares),
    [[1, 0.75]],
  );
  assert.deepEqual(taken.unknown?.includes('history'), false);
});

test('objects of which some kinds could not be read say nothing of workloads without pods, and not all of the rest', () => {
  const objects = (view: Partial<Record<'workloads' | 'policies', []>>) =>
    assemble({ ...nothing, objects: read(view, ['objects of Pod: forbidden']) }, 0, 1);
  const { unknown, partial } = objects({ policies: [] });
  assert.deepEqual([unknown?.includes('workloads'), unknown?.includes('policies')], [true, false]);
  assert.deepEqual(partial, ['policies']);
  assert.deepEqual(objects({ policies: [], workloads: [] }).partial, ['workloads', 'policies']);
});

test('whether a connected program has the configuration is not known while changes, or the acknowledgments of a replica, are not', () => {
  const programs = read({ programs: [agent('a')], unread: [] });
  const inSync = (changes: Readings['changes']): boolean | undefined =>
    assemble({ ...nothing, programs, changes }, 0, 100_000).programs[0]?.isInSync;
  const late = [change(1_000, [{ name: 'a' }])];
  assert.equal(inSync(unread('changes: forbidden')), undefined);
  assert.equal(inSync(read({ changes: late, sinceMs: 0, missing: ['control-1'] })), undefined);
  assert.equal(inSync(read({ changes: late, sinceMs: 0, missing: [] })), false);
  const answer = { changes: late, sinceMs: 0, missing: ['control-1'] };
  assert.deepEqual(assemble({ ...nothing, changes: read(answer) }, 0, 1).partial, ['changes']);
});
