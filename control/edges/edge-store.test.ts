import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge, party } from '../../test/support/edges.js';
import { encodeEdge } from '../../src/discovery/codec/edge.js';
import { EdgeResponse } from '../../src/discovery/gen/weft.js';
import { edgeSlotMs, edgesKeptMs, otherName } from '../../src/model/edge.js';
import { edgesMax, EdgeStore } from './edge-store.js';

function bench(max?: number) {
  const clock = { nowMs: 1_000_000_000, limited: 0 };
  const store = new EdgeStore(
    () => clock.limited++,
    () => clock.nowMs,
    max,
  );
  return { clock, store };
}

test('reports add up; a query sums the slots since its time, and forgets what is older than 15 minutes', () => {
  const { clock, store } = bench();
  const startedMs = clock.nowMs;
  for (let minute = 0; minute < 20; minute++) {
    store.add(edge({}, { connections: 1, bytesSent: 2 ** 40 }), 'n1', 'shop', 0);
    clock.nowMs += 60_000;
  }
  clock.nowMs -= 60_000;
  const connections = (sinceMs: number): number | undefined =>
    store.query({ sinceMs }).edges[0]?.counts.connections;
  assert.equal(connections(clock.nowMs), 1);
  assert.equal(connections(clock.nowMs - 5 * 60_000), 6);
  assert.equal(connections(0), 16, '15 minutes and the current slot');
  assert.equal(store.query({ sinceMs: 0 }).edges[0]?.counts.bytesSent, 16 * 2 ** 40);
  assert.equal(store.query({ sinceMs: 0 }).sinceMs, clock.nowMs - edgesKeptMs);
  assert.ok(store.query({ sinceMs: 0 }).sinceMs > startedMs);
  clock.nowMs += edgesKeptMs + 60_000;
  assert.deepEqual(store.query({ sinceMs: 0 }).edges, []);
  store.add(edge({ port: 1 }), 'n1', 'shop', 0);
  assert.equal(store.size, 1, 'the former edge is forgotten');
});

test('a reporter that makes up counts does not make the edges of a replica unreadable', () => {
  const { clock, store } = bench();
  const most = Number.MAX_SAFE_INTEGER;
  for (let slot = 0; slot < 40; slot++) {
    const counts = { connections: most, requests: most, bytesSent: most, bytesReceived: most };
    store.add(edge({}, { ...counts, latencyCounts: [most] }), 'n1', 'shop', 0);
    clock.nowMs += 30_000;
  }
  const { edges, sinceMs } = store.query({ sinceMs: 0 });
  const bytes = EdgeResponse.encode({ edges: edges.map(encodeEdge), sinceMs, bySlot: false }).finish();
  assert.equal(EdgeResponse.decode(bytes).edges[0]?.counts?.bytesSent, most);
});

test('a gap between reports leaves no count of an earlier round of the ring', () => {
  const { clock, store } = bench();
  store.add(edge({}, { connections: 100 }), 'n1', 'shop', 0);
  clock.nowMs += 14 * 60_000;
  store.add(edge({}, { connections: 1 }), 'n1', 'shop', 0);
  clock.nowMs += 14 * 60_000;
  store.add(edge({}, { connections: 1 }), 'n1', 'shop', 0);
  assert.equal(store.query({ sinceMs: 0 }).edges[0]?.counts.connections, 2);
});

