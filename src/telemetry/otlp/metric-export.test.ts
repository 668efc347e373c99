import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { deadPort } from '../../../test/support/waypoint.js';
import { startReceiver } from '../../../test/support/otlp-receiver.js';
import { until } from '../../base/wait.js';
import { metricDataOf, type MetricJson } from './metric-data.js';
import { startMetricExport } from './metric-export.js';

const program = { service: 'weft-agent', namespace: 'weft-system', instance: 'node-a' };

function registry() {
  const all = new Registry();
  const requests = new Counter({
    name: 'weft_test_total',
    help: 'Requests',
    labelNames: ['code'],
    registers: [all],
  });
  const pods = new Gauge({ name: 'weft_test_pods', help: 'Pods', registers: [all] });
  const seconds = new Histogram({
    name: 'weft_test_seconds',
    help: 'Seconds',
    labelNames: ['path'],
    buckets: [0.1, 1, 10],
    registers: [all],
  });
  return { all, requests, pods, seconds };
}

test('a collector gets counters, gauges and histograms as they are in the registry, cumulative since the program began', async (t) => {
  const { url, received } = await startReceiver(t);
  const { all, requests, pods, seconds } = registry();
  requests.inc({ code: '200' }, 3);
  pods.set(-2.5);
  for (const value of [0.05, 0.5, 0.6, 5, 50]) seconds.observe({ path: 'hbone' }, value);
  const lost: string[] = [];
  const exports = startMetricExport({
    url: url('/v1/metrics'),
    program,
    read: () => all.getMetricsAsJSON(),
    onLost: () => lost.push('lost'),
    intervalMs: 50,
  });
  const of = (name: string) => received.metrics.filter((one) => one.name === name);
  await until('two intervals', 30_000, () => of('weft_test_total').length >= 2);
  const [first, second] = of('weft_test_total');
  assert.deepEqual(
    { ...first, points: undefined },
    {
      name: 'weft_test_total',
      kind: 'sum',
      temporality: 2,
      isMonotonic: true,
      points: undefined,
      resource: first?.resource,
    },
  );
  assert.equal(first?.resource['service.name'], 'weft-agent');
  assert.equal(first.resource['service.namespace'], 'weft-system');
  assert.equal(first.resource['service.instance.id'], 'node-a');
  assert.deepEqual(first.points[0]?.attributes, { code: '200' });
  assert.equal(first.points[0].value, 3);
  // Cumulative: both points count since the same moment.
  assert.equal(first.points[0].start, second?.points[0]?.start);
  assert.ok((second?.points[0]?.time ?? 0) > first.points[0].time);
  assert.equal(of('weft_test_pods')[0]?.kind, 'gauge');
  assert.equal(of('weft_test_pods')[0]?.points[0]?.value, -2.5);
  const [histogram] = of('weft_test_seconds');
  assert.equal(histogram?.kind, 'histogram');
  const { start: _start, time: _time, value: _value, ...point } = histogram.points[0] ?? assert.fail();
  assert.deepEqual(point, {
    attributes: { path: 'hbone' },
    count: 5,
    sum: 56.15,
    counts: [1, 2, 1, 1],
    bounds: [0.1, 1, 10],
  });
  // A count after the last interval is in what is sent at the end.
  requests.inc({ code: '503' }, 7);
  await exports.stop();
  assert.ok(
    of('weft_test_total')
      .at(-1)
      ?.points.some(({ value }) => value === 7),
  );
  assert.deepEqual(lost, []);
});

test('a collector that is away costs intervals, which are counted, and the next one has all counts', async (t) => {
  const { all, requests } = registry();
  requests.inc({ code: '200' });
  const { url, received, state } = await startReceiver(t);
  state.status = 400;
  let lost = 0;
  const exports = startMetricExport({
    url: url('/v1/metrics'),
    program,
    read: () => all.getMetricsAsJSON(),
    onLost: () => lost++,
    intervalMs: 50,
  });
  await until('losses', 30_000, () => lost >= 2);
  assert.deepEqual(received.metrics, []);
  state.status = 200;
  await until('metrics', 30_000, () => received.metrics.length > 0);
  await exports.stop();
  const nobody = startMetricExport({
    url: `http://127.0.0.1:${await deadPort()}/v1/metrics`,
    program,
    read: () => all.getMetricsAsJSON(),
    onLost: () => lost++,
    intervalMs: 60_000,
  });
  await nobody.stop();
});

const counter = (value: number): MetricJson => ({
  name: 'weft_test_total',
  help: '',
  type: 'counter',
  values: [{ value, labels: { code: '200' } }],
});

test('a series that was dropped and comes back counts since then, and others since the program began', () => {
  const first = metricDataOf([counter(5)], new Map(), { nowMs: 2_000, formerMs: 1_000 });
  const second = metricDataOf([counter(6)], first.starts, { nowMs: 3_000, formerMs: 2_000 });
  const third = metricDataOf([counter(1)], second.starts, { nowMs: 4_500, formerMs: 3_000 });
  const times = [first, second, third].map(({ metrics }) => [
    metrics[0]?.dataPoints[0]?.startTime,
    metrics[0]?.dataPoints[0]?.endTime,
  ]);
  assert.deepEqual(times, [
    [
      [1, 0],
      [2, 0],
    ],
    [
      [1, 0],
      [3, 0],
    ],
    [
      [3, 0],
      [4, 5e8],
    ],
  ]);
  // A series that is gone is forgotten.
  assert.equal(metricDataOf([], third.starts, { nowMs: 5_000, formerMs: 4_500 }).starts.size, 0);
});

test('buckets of workers that were read one after the other have no negative count', () => {
  const values = [
    { value: 4, labels: { le: 1 }, metricName: 'h_bucket' },
    { value: 3, labels: { le: 2 }, metricName: 'h_bucket' },
    { value: 3, labels: { le: '+Inf' }, metricName: 'h_bucket' },
    { value: 9, labels: {}, metricName: 'h_sum' },
    { value: 3, labels: {}, metricName: 'h_count' },
  ];
  const { metrics } = metricDataOf([{ name: 'h', help: '', type: 'histogram', values }], new Map(), {
    nowMs: 1,
    formerMs: 0,
  });
  assert.deepEqual((metrics[0]?.dataPoints[0]?.value as { buckets: object }).buckets, {
    boundaries: [1, 2],
    counts: [4, 0, 0],
  });
});
