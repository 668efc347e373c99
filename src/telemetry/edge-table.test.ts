import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge, party } from '../../test/support/edges.js';
import { otherName, type Edge } from '../model/edge.js';
import { EdgeTable, edgesMax } from './edge-table.js';

const from = (namespace: string, pod: string, port: number): Edge =>
  edge({ source: party(namespace, pod), port });

test('observations of one edge add up, are taken once, and an idle edge is forgotten', () => {
  const table = new EdgeTable(() => assert.fail('no limit is reached'));
  table.add(edge({}, { connections: 2, bytesSent: 10, lastSeenMs: 5 }));
  table.add(edge({}, { connections: 1, bytesSent: 1, lastSeenMs: 7, latencyCounts: [0, 1] }));
  const [taken, ...others] = table.take(100);
  assert.deepEqual(others, []);
  assert.deepEqual(taken, edge({}, { connections: 3, bytesSent: 11, lastSeenMs: 7, latencyCounts: [0, 1] }));
  for (let round = 0; round < 10; round++) assert.deepEqual(table.take(200 + round), []);
  assert.equal(table.size, 0);
});

test('an edge with an open connection is reported once a minute, until the connection has ended', () => {
  const table = new EdgeTable(() => assert.fail('no limit is reached'));
  const { counts: _, ...names } = edge();
  table.of(names).opened();
  assert.equal(table.take(0)[0]?.counts.connections, 1);
  const seen: number[] = [];
  for (let nowMs = 10_000; nowMs <= 180_000; nowMs += 10_000)
    for (const { counts } of table.take(nowMs)) {
      assert.deepEqual([counts.connections, counts.lastSeenMs], [0, nowMs]);
      seen.push(nowMs);
    }
  assert.deepEqual(seen, [60_000, 120_000, 180_000]);
  table.of(names).closed(3, 4);
  assert.equal(table.take(190_000)[0]?.counts.bytesReceived, 4);
  assert.deepEqual(table.take(400_000), []);
});

test('a pod that dials everything fills only its share: others keep their edges, and its excess is counted under other', () => {
  let limited = 0;
  const table = new EdgeTable(() => limited++);
  for (let port = 0; port < 50_000; port++) table.add(from('evil', `p${port % 3}`, port));
  for (let port = 0; port < 200; port++) table.add(from('shop', 'web', port));
  const taken = table.take(1);
  assert.ok(taken.length <= edgesMax + 3, String(taken.length));
  const ofShop = taken.filter(({ source }) => source.namespace === 'shop');
  assert.equal(ofShop.length, 200);
  assert.ok(ofShop.every(({ destination }) => destination.workload === 'api'));
  const others = taken.filter(({ destination }) => destination.workload === otherName);
  assert.deepEqual(new Set(others.map(({ source }) => source.namespace)), new Set(['evil']));
  const connections = taken.reduce((sum, { counts }) => sum + counts.connections, 0);
  assert.equal(connections, 50_200, 'nothing is lost');
  assert.equal(
    limited,
    others.reduce((sum, { counts }) => sum + counts.connections, 0),
  );
});

test('the memory for other edges is bounded too', () => {
  const table = new EdgeTable(() => undefined, 1);
  for (let pod = 0; pod < 20_000; pod++) table.add(from('evil', `p${pod}`, 1));
  assert.ok(table.size <= 1 + 1_024, String(table.size));
});