test('counts by slot are those of their time; slots without counts are left out, and none unless they are asked for', () => {
  const { clock, store } = bench();
  clock.nowMs = Math.ceil(clock.nowMs / edgeSlotMs) * edgeSlotMs;
  const firstMs = clock.nowMs;
  store.add(edge({}, { connections: 0, requests: 9, failures: 2, latencyCounts: [9] }), 'n1', 'shop', 0);
  clock.nowMs += 3 * edgeSlotMs;
  store.add(edge({}, { connections: 1, refused: 4, bytesSent: 7 }), 'n1', 'shop', 0);
  const query = { sinceMs: 0, isBySlot: true };
  const slot = { connections: 0, requests: 0, failures: 0, refused: 0 };
  assert.deepEqual(store.query(query).edges[0]?.counts.slots, [
    { ...slot, atMs: firstMs, requests: 9, failures: 2 },
    { ...slot, atMs: clock.nowMs, connections: 1, refused: 4 },
  ]);
  assert.equal(store.query(query).isBySlot, true);
  assert.equal(store.query({ sinceMs: 0 }).edges[0]?.counts.slots, undefined);
  clock.nowMs += edgesKeptMs;
  assert.deepEqual(
    store.query(query).edges[0]?.counts.slots?.map(({ atMs }) => atMs),
    [firstMs + 3 * edgeSlotMs],
    'older slots are gone',
  );
});

test('latencies are kept, also of an edge that had only connections before', () => {
  const { store } = bench();
  store.add(edge({}, { connections: 2 }), 'n1', 'shop', 0);
  store.add(edge({}, { connections: 0, requests: 3, latencyCounts: [1, 0, 2] }), 'n1', 'shop', 0);
  const counts = store.query({ sinceMs: 0 }).edges[0]?.counts;
  assert.deepEqual([counts?.connections, counts?.requests], [2, 3]);
  assert.deepEqual(counts?.latencyCounts.slice(0, 4), [1, 0, 2, 0]);
});

test('edges are found by the namespace of either side; a reporter with a wrong clock changes no time', () => {
  const { clock, store } = bench();
  store.add(edge({ source: party('a', 'x'), destination: party('b', 'y') }), 'n1', 'a', 30_000);
  const of = (namespace: string): number => store.query({ namespace, sinceMs: 0 }).edges.length;
  assert.deepEqual([of('a'), of('b'), of('c')], [1, 1, 0]);
  assert.equal(store.query({ sinceMs: 0 }).edges[0]?.counts.lastSeenMs, clock.nowMs - 30_000);
  for (const ageMs of [-1e12, 1e300, Number.NaN]) {
    store.add(edge({ port: 1 }), 'n1', 'a', ageMs);
    for (const { counts } of store.query({ sinceMs: 0 }).edges)
      assert.ok(counts.lastSeenMs <= clock.nowMs, String(ageMs));
  }
});

test('counts stop at the greatest that fits', () => {
  const { store } = bench();
  for (let i = 0; i < 3; i++)
    store.add(
      edge({}, { connections: Number.MAX_SAFE_INTEGER, bytesSent: Number.MAX_SAFE_INTEGER }),
      'n1',
      'shop',
      0,
    );
  const counts = store.query({ sinceMs: 0 }).edges[0]?.counts;
  assert.deepEqual([counts?.connections, counts?.bytesSent], [2 ** 32 - 1, Number.MAX_SAFE_INTEGER]);
});

test('one node fills half of the memory at most, one namespace two thirds; others still get theirs', () => {
  const { clock, store } = bench();
  for (let port = 0; port < 50_000; port++) store.add(edge({ port }), 'evil-node', 'shop', 0);
  assert.ok(store.size <= edgesMax / 2 + 1, String(store.size));
  for (let port = 0; port < 50_000; port++)
    store.add(edge({ port, destination: party('x', 'y') }), `node-${port % 50}`, 'shop', 0);
  assert.ok(store.size <= (edgesMax * 2) / 3 + 2, String(store.size));
  assert.ok(clock.limited > 0);
  for (let port = 0; port < 500; port++)
    store.add(edge({ port, source: party('bank', 'b') }), 'n1', 'bank', 0);
  const ofBank = store.query({ namespace: 'bank', sinceMs: 0 }).edges;
  assert.equal(ofBank.filter(({ destination }) => destination.workload !== otherName).length, 500);
  // When the edges are old, their room is free again.
  clock.nowMs += edgesKeptMs + 60_000;
  store.add(edge({ port: 7 }), 'n1', 'bank', 0);
  assert.equal(store.size, 1);
});
