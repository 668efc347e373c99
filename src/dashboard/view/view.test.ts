/** What the page shows of a snapshot, without a browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tapConnection, tapRequest } from '../../../test/support/taps.js';
import type { EdgeState, MeshSnapshot, ProgramState, TapEvent } from '../../model/mesh-snapshot.js';
import { observedOnly } from '../../model/party-name.js';
import { changesBeside } from './changes.js';
import { edgeHealth, filteredEdges, filteredWorkloads, namespacesOf, sumsOf } from './edges.js';
import { explainQueries, explanationOf } from './explanation.js';
import { edgePoints, meshPoints, shareLines } from './history.js';
import { filteredPolicies, isUnenforced } from './policies.js';
import { expiringSoon, summaryOf, syncOf, undatedPrograms, versionsOf } from './programs.js';
import { graphEdge } from './graph-input.js';
import { parseRoute, routeHash, selecting } from './route.js';
import { parseSnapshot } from './snapshot.js';
import {
  addEvents,
  emptyTap,
  lostCount,
  matchesText,
  missingOf,
  reasonText,
  tapEnds,
  tapEventOf,
  tapLinesMax,
  whatText,
} from './tap-list.js';
import { cutText, visibleText } from './text.js';
import { isIncomplete, ofPart } from './unknown.js';

const edge = (over: Partial<EdgeState> = {}): EdgeState => ({
  id: 'e',
  source: 'shop/web',
  destination: 'shop/api',
  port: 8080,
  path: 'hbone',
  security: 'mutual-tls',
  connections: 1,
  requests: 0,
  refused: 0,
  audited: 0,
  failures: 0,
  bytesSent: 0,
  bytesReceived: 0,
  requestsPerSecond: 0,
  connectionsPerSecond: 0.1,
  policies: [],
  routes: [],
  lastSeenMs: 0,
  ...over,
});
const mesh = (over: Partial<MeshSnapshot> = {}): MeshSnapshot => ({
  format: 1,
  takenMs: 1_000_000,
  mesh: { kind: 'testbed', name: 'x', version: '1' },
  fromMs: 0,
  programs: [],
  workloads: [],
  edges: [],
  policies: [],
  problems: [],
  changes: [],
  incomplete: [],
  ...over,
});

test('the state of an edge is the worst that is true of it', () => {
  assert.equal(edgeHealth(edge()), 'fine');
  assert.equal(edgeHealth(edge({ audited: 1 })), 'audited');
  assert.equal(edgeHealth(edge({ requests: 100, successShare: 0.985 })), 'unsteady');
  assert.equal(edgeHealth(edge({ requests: 100, successShare: 0.9 })), 'failing');
  assert.equal(edgeHealth(edge({ connections: 0, failures: 2 })), 'failing');
  assert.equal(edgeHealth(edge({ refused: 1, requests: 9 })), 'partly-denied');
  assert.equal(edgeHealth(edge({ refused: 1, connections: 0 })), 'denied');
});

test('denied edges come first, then those with most traffic', () => {
  const edges = [
    edge({ id: 'slow' }),
    edge({ id: 'busy', connectionsPerSecond: 9 }),
    edge({ id: 'denied', refused: 1, connections: 0 }),
  ];
  const ids = filteredEdges(edges, { namespace: '', text: '' }).map(({ id }) => id);
  assert.deepEqual(ids, ['denied', 'busy', 'slow']);
});

test('a filter leaves edges from and to a namespace, and the workloads at both of their ends', () => {
  const workloads = ['a/x', 'b/y', 'c/z'].map((id) => ({
    id,
    namespace: id.slice(0, 1),
    name: id.slice(2),
    pods: [],
    services: [],
  }));
  const edges = [
    edge({ id: '1', source: 'a/x', destination: 'b/y' }),
    edge({ id: '2', source: 'b/y', destination: 'c/z' }),
    edge({ id: '3', source: 'a/x', destination: '10.0.0.9' }),
  ];
  const one = mesh({ workloads, edges });
  const left = filteredEdges(edges, { namespace: 'a', text: '' });
  assert.deepEqual(left.map(({ id }) => id).sort(), ['1', '3']);
  const shown = filteredWorkloads(one, { namespace: 'a', text: '' }, left);
  assert.deepEqual(
    shown.map(({ id, isObservedOnly }) => [id, isObservedOnly === true]),
    [
      ['10.0.0.9', true],
      ['a/x', false],
      ['b/y', false],
    ],
  );
  assert.deepEqual(
    filteredEdges(edges, { namespace: '', text: 'C/Z' }).map(({ id }) => id),
    ['2'],
  );
  assert.deepEqual(namespacesOf(one), ['a', 'b', 'c']);
});

test('the rate of edges is not known if that of one of them is not', () => {
  const { connectionsPerSecond: _rate, ...unrated } = edge();
  assert.equal(sumsOf([edge(), unrated]).connectionsPerSecond, undefined);
  assert.equal(sumsOf([edge(), edge()]).connectionsPerSecond, 0.2);
  assert.match(graphEdge(unrated).label, /^–/);
});

test('an identity, an address and a host name are in no namespace', () => {
  const ends = ['spiffe://cluster.local/ns/a/sa/b', '10.0.0.9', 'api.example.com', 'shop/web', 'unknown'];
  assert.deepEqual(
    ends.map(observedOnly).map(({ namespace, name }) => [namespace, name]),
    [
      ['', 'spiffe://cluster.local/ns/a/sa/b'],
      ['', '10.0.0.9'],
      ['', 'api.example.com'],
      ['shop', 'web'],
      ['', 'unknown'],
    ],
  );
  const edges = ends.map((source) => edge({ source }));
  assert.deepEqual(namespacesOf(mesh({ edges })), ['shop']);
});

test('refused requests are no success, and what nobody counts is no zero', () => {
  const refused = edge({ requests: 6, refused: 6, connections: 0 });
  assert.equal(sumsOf([refused]).successShare, undefined);
  const half = edge({ requests: 10, refused: 6, successShare: 0.5, connections: 0 });
  assert.equal(sumsOf([refused, half]).successShare, 0.5);
  assert.equal(sumsOf([edge()]).requestsPerSecond, undefined);
  assert.equal(sumsOf([half]).connectionsPerSecond, undefined);
});

test('success is of requests, and not known without them', () => {
  assert.equal(sumsOf([edge()]).successShare, undefined);
  const sums = sumsOf([
    edge({ requests: 90, successShare: 1 }),
    edge({ requests: 10, successShare: 0.5, security: 'none' }),
    edge({ refused: 3, connections: 0, security: 'none' }),
  ]);
  assert.equal(sums.successShare, 0.95);
  assert.deepEqual([sums.protectedEdges, sums.knownEdges, sums.refused], [1, 2, 3]);
});

test('programs that are not ready, expire soon, differ or are behind are named', () => {
  const programs: ProgramState[] = [
    {
      kind: 'agent',
      name: 'n1',
      version: '1',
      health: 'ready',
      isInSync: true,
      certificateExpiresMs: 9_000_000,
    },
    {
      kind: 'agent',
      name: 'n2',
      version: '2',
      health: 'unknown',
      isInSync: false,
      certificateExpiresMs: 1_060_000,
    },
    { kind: 'agent', name: 'n3', version: '1', health: 'not-ready' },
  ];
  const { ready, total, problems } = summaryOf(programs, 'agent');
  assert.deepEqual([ready, total, problems.map(({ name }) => name)], [1, 3, ['n2', 'n3']]);
  assert.deepEqual(
    expiringSoon(mesh({ programs }), 1_000_000).map(({ name }) => name),
    ['n2'],
  );
  assert.deepEqual(
    versionsOf(programs).map(({ version, programs: own }) => [version, own.length]),
    [
      ['1', 2],
      ['2', 1],
    ],
  );
  const sync = syncOf(programs);
  assert.deepEqual([sync.inSync, sync.behind.map(({ name }) => name), sync.unknown], [1, ['n2'], 1]);
});

test('a route is the same after it was written and read, with any names', () => {
  for (const route of [
    parseRoute(''),
    { view: 'graph', namespace: 'a b', text: '&=?#%', edge: 'x>y:80/é\u202e' },
    { view: 'policies', namespace: '', text: 'x', workload: 'a/b' },
  ] as const)
    assert.deepEqual(parseRoute(routeHash(route)), route);
  assert.equal(parseRoute('#/nowhere?x').view, 'overview');
  assert.deepEqual(selecting({ view: 'tap', namespace: 'a', text: '', edge: 'e' }, undefined), {
    view: 'graph',
    namespace: 'a',
    text: '',
  });
});

test('characters that cannot be seen or reorder text are made visible', () => {
  assert.equal(visibleText('a\u202eb\nc\u200bd\u0000\ud800'), 'a‹U+202E›b‹U+000A›c‹U+200B›d‹U+0000›‹U+D800›');
  assert.equal(visibleText('grüße 東京 😀'), 'grüße 東京 😀');
  assert.equal(cutText('short', 10), 'short');
  assert.equal(cutText('abcdefghijklmnop', 10), 'abcdef…nop');
  assert.equal([...cutText('😀'.repeat(50), 10)].length, 10);
});

test('a snapshot of another form is refused with a sentence', () => {
  const good = mesh();
  assert.deepEqual(parseSnapshot(JSON.stringify(good)), good);
  assert.throws(() => parseSnapshot('<html>'), /did not send JSON/);
  assert.throws(() => parseSnapshot('null'), /did not send a snapshot/);
  assert.throws(() => parseSnapshot(JSON.stringify({ ...good, format: 2 })), /reload the page/);
  assert.throws(() => parseSnapshot(JSON.stringify({ ...good, edges: {} })), /no list edges/);
  assert.throws(() => parseSnapshot(JSON.stringify({ ...good, history: {} })), /no list history.points/);
});

const chart = { fromMs: 0, toMs: 200, slotMs: 50, width: 200, height: 50 };
const sharesAt = (...shares: readonly (number | null)[]) =>
  edgePoints({ fromMs: 0, slotMs: 50, points: [] }, edge({ shares }));

test('a drop of success is a drop of the line, in its interval', () => {
  const { lines, lowest } = shareLines(sharesAt(1, 0.5), chart);
  assert.equal(lowest, 0.5);
  assert.deepEqual(lines, [
    [
      { x: 0, y: 0 },
      { x: 50, y: 0 },
      { x: 50, y: 50 },
      { x: 100, y: 50 },
    ],
  ]);
});

test('an interval without requests is a gap of the line, neither success nor failure; so is what was before the first', () => {
  const ends = ({ lines }: ReturnType<typeof shareLines>) =>
    lines.map((line) => [line[0]?.x, line.at(-1)?.x]);
  assert.deepEqual(ends(shareLines(sharesAt(null, 1, null, 0.9), chart)), [
    [50, 100],
    [150, 200],
  ]);
  assert.deepEqual(ends(shareLines([], chart)), []);
  // The interval that is not over ends now.
  assert.deepEqual(ends(shareLines(sharesAt(1), { ...chart, toMs: 20 })), [[0, 200]]);
  const points = [
    { timeMs: 50, connections: 3, requests: 0, failures: 0, refused: 1 },
    { timeMs: 100, connections: 0, requests: 4, failures: 1, refused: 0, successShare: 0.75 },
  ];
  assert.deepEqual(meshPoints({ fromMs: 0, slotMs: 50, points }), [{ timeMs: 100, successShare: 0.75 }]);
});

test('changes beside an edge are those of its namespaces and of the cluster', () => {
  const change = (kind: string, namespace: string, name: string) =>
    ({ kind, namespace, name, operation: 'updated', timeMs: 0, resources: 1, receivers: [] }) as const;
  const all = [
    change('HTTPRoute', 'shop', 'a'),
    change('HTTPRoute', 'other', 'b'),
    change('Namespace', '', 'shop'),
    change('Namespace', '', 'other'),
    change('GatewayClass', '', 'c'),
  ];
  assert.deepEqual(
    changesBeside(all, ['shop']).map(({ name }) => name),
    ['a', 'shop', 'c'],
  );
});

test('policies that denied something come first, and are found by what they apply to', () => {
  const policy = (name: string, refused: number, workload: string) =>
    ({
      kind: 'AccessPolicy',
      namespace: 'p',
      name,
      action: 'allow',
      isAudited: false,
      workloads: [workload],
      rules: [],
      refused,
      audited: 0,
    }) as const;
  const all = [policy('a', 0, 'x/one'), policy('b', 3, 'y/two')];
  assert.deepEqual(
    filteredPolicies(all, { namespace: '', text: '' }).map(({ name }) => name),
    ['b', 'a'],
  );
  assert.deepEqual(
    filteredPolicies(all, { namespace: 'x', text: '' }).map(({ name }) => name),
    ['a'],
  );
  assert.deepEqual(
    filteredPolicies(all, { namespace: '', text: 'two' }).map(({ name }) => name),
    ['b'],
  );
});

test('explain is asked for the Service first, and for a request only if one was seen', () => {
  assert.deepEqual(explainQueries(edge()), ['source=shop%2Fweb&destination=shop%2Fapi&port=8080']);
  const routes = [
    { method: 'GET', pathTemplate: '/a/*', requests: 9, failures: 0 },
    { method: 'other', pathTemplate: 'other', requests: 1, failures: 0 },
  ];
  assert.deepEqual(explainQueries(edge({ service: 'api.shop', routes })), [
    'source=shop%2Fweb&destination=api.shop&method=GET&path=%2Fa%2F*',
    'source=shop%2Fweb&destination=shop%2Fapi&port=8080&method=GET&path=%2Fa%2F*',
  ]);
});

test('an explanation without an outcome is refused, and fields of another kind are empty', () => {
  assert.throws(() => explanationOf('[]'), /did not send an explanation/);
  assert.throws(() => explanationOf('{"outcome":"maybe"}'), /did not send an explanation/);
  assert.deepEqual(explanationOf('{"outcome":"allowed","ways":[{"from":1,"to":"b"}],"notes":"x"}'), {
    outcome: 'allowed',
    ways: [{ from: '', to: 'b', path: '', why: '', pathWhy: '', count: 1 }],
    notes: [],
  });
});

const event: TapEvent = {
  kind: 'connection',
  timeMs: 1,
  id: 'x',
  reporter: 'n1',
  source: { namespace: 'a', workload: 'b', pod: 'c' },
  destination: { namespace: 'd', workload: 'e', pod: 'f', port: 80 },
  path: 'kernel',
  outcome: 'allowed',
};

test('the tap is bounded, the newest first, and what passes while it is paused is only counted', () => {
  let tap = addEvents(
    emptyTap,
    Array.from({ length: tapLinesMax + 5 }, (_, at) => ({ ...event, id: `${at}` })),
    2,
    false,
  );
  assert.equal(tap.lines.length, tapLinesMax);
  assert.equal(tap.lines[0]?.id, `${tapLinesMax + 4}`);
  const before = tap.lines;
  tap = addEvents(tap, [event], 1, true);
  assert.equal(tap.lines, before);
  assert.deepEqual([tap.count, tap.lost, tap.passed], [tapLinesMax + 6, 3, 1]);
  assert.equal(addEvents(tap, [], 0, false), tap);
});

test('events of the tap that are none are not shown', () => {
  assert.deepEqual(tapEventOf(JSON.stringify(event)), event);
  for (const data of ['', 'null', '[]', '{"kind":"request"}', '{"kind":"other","timeMs":1}'])
    assert.equal(tapEventOf(data), undefined, data);
  assert.deepEqual(['{"count":3}', '{"count":"3"}', 'x', 'null'].map(lostCount), [3, 0, 0, 0]);
  assert.deepEqual(missingOf('["a"]'), ['a']);
  assert.deepEqual(missingOf('{'), []);
  assert.equal(matchesText(event, 'D/E'), true);
  assert.equal(matchesText(event, 'nothing'), false);
});

test('a line of the tap names ends as weft tap does, says what would be refused, and no status where there was no response', () => {
  const nobody = { namespace: '', workload: '', pod: '' };
  const one = tapConnection({
    source: { ...nobody, identity: 'spiffe://x/ns/a/sa/b' },
    destination: { ...nobody, namespace: 'd', service: 'e.d.svc.cluster.local', port: 80 },
    audited: ['d/strict'],
  });
  assert.deepEqual(tapEnds(one), { from: 'spiffe://x/ns/a/sa/b', to: 'e.d.svc.cluster.local:80' });
  assert.equal(tapEnds({ ...one, destination: { ...one.destination, port: 0 } }).to, 'e.d.svc.cluster.local');
  assert.match(reasonText(one), /would be refused by d\/strict$/);
  assert.equal(whatText(one), 'connection, 10 B sent, 20 B received');
  const { durationMs: _durationMs, ...open } = one;
  assert.equal(whatText(open), 'connection opened');
  const request = { method: 'GET', path: '/', status: 0, durationMs: 3 };
  assert.equal(whatText(tapRequest({ request })), '– GET /');
});

test('a policy is not in force as written if an error is about its object', () => {
  const policy = { kind: 'AccessPolicy', namespace: 'shop', name: 'p' };
  const problem = { level: 'fail', object: 'AccessPolicy shop/p', what: 'x' } as const;
  assert.equal(isUnenforced(policy, [problem]), true);
  assert.equal(isUnenforced({ ...policy, name: 'q' }, [problem]), false);
  assert.equal(isUnenforced(policy, [{ ...problem, level: 'warn' }]), false);
});

test('a certificate of which nothing is known is not one that is valid for long', () => {
  const program = (more: Partial<ProgramState>): ProgramState => ({
    kind: 'agent',
    name: 'a',
    health: 'ready',
    ...more,
  });
  const programs = [
    program({ certificateExpiresMs: 1 }),
    program({ hasNoCertificate: true }),
    program({ name: 'silent' }),
    program({ kind: 'waypoint', name: 'shop/w' }),
    program({ kind: 'control-plane', name: 'c' }),
  ];
  assert.deepEqual(
    undatedPrograms(programs).map(({ name }) => name),
    ['silent', 'shop/w'],
  );
  const summary = summaryOf([program({}), program({ health: 'unknown' })], 'agent');
  assert.deepEqual([summary.ready, summary.unknown, summary.total], [1, 1, 2]);
});

test('a sum in what could be read says so', () => {
  assert.equal(ofPart({ partial: ['edges'] }, 'edges', '3 edges'), '3 edges, in what could be read');
  assert.equal(ofPart({ partial: ['edges'] }, 'changes', '3 changes'), '3 changes');
  assert.deepEqual(
    (['edges', 'changes', 'problems'] as const).map((part) =>
      isIncomplete({ partial: ['edges'], unknown: ['changes'] }, part),
    ),
    [true, true, false],
  );
});
