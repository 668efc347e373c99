import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { workload } from '../../test/support/mesh.js';
import { partyOf, type ConnectionRecord } from './connection-record.js';
import { MeshMetrics } from './metrics.js';
import { BoundedCounter, seriesGoneMsMax, seriesIdleMsMax, SeriesTable } from './series.js';

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

test('one workload cannot use up the share of its namespace: others evict its series, and it evicts none of theirs', () => {
  let now = 0;
  const table = new SeriesTable(
    100,
    () => ({ n: 0 }),
    () => ++now,
  );
  const use = (group: string, member: string, name: number): boolean =>
    table.of(group, { group, member, name }, member) !== undefined;
  const count = (member: string): number =>
    [...table].filter(({ labels }) => labels['member'] === member).length;
  for (let i = 0; i < 500; i++) use('shop', 'noisy', i);
  assert.equal(count('noisy'), 100);
  for (let i = 0; i < 20; i++) assert.ok(use('shop', 'web', i));
  for (let i = 500; i < 1_000; i++) use('shop', 'noisy', i);
  assert.deepEqual([count('noisy'), count('web')], [80, 20]);
  // Two workloads that want all get half each, and a third its part from the larger one.
  for (let i = 0; i < 500; i++) use('shop', 'web', i);
  assert.ok(Math.abs(count('web') - 50) <= 1, String(count('web')));
  assert.ok(use('shop', 'api', 0));
  // Another namespace takes from the largest member of the largest group.
  for (let i = 0; i < 10; i++) assert.ok(use('bank', 'teller', i));
  assert.equal(count('api'), 1);
  assert.equal(table.size, 100);
});

test('agent metrics: series of a workload go soon after its last pod, not while another pod of it is left, and not those of others', async () => {
  let now = 0;
  const metrics = new MeshMetrics(undefined, [], () => now);
  const here = new Set(['web', 'api', 'batch']);
  metrics.workloads = () => [...here].map((name) => workload(name, '10.0.0.1', 'n1'));
  const opened = (from: string, to: string): void =>
    metrics.apply({
      kind: 'opened',
      record: {
        direction: 'outbound',
        path: 'hbone',
        why: '',
        source: partyOf({ address: undefined, workload: workload(from, '10.0.0.1', 'n1') }),
        destination: partyOf({ address: undefined, workload: workload(to, '10.0.0.2', 'n1') }),
        bytesSent: 0,
        bytesReceived: 0,
        durationMs: 0,
        ended: 'open',
      },
    });
  const seen = async (from: string): Promise<boolean> =>
    (await metrics.text()).includes(
      `istio_tcp_connections_opened_total{reporter="source",source_workload="${from}"`,
    );
  opened('web', 'api');
  opened('batch', 'api');
  // A workload that the agent never knew, as one of another mesh.
  opened('elsewhere', 'api');
  assert.ok((await seen('web')) && (await seen('batch')) && (await seen('elsewhere')));
  here.delete('batch');
  assert.ok(await seen('batch'), 'its last counts are scraped once more');
  now += seriesGoneMsMax + 1;
  assert.equal(await seen('batch'), false);
  assert.ok((await seen('web')) && (await seen('elsewhere')));
  // It comes back before the time is over.
  here.delete('web');
  await metrics.text();
  here.add('web');
  now += seriesGoneMsMax + 1;
  assert.ok(await seen('web'));
});

test('threat 4: what a client without the token reads costs no walk over the workloads of the mesh', async () => {
  const metrics = new MeshMetrics();
  let walks = 0;
  metrics.workloads = () => {
    walks++;
    return [];
  };
  const read: boolean[] = [];
  metrics.beforeRead = (names) => void read.push(names);
  assert.match(await metrics.text(false), /weft_limit_reached_total/);
  assert.equal(walks, 0);
  await metrics.text();
  assert.deepEqual([walks, read], [1, [false, true]]);
});

test('a full table that looks for idle series does not forget since when a workload is gone', () => {
  let now = 0;
  const table = new SeriesTable(
    2,
    () => ({}),
    () => now,
  );
  const isGone = ({ source_workload }: { readonly source_workload?: string | number }): boolean =>
    source_workload === 'batch';
  table.of('shop shop', { source_workload: 'batch' }, 'shop/batch');
  table.of('shop shop', { source_workload: 'web' }, 'shop/web');
  table.sweep(isGone);
  now += seriesGoneMsMax;
  assert.equal(table.of('shop shop', { source_workload: 'third' }, 'shop/third'), undefined);
  assert.equal(table.size, 2);
  now += 1;
  table.sweep(isGone);
  assert.deepEqual(
    [...table].map(({ labels }) => labels),
    [{ source_workload: 'web' }],
  );
});
