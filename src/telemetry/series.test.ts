import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import type { ConnectionRecord } from './connection-record.js';
import { MeshMetrics } from './metrics.js';
import { BoundedCounter, seriesIdleMsMax, SeriesTable } from './series.js';

const add = (table: SeriesTable<{ n: number }>, group: string, name: string | number): boolean => {
  const series = table.of(group, { group, name });
  if (series) series.value.n++;
  return series !== undefined;
};
const names = (table: SeriesTable<{ n: number }>, group: string) =>
  [...table].filter(({ labels }) => labels['group'] === group).map(({ labels }) => labels['name']);

test('an idle series is dropped and starts at 0 when it returns', () => {
  let now = 0;
  const table = new SeriesTable(
    10,
    () => ({ n: 0 }),
    () => now,
  );
  add(table, 'shop', 'a');
  add(table, 'shop', 'a');
  add(table, 'shop', 'b');
  now += seriesIdleMsMax;
  add(table, 'shop', 'b');
  now += 1;
  table.sweep();
  assert.deepEqual(names(table, 'shop'), ['b']);
  add(table, 'shop', 'a');
  assert.equal([...table].find(({ labels }) => labels['name'] === 'a')?.value.n, 1);
});

test('at the limit idle series are dropped to make room', () => {
  let now = 0;
  const table = new SeriesTable(
    10,
    () => ({ n: 0 }),
    () => now,
  );
  for (let i = 0; i < 10; i++) add(table, 'shop', i);
  assert.equal(add(table, 'shop', 'more'), false);
  now += seriesIdleMsMax + 1;
  assert.equal(add(table, 'shop', 'more'), true);
  assert.deepEqual(names(table, 'shop'), ['more']);
});

test('one group cannot use up the series of others: smaller groups evict its series, and it evicts none of theirs', () => {
  let now = 0;
  const table = new SeriesTable(
    100,
    () => ({ n: 0 }),
    () => ++now,
  );
  for (let i = 0; i < 500; i++) add(table, 'evil', i);
  assert.equal(table.size, 100);
  for (let i = 0; i < 30; i++) assert.ok(add(table, 'bank', i));
  for (let i = 0; i < 500; i++) add(table, 'evil', `again-${i}`);
  assert.equal(names(table, 'bank').length, 30);
  assert.equal(names(table, 'evil').length, 70);
  // Two groups that want all series get half of them each.
  for (let i = 0; i < 500; i++) add(table, 'bank', i);
  assert.ok(Math.abs(names(table, 'bank').length - 50) <= 1);
  // The largest group gives up its least recently used series.
  assert.ok(add(table, 'shop', 'new'));
  assert.equal(table.size, 100);
});

test('a counter counts increments beyond its limit under "other"', async () => {
  const registry = new Registry();
  let overflow = 0;
  const counter = new BoundedCounter(
    registry,
    { name: 'x_total', help: 'x', labelNames: ['policy'] },
    2,
    () => overflow++,
  );
  for (const policy of ['a', 'b', 'c', 'a']) counter.inc('shop', { policy });
  const text = await registry.metrics();
  assert.match(text, /# TYPE x_total counter/);
  assert.match(text, /x_total\{policy="a"\} 2/);
  assert.match(text, /x_total\{policy="other"\} 1/);
  assert.equal(overflow, 1);
});

test('agent metrics: a pod that connects to every namespace does not displace the series of others', async () => {
  let now = 0;
  const metrics = new MeshMetrics(undefined, [], () => now);
  const party = (namespace: string, workload: string) => ({
    address: '',
    identity: `spiffe://cluster.local/ns/${namespace}/sa/${workload}`,
    namespace,
    workload,
    canonicalName: workload,
    canonicalRevision: 'latest',
    pod: workload,
  });
  const record = (source: ReturnType<typeof party>, destination: ReturnType<typeof party>) =>
    ({
      kind: 'opened',
      record: {
        direction: 'outbound',
        path: 'hbone',
        why: '',
        source,
        destination,
        bytesSent: 0,
        bytesReceived: 0,
        durationMs: 0,
        ended: 'open',
      } satisfies ConnectionRecord,
    }) as const;
  for (let i = 0; i < 3000; i++) metrics.apply(record(party('evil', 'x'), party('evil', `y${i}`)));
  metrics.apply(record(party('bank', 'teller'), party('bank', 'vault')));
  const text = await metrics.text();
  assert.match(text, /istio_tcp_connections_opened_total\{[^}]*source_workload="teller"[^}]*\} 1/);
  assert.match(text, /weft_metric_label_sets_overflow_total [1-9]/);
  assert.match(text, /destination_workload="other"/);
  now += seriesIdleMsMax + 1;
  metrics.apply(record(party('bank', 'teller'), party('bank', 'vault')));
  const later = await metrics.text();
  assert.doesNotMatch(later, /destination_workload="y1"/);
  assert.match(later, /source_workload="teller"[^}]*\} 2/);
});
