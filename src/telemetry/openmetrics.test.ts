import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AggregatorRegistry, Counter, Gauge, Registry } from 'prom-client';
import { buckets, count, histogramValues, keepExemplar } from './buckets.js';
import { acceptsOpenMetrics, exemplarsOf, openMetricsText } from './openmetrics.js';
import { registerMetric } from './series.js';

const bounds = [1, 10];
const trace = (n: number) => ({ traceId: String(n).repeat(32), spanId: String(n).repeat(16) });

function workerOf(n: number, nowMs: number): Registry {
  const registry = new Registry();
  const values = buckets(bounds);
  count(values, bounds, n);
  keepExemplar(values, bounds, n, trace(n), nowMs);
  registerMetric(registry, { name: 'x_ms', help: 'Time', type: 'histogram' }, () =>
    histogramValues('x_ms', bounds, { service: 'a"b\\c\n' }, values),
  );
  new Counter({ name: 'x_total', help: 'Counter', registers: [registry] }).inc(2);
  // Envoy's names, which queries know, have no suffix.
  new Counter({ name: 'envoy_rq_retry', help: 'Retries', registers: [registry] }).inc(3);
  new Gauge({ name: 'x_gauge', help: 'Gauge', registers: [registry] }).set(NaN);
  return registry;
}

test('OpenMetrics has the names of the other format, and in buckets the latest trace of all workers', async () => {
  const workers = await Promise.all([
    workerOf(5, 1_000).getMetricsAsJSON(),
    workerOf(7, 2_500).getMetricsAsJSON(),
  ]);
  const all = AggregatorRegistry.aggregate(workers);
  const text = openMetricsText(await all.getMetricsAsJSON(), exemplarsOf(workers));
  const service = 'service="a\\"b\\\\c\\n"';
  assert.equal(
    text,
    `# TYPE x_ms histogram
# HELP x_ms Time
x_ms_bucket{${service},le="1"} 0
x_ms_bucket{${service},le="10"} 2 # {trace_id="${'7'.repeat(32)}",span_id="${'7'.repeat(16)}"} 7 2.5
x_ms_bucket{${service},le="+Inf"} 2
x_ms_sum{${service}} 12
x_ms_count{${service}} 2
# TYPE x counter
# HELP x Counter
x_total 4
# TYPE envoy_rq_retry unknown
# HELP envoy_rq_retry Retries
envoy_rq_retry 6
# TYPE x_gauge gauge
# HELP x_gauge Gauge
x_gauge NaN
# EOF
`,
  );
});

test('the format is chosen by the Accept header', () => {
  const prometheus =
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
  assert.ok(acceptsOpenMetrics(prometheus));
  for (const accept of [
    undefined,
    '',
    '*/*',
    'text/plain',
    'application/openmetrics-texts',
    'xapplication/openmetrics-text',
  ])
    assert.equal(acceptsOpenMetrics(accept), false, accept);
});
