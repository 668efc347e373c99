import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge, party } from '../../../test/support/edges.js';
import { fuzz } from '../../../test/support/fuzz.js';
import {
  edgeSlotMs,
  latencyBoundsMs,
  policyNames,
  policyText,
  type Edge,
  type EdgeSlot,
} from '../../model/edge.js';
import { EdgeReport } from '../gen/weft.js';
import { decodeEdge, decodeEdgeBySlot, edgeLimits, encodeEdge } from './edge.js';

const requests = edge(
  {
    reporter: 'waypoint',
    source: party('shop', 'web', { identity: undefined, pod: '', workload: '' }),
    path: 'waypoint',
    method: 'GET',
    pathTemplate: '/orders/*',
    policy: 'shop/only-web',
  },
  { requests: 3, latencyCounts: [1, 2], lastSeenMs: 1_700_000_000_000, bytesSent: 2 ** 52 },
);

const reportOf = (edges: readonly Edge[]): Uint8Array =>
  EdgeReport.encode({ program: 'p', number: 1, fromMs: 1, toMs: 2, edges: edges.map(encodeEdge) }).finish();

test('an edge is the same after encoding and decoding', () => {
  for (const one of [edge(), requests]) {
    const { edges } = EdgeReport.decode(reportOf([one]));
    assert.deepEqual(edges.map(decodeEdge), [one]);
  }
});

const slotAt = (number: number): EdgeSlot => ({
  atMs: number * edgeSlotMs,
  connections: 1,
  requests: 2,
  failures: 1,
  refused: 3,
});
const bySlot = (...slots: readonly EdgeSlot[]): Edge => edge({}, { slots });

test('slots are read of a replica that was asked for them, never of a report', () => {
  const encoded = encodeEdge(bySlot(slotAt(5), slotAt(6)));
  assert.deepEqual(decodeEdgeBySlot(encoded)?.counts.slots, [slotAt(5), slotAt(6)]);
  assert.equal(decodeEdge(encoded)?.counts.slots, undefined);
  assert.deepEqual(decodeEdgeBySlot(encodeEdge(edge()))?.counts.slots, []);
});

test('an edge with more slots than are kept, or with one between two, is left out', () => {
  const many = Array.from({ length: edgeLimits.slots + 1 }, (_, at) => slotAt(at));
  assert.equal(decodeEdgeBySlot(encodeEdge(bySlot(...many))), undefined);
  assert.equal(decodeEdgeBySlot(encodeEdge(bySlot({ ...slotAt(1), atMs: edgeSlotMs + 1 }))), undefined);
});

test('an edge with the names of more policies than a text may have keeps as many as it may have', () => {
  const names = Array.from({ length: 40 }, (_, i) => `shop/allow-clients-${i}`);
  const policyOf = (policy: string): string | undefined => decodeEdge(encodeEdge(edge({ policy })))?.policy;
  const kept = policyOf(names.join(','))?.split(',') ?? [];
  assert.ok(kept.length > 20);
  assert.deepEqual(kept, names.slice(0, kept.length));
  assert.equal(policyOf('x'.repeat(1_000)), 'x'.repeat(edgeLimits.textChars));
});

test('an edge of another form is left out', () => {
  const encoded = encodeEdge(edge());
  const wrong: Readonly<Record<string, Partial<typeof encoded>>> = {
    reporter: { reporterKind: 'control' },
    path: { pathKind: 'tunnel' },
    source: { source: undefined },
    counts: { counts: undefined },
    port: { port: 65_536 },
    'long text': { service: 'x'.repeat(edgeLimits.textChars + 1) },
    'control character': { policy: 'a\u001b[2Jb' },
    identity: { source: { namespace: 'shop', workload: 'web', pod: 'web', identity: 'web' } },
    latencies: {
      counts: {
        ...edge().counts,
        slots: [],
        latencyCounts: new Array<number>(latencyBoundsMs.length + 2).fill(1),
      },
    },
  };
  assert.ok(decodeEdge(encoded));
  for (const [what, change] of Object.entries(wrong))
    assert.equal(decodeEdge({ ...encoded, ...change }), undefined, what);
});

test('whatever bytes are decoded, an edge is bounded or left out', () => {
  fuzz([reportOf([edge(), requests, bySlot(slotAt(1))]), reportOf([])], (bytes) => {
    let report: EdgeReport;
    try {
      report = EdgeReport.decode(bytes);
    } catch {
      return; // gRPC responds with an error
    }
    for (const one of report.edges) {
      const decoded = decodeEdge(one);
      if (!decoded) continue;
      const { source, destination, counts, ...rest } = decoded;
      for (const text of Object.values({ ...source, ...destination, ...rest }))
        assert.ok(typeof text !== 'string' || text.length <= edgeLimits.textChars);
      assert.equal(counts.slots, undefined);
      for (const count of Object.values({ ...counts, latencyCounts: 0, slots: 0 })) assert.ok(count >= 0);
      assert.ok((decodeEdgeBySlot(one)?.counts.slots?.length ?? 0) <= edgeLimits.slots);
    }
  });
});

test('however many policies there are, an edge with them can be reported', () => {
  const names = Array.from({ length: 100 }, (_, i) => `${'n'.repeat(60)}/${'p'.repeat(60)}-${i}`);
  const decoded = decodeEdge(encodeEdge(edge({ policy: policyText(names) }, { audited: 1 })));
  assert.deepEqual(policyNames(decoded?.policy ?? ''), names.slice(0, 4));
});
